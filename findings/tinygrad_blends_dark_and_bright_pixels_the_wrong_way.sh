#!/usr/bin/env bash
# tinygrad: between a dark and a bright pixel of an enlarged picture it goes the wrong way round.
#
# Guess: a picture of bytes, resized with the linear filter by `Tensor.interpolate` or by the Resize of an ONNX model,
# is the same picture of floats, resized and rounded; at most 1 apart.
#
# Seen with tinygrad 0.14.0, without a word: so it is where neighbours differ by 127 at most. Where they differ by
# more, their difference does not fit into the 8 bits with a sign that it is cut to, and comes out with the other
# sign: from 10 to 150 the way is 252, 223, 194, 165 instead of 27, 62, 97, 132, and between black and white there is
# no grey at all. So each strong edge gets a seam of wrong colours. The picture of floats is right, and onnxruntime is
# in both. (`lerp` has a path of its own for bytes since August 2024, pull request 6308; its tests use dark pictures
# only.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 tinygrad==0.14.0
cd "$work"
# The device PYTHON needs no compiler; what is wrong is in the operators that all devices share.
PYTHONPATH="$work/packages" DEV=PYTHON CACHEDB="$work/cache.db" ORT_DISABLE_TELEMETRY=1 python3 - <<'END'
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from tinygrad import Tensor
from tinygrad.nn.onnx import OnnxRunner

print(*(f"{name} {version(name)}" for name in ("tinygrad", "onnx", "onnxruntime")))


def linear(row, width):
    """The row of pixels, resized to the width by hand: a linear filter over the centres of pixels."""
    places = np.clip((np.arange(width) + 0.5) * len(row) / width - 0.5, 0, len(row) - 1)
    return np.interp(places, np.arange(len(row)), row)


def resize_in_a_model(pixels, width):
    """What onnxruntime and tinygrad make of the Resize of a model."""
    kind = helper.np_dtype_to_tensor_dtype(pixels.dtype)
    sizes = numpy_helper.from_array(np.array([1, 1, 1, width]), "sizes")
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear")
    made = helper.make_model(helper.make_graph(
        [node], "graph", [helper.make_tensor_value_info("x", kind, pixels.shape)],
        [helper.make_tensor_value_info("y", kind, [1, 1, 1, width])], [sizes]),
        opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 8
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, "model.onnx")
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    seen = OnnxRunner("model.onnx")({"x": Tensor(pixels)})["y"].numpy()
    return session.run(None, {"x": pixels})[0].ravel(), seen.ravel()


for row in ([10, 130], [10, 150], [0, 255], [255, 0], [0, 127, 255, 100]):
    pixels = np.array(row, np.uint8).reshape(1, 1, 1, -1)
    expected = linear(row, 8)
    floats = Tensor(pixels.astype(np.float32)).interpolate((1, 8), mode="linear").numpy().ravel()
    bytes_ = Tensor(pixels).interpolate((1, 8), mode="linear").numpy().ravel()
    runtime, model = resize_in_a_model(pixels, 8)
    print(f"{row} to 8 pixels: expected {expected.round().astype(int)}, tinygrad {bytes_}, its Resize {model},",
          f"onnxruntime {runtime}")
    assert np.allclose(floats, expected, atol=1e-3)
    assert np.abs(runtime - expected).max() <= 1
    for seen in (bytes_, model):
        wrong = np.abs(seen - expected).max()
        assert wrong <= 1 if np.abs(np.diff(row)).max() < 128 else wrong > 90, (row, seen)
END
