#!/usr/bin/env bash
# MNN: the feature of a picture gets shorter the more pictures are in the batch.
#
# Guess: a model that ends in a division by the L2 norm over the last axis, as CLIP does, gives in MNN features
# of length 1, as in onnxruntime; or `mnnconvert` refuses it.
#
# Seen with MNN 3.6.1, without a word: since opset 18 the axes of ReduceL2 are an input and no longer an attribute. MNN
# reads them from there for ReduceSum, ReduceMean, ReduceMax and ReduceMin, and not for ReduceL1, ReduceL2,
# ReduceLogSum, ReduceLogSumExp and ReduceSumSquare: these take everything that they are given into one number, the
# batch included. One picture at a time comes out right; of two of a batch each has a length of about 0.7, and what is
# near to what depends on who was next to it. The same models with opset 17 are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 mnn==3.6.1
cd "$work"
PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1 python3 - >"$work/log" <<'END' || { cat "$work/log"; exit 1; }
import _tools  # What MNN's `mnnconvert` calls.
import MNN
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def model(operator, opset, divide):
    """The reduction of each row; with `divide`, the rows divided by it."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
            for name, size in (("x", 3), ("y", 3 if divide else 1))]
    constants, attributes = [numpy_helper.from_array(np.array([-1]), "axes")], {}
    if opset < 18:
        constants, attributes = [], {"axes": [-1]}
    nodes = [helper.make_node(operator, ["x", *(constant.name for constant in constants)], ["norm" if divide else "y"],
                              keepdims=1, **attributes)]
    if divide:
        nodes.append(helper.make_node("Div", ["x", "norm"], ["y"]))
    made = helper.make_model(helper.make_graph(nodes, "feature", ends[:1], ends[1:], constants),
                             opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, "model.onnx")


def both(values):
    """What onnxruntime and MNN make of the values."""
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    _tools.mnnconvert(["", "-f", "ONNX", "--modelFile", "model.onnx", "--MNNModel", "model.mnn", "--bizCode", "x"])
    net = MNN.nn.load_module_from_file("model.mnn", ["x"], ["y"])
    found = net.forward([MNN.expr.const(values.copy(), list(values.shape), MNN.expr.NCHW)])[0]
    return session.run(None, {"x": values})[0], np.array(found.read()).copy()


report = [f"MNN {MNN.version()} and onnxruntime {onnxruntime.__version__}"]
pictures = np.array([[3, 0, 4], [0, 5, 0], [1, 2, 2], [6, 6, 7]], np.float32)
for opset in (17, 18):
    model("ReduceL2", opset, True)
    for count in (1, 2, 4):
        expected, seen = both(pictures[:count])
        report.append(f"opset {opset}, {count} pictures, the first: onnxruntime {expected[0]}, MNN {seen[0]},"
                      f" of length {np.linalg.norm(seen[0]):.3f}")
        assert np.allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-4)
        wrong = pictures[:count] / np.linalg.norm(pictures[:count])
        assert np.allclose(seen, expected if opset == 17 else wrong, atol=1e-4), seen
right = []
for operator in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare", "ReduceMean",
                 "ReduceMax"):
    model(operator, 18, False)
    expected, seen = both(pictures)
    report.append(f"{operator} of opset 18, of each of 4 rows: onnxruntime {expected.ravel()}, MNN {seen.ravel()}")
    if seen.size == 4 and np.allclose(expected.ravel(), seen.ravel(), atol=1e-3):
        right.append(operator)
    else:
        assert seen.size == 1, seen
open("report", "w").write("\n".join(report) + "\n")
assert right == ["ReduceMean", "ReduceMax"], right
END
cat "$work/report"
