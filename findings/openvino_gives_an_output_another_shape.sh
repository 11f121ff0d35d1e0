#!/bin/sh
# OpenVINO: an output comes in another shape than the model says, because two nodes became one.
#
# Guess: where a model says the shapes of its outputs, and the checker of onnx agrees, a runtime gives these shapes.
#
# Seen with OpenVINO 2026.4.1 on the CPU, without a warning and with the right numbers in the right order:
# - After a Reshape, a constant that has more axes than it (`[1, 1, 1]`, say) should add axes in front. They are missing: the
#   result has the shape of the Reshape.
# - An Unsqueeze in axis 2 and then a mean over axis 0 that keeps it gives the axis of 1 one place too early.
# So an output is indexed wrongly, or is broadcast to something else by numpy. onnxruntime gives the shapes that the model
# says. Each node by itself is right.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1 python3 - <<'END'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

x = np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32)
CONSTANTS = [numpy_helper.from_array(np.array(value), name) for name, value in (
    ("rows", [2, 24]), ("two", np.full((1, 1, 1), 2, np.float32)), ("axis", [2]))]


def model(nodes, shape):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", x.shape), ("y", shape))]
    made = helper.make_model(helper.make_graph(nodes, "two", ends[:1], ends[1:],
                                              [one for one in CONSTANTS if any(one.name in node.input for node in nodes)]),
                             opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def run(model):
    core = openvino.Core()
    return (onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0],
            core.compile_model(core.read_model(model), "CPU")([x])[0])


node = helper.make_node
print("OpenVINO", openvino.__version__, "and onnxruntime", onnxruntime.__version__)
found = {}
for name, shape, nodes in (
        ("Mul alone", [2, 4, 6], [node("Mul", ["x", "two"], ["y"])]),
        ("Reshape, Mul", [1, 2, 24], [node("Reshape", ["x", "rows"], ["z"]), node("Mul", ["z", "two"], ["y"])]),
        ("Unsqueeze alone", [2, 4, 1, 6], [node("Unsqueeze", ["x", "axis"], ["y"])]),
        ("Unsqueeze, ReduceMean", [1, 4, 1, 6], [node("Unsqueeze", ["x", "axis"], ["z"]),
                                                 node("ReduceMean", ["z"], ["y"], axes=[0], keepdims=1)])):
    expected, got = run(model(nodes, shape))
    assert expected.shape == tuple(shape), expected.shape
    assert np.allclose(expected.ravel(), got.ravel(), atol=1e-5)
    found[name] = got.shape
    print(f"{name}: the model says {tuple(shape)}, onnxruntime gives {expected.shape}, OpenVINO {got.shape}")
assert found == {"Mul alone": (2, 4, 6), "Reshape, Mul": (2, 24), "Unsqueeze alone": (2, 4, 1, 6),
                 "Unsqueeze, ReduceMean": (1, 1, 4, 6)}, found
END
