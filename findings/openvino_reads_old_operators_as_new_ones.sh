#!/bin/sh
# OpenVINO: a Softmax of opset 11 is computed as one of opset 13, and a ReduceL1 of opset 13 as one of opset 18.
#
# Guess: a model says its opset, and what an operator meant in that opset is what is computed.
#
# Seen with OpenVINO 2026.4.1 on the CPU, both without a warning:
# - Softmax meant until opset 12 that all axes from `axis` on are taken together. Of opset 11 and 12 OpenVINO normalises along
#   one axis, so that the sum over a picture is not 1, but 1 for each row. (Of opset 10 it is right. The project's issue 37823,
#   mended after this version.)
# - ReduceL1, ReduceLogSum and ReduceLogSumExp have their axes in an attribute until opset 17. Of opset 13 to 17 OpenVINO does
#   not look at it and reduces all axes, so that even the shape is another one. ReduceL2 and ReduceMean are right.
# onnxruntime is right in all; its provider in onnxruntime-openvino 1.24.1 is wrong as OpenVINO is. (The reference of onnx
# itself, 1.23.2, has the Softmax of opset 13 for all opsets too.)
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
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

x = np.random.default_rng(0).uniform(0, 1, (2, 3, 4)).astype(np.float32)


def model(operator, opset, **attributes):
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], **attributes)], "one", [given],
                              [onnx.ValueInfoProto(name="y")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    return onnx.shape_inference.infer_shapes(made)


def with_onnxruntime(model):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def with_openvino(model):
    core = openvino.Core()
    return core.compile_model(core.read_model(model.SerializeToString()), "CPU")([x])[0]


print("OpenVINO", openvino.__version__, "and onnxruntime", onnxruntime.__version__)
whole = np.exp(x) / np.exp(x).sum((1, 2), keepdims=True)
right = []
for opset in (10, 11, 12, 13):
    softmax = model("Softmax", opset, axis=1)
    expected = whole if opset < 13 else np.exp(x) / np.exp(x).sum(1, keepdims=True)
    assert np.abs(with_onnxruntime(softmax) - expected).max() < 1e-5
    found = with_openvino(softmax)
    right.append(np.abs(found - expected).max() < 1e-5)
    print(f"Softmax of opset {opset}, axis 1 of {x.shape}: sum over the first part {found[0].sum():.3f},",
          f"expected {expected[0].sum():.3f}")
assert right == [True, False, False, True], right
reference = ReferenceEvaluator(model("Softmax", 11, axis=1)).run(None, {"x": x})[0]
assert np.abs(reference - whole).max() > 0.1, reference

wrong = set()
for operator in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean"):
    for opset in (11, 13, 17):
        reduce = model(operator, opset, axes=[1])
        expected, found = with_onnxruntime(reduce), with_openvino(reduce)
        assert expected.shape == (2, 1, 4), expected.shape
        if found.shape != expected.shape:
            wrong.add((operator, opset, found.shape))
print("reduced over axis 1 to another shape than (2, 1, 4):", *sorted(wrong))
assert wrong == {(operator, opset, (1, 1, 1)) for operator in ("ReduceL1", "ReduceLogSum", "ReduceLogSumExp")
                 for opset in (13, 17)}, wrong
END
