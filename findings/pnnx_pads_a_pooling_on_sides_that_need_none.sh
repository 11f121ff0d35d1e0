#!/usr/bin/env bash
# pnnx: a pooling that is padded on one side is padded on both, or twice, or with zeros that count.
#
# Guess: pnnx, ncnn's converter, turns the padding of a pooling into what gives in ncnn what onnxruntime gives, or says
# that it cannot; and a Resize samples the places that the model says.
#
# Seen with pnnx 20261020 and ncnn 1.0.20261020, without a word:
# - MaxPool with `pads` at the top and left only becomes a layer of padding and a pooling that pads again, on all sides:
#   4x3 becomes 5x4.
# - `auto_pad` "SAME_UPPER", which here is one row at the bottom and one at the right, as in TensorFlow's networks, pads
#   at the top and left too. The shape is right, and all is moved by one pixel.
# - AveragePool with "SAME_UPPER" has the same, and its zeros are counted, which the model says they are not.
# - A linear Resize on the grid `asymmetric` (that of Upsample, of opset 10 and of TensorFlow 1) is taken for one of
#   `half_pixel`: all is moved by a part of a pixel.
# Convolutions with the same paddings, and a pooling padded alike on all sides, are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 ncnn==1.0.20261020
# Its requirements (PyTorch) are for its Python wrapper; the program needs none.
python3 -m pip --disable-pip-version-check install --quiet --no-deps --target "$work/program" pnnx==20261020
cd "$work"
PYTHONPATH="$work/packages" PNNX="$work/program/pnnx/pnnx" ORT_DISABLE_TELEMETRY=1 python3 - <<'END'
import os
import subprocess
from importlib.metadata import version

import ncnn
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def both(nodes, constants, values, opset):
    """What onnxruntime, and ncnn after pnnx, make of one picture [1, c, h, w]; without the axis of pictures."""
    made = helper.make_model(helper.make_graph(
        nodes, "graph", [helper.make_tensor_value_info("x", TensorProto.FLOAT, values.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]),
        opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    onnx.save(onnx.shape_inference.infer_shapes(made, strict_mode=True), "model.onnx")
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": values})[0][0]
    shape = str(list(values.shape)).replace(" ", "")
    subprocess.run([os.environ["PNNX"], "model.onnx", "inputshape=" + shape, "fp16=0"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    net = ncnn.Net()
    for option in dir(net.opt):
        if option.startswith(("use_fp16", "use_bf16")):
            setattr(net.opt, option, False)
    assert net.load_param("model.ncnn.param") == 0 and net.load_model("model.ncnn.bin") == 0
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(values[0]).clone())
    status, found = extractor.extract("out0")
    assert status == 0
    return expected, np.array(found).copy()


print(*(f"{name} {version(name)}" for name in ("ncnn", "onnx", "onnxruntime")), "and pnnx 20261020")
picture = np.random.default_rng(0).normal(2, 3, (1, 4, 8, 6)).astype(np.float32)
weights = np.random.default_rng(1).normal(size=(3, 4, 3, 3)).astype(np.float32)


def padded(top, left, bottom, right, value):
    return np.pad(picture[0], ((0, 0), (top, bottom), (left, right)), constant_values=value)


def pooled(values, reduce):
    """3x3 with a stride of 2, without padding."""
    windows = np.lib.stride_tricks.sliding_window_view(values, (3, 3), axis=(1, 2))[:, ::2, ::2]
    return reduce(windows, axis=(3, 4))


for operator, padding, wrong in (
        ("MaxPool", {"pads": [1, 1, 1, 1]}, None),
        ("MaxPool", {"pads": [1, 1, 0, 0]}, lambda: pooled(padded(2, 2, 1, 1, -np.inf), np.max)),
        ("MaxPool", {"auto_pad": "SAME_UPPER"}, lambda: pooled(padded(1, 1, 1, 1, -np.inf), np.max)),
        ("AveragePool", {"pads": [1, 1, 1, 1]}, None),
        ("AveragePool", {"auto_pad": "SAME_UPPER"}, lambda: pooled(padded(1, 1, 1, 1, 0), np.mean)),
        ("Conv", {"pads": [1, 1, 0, 0]}, None), ("Conv", {"auto_pad": "SAME_UPPER"}, None)):
    constants = {"weights": weights} if operator == "Conv" else {}
    node = helper.make_node(operator, ["x", *constants], ["y"], kernel_shape=[3, 3], strides=[2, 2], **padding)
    expected, seen = both([node], constants, picture, 17)
    print(operator, *padding.items(), "- expected", expected.shape, expected[0, 1].round(2), "seen", seen.shape,
          seen[0, 1].round(2))
    if wrong is None:
        assert np.allclose(seen, expected, atol=1e-3)
    else:
        assert not np.array_equal(seen.shape, expected.shape) or not np.allclose(seen, expected, atol=1e-3)
        assert seen.shape == wrong().shape and np.allclose(seen, wrong(), atol=1e-3), (seen, wrong())

results = {}
for grid in ("half_pixel", "asymmetric"):
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear", coordinate_transformation_mode=grid)
    results[grid] = both([node], {"scales": np.array([1, 1, 2, 2], np.float32)}, picture, 17)
    print("Resize,", grid, "- expected, seen:", *(result[0, 0, :6].round(2) for result in results[grid]))
assert np.allclose(*results["half_pixel"], atol=1e-3) and not np.allclose(*results["asymmetric"], atol=1e-3)
assert np.allclose(results["asymmetric"][1], results["half_pixel"][0], atol=1e-3)
END
