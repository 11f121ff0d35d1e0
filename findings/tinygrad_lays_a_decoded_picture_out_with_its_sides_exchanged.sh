#!/usr/bin/env bash
# tinygrad: a picture that a model decodes has its width as its height, and its rows broken at the wrong places.
#
# Guess: an ONNX model that begins with ImageDecoder, which gives the pixels as [height, width, channels], and crops
# them by CenterCropPad, gets in tinygrad the pixels that onnx's reference gets.
#
# Seen with tinygrad 0.14.0, without a word: the pixels are laid out as [width, height, channels], in the order in
# which they lie in memory. That is not the picture turned by 90 degrees: each new row begins where the old one had
# not ended, so that the picture is sheared. A square picture is right, and so a test with one does not show it.
# CenterCropPad of an odd side to an odd one takes the pixels from one row too high and one column too far left: 1, 2,
# 3 of 7 instead of 2, 3, 4. (`ImageDecoder` in nn/onnx.py uses Pillow's `size`, which is width and height; see
# operators ImageDecoder and CenterCropPad in onnx's documentation.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 pillow==13.0.0 tinygrad==0.14.0
cd "$work"
# The device PYTHON needs no compiler; what is wrong is in the operators that all devices share.
PYTHONPATH="$work/packages" DEV=PYTHON CACHEDB="$work/cache.db" python3 - <<'END'
import io
from importlib.metadata import version

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image
from tinygrad import Tensor
from tinygrad.nn.onnx import OnnxRunner

print(*(f"{name} {version(name)}" for name in ("tinygrad", "onnx", "pillow")))


def both(node, values, rank, *constants):
    """What onnx's reference and tinygrad make of one node."""
    made = helper.make_model(helper.make_graph(
        [node], "graph", [helper.make_tensor_value_info("x", TensorProto.UINT8, values.shape)],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [None] * rank)], list(constants)),
        opset_imports=[helper.make_opsetid("", 20)])
    made.ir_version = 9
    onnx.checker.check_model(made)
    onnx.save(made, "model.onnx")
    reference = ReferenceEvaluator(made).run(None, {"x": values})[0]
    return reference, OnnxRunner("model.onnx")({"x": Tensor(values)})["y"].numpy()


for height, width in ((3, 3), (2, 3), (4, 2)):
    picture = (np.arange(height * width * 3) * 5).astype(np.uint8).reshape(height, width, 3)
    for kind in ("PNG", "BMP"):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, kind)
        node = helper.make_node("ImageDecoder", ["x"], ["y"], pixel_format="RGB")
        reference, seen = both(node, np.frombuffer(file.getvalue(), np.uint8), 3)
        print(f"{kind}, {height} rows of {width}: reference {reference.shape}, red {reference[..., 0].tolist()};",
              f"tinygrad {seen.shape}, red {seen[..., 0].tolist()}")
        assert np.array_equal(reference, picture)
        assert np.array_equal(seen, picture.reshape(width, height, 3))
        assert height == width or seen.shape != picture.shape

for side, cropped in ((8, 4), (8, 5), (7, 4), (7, 3), (227, 223)):
    values = np.arange(side, dtype=np.uint8)
    shape = numpy_helper.from_array(np.array([cropped]), "shape")
    reference, seen = both(helper.make_node("CenterCropPad", ["x", "shape"], ["y"]), values, 1, shape)
    print(f"CenterCropPad of {side} to {cropped}: reference from {reference[0]}, tinygrad from {seen[0]}")
    assert reference[0] == (side - cropped) // 2
    assert np.array_equal(seen, reference - (side % 2 and cropped % 2)), seen
END
