#!/usr/bin/env bash
# pnnx: a mean or a norm over one axis is taken over none.
#
# Guess: pnnx, ncnn's converter, turns a ReduceMean or a ReduceL2 of an ONNX model into what gives in ncnn what
# onnxruntime gives, whatever the model's opset; or it refuses the model, as it does with operators that it does not
# know.
#
# Seen with pnnx 20261020 and ncnn 1.0.20261020, without a word: since opset 18 the axes are an input and no longer an
# attribute. If there are two of them, all is right. If there is one, it is lost: ncnn's layer has an empty list of
# axes, and reduces nothing. A mean over the channels gives the picture back, in its whole size. So a normalisation over
# the channels, as in ConvNeXt, takes every number from itself and leaves the bias alone, the same for each picture; and
# a norm over the channels is 1 over each, so that a map of features keeps its signs only. The same models with opset 17
# are right.
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
convolution = helper.make_node("Conv", ["x", "weights"], ["c"])  # From it pnnx knows which axis is that of pictures.
weights = np.eye(4, dtype=np.float32)[..., None, None]


def reduction(operator, source, result, axes, opset):
    """A node and the constants that it needs."""
    if opset < 18:
        return helper.make_node(operator, [source], [result], axes=axes, keepdims=1), {}
    return helper.make_node(operator, [source, "axes"], [result], keepdims=1), {"axes": np.array(axes)}


for operator in ("ReduceMean", "ReduceL2"):
    for axes in ([1], [-1], [2, 3]):
        for opset in (17, 18):
            node, constants = reduction(operator, "c", "y", axes, opset)
            expected, seen = both([convolution, node], {"weights": weights, **constants}, picture, opset)
            print(f"{operator} of opset {opset} over {axes}: expected {expected.shape}, seen {seen.shape}")
            if opset == 17 or len(axes) == 2:
                assert np.allclose(seen.reshape(expected.shape), expected, atol=1e-3)
            else:
                assert seen.shape == (4, 8, 6)
                assert np.allclose(seen, picture[0] if operator == "ReduceMean" else abs(picture[0]), atol=1e-3)

bias = np.arange(4, dtype=np.float32).reshape(4, 1, 1)
for opset in (17, 18):
    mean, constants = reduction("ReduceMean", "c", "mean", [1], opset)
    variance, _ = reduction("ReduceMean", "squares", "variance", [1], opset)
    nodes = [convolution, mean, helper.make_node("Sub", ["c", "mean"], ["centred"]),
             helper.make_node("Mul", ["centred", "centred"], ["squares"]), variance,
             helper.make_node("Add", ["variance", "epsilon"], ["positive"]),
             helper.make_node("Sqrt", ["positive"], ["deviation"]),
             helper.make_node("Div", ["centred", "deviation"], ["normal"]),
             helper.make_node("Add", ["normal", "bias"], ["y"])]
    constants |= {"weights": weights, "epsilon": np.float32(1e-6), "bias": bias}
    expected, seen = both(nodes, constants, picture, opset)
    print(f"normalisation over the channels, opset {opset}: expected {expected[:, 3, 2].round(3)},",
          f"seen {seen[:, 3, 2].round(3)}")
    assert np.allclose(seen, expected if opset == 17 else np.broadcast_to(bias, seen.shape), atol=1e-3)
END
