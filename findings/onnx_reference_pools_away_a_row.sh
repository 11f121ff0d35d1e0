#!/usr/bin/env bash
# onnx: the reference leaves the last row of a picture out of a MaxPool, and says of the largest pixel where it is in
# two ways.
#
# Guess: `onnx.reference.ReferenceEvaluator` gives MaxPool and AveragePool with the same attributes the same shape, that
# of onnx's own inference of shapes, and the indices of MaxPool mean one thing.
#
# Seen with onnx 1.23.2:
# - `auto_pad` "SAME_LOWER" with a stride of 2 rounds down for MaxPool where the standard rounds up: 7x7 pixels become
#   3x3, and not 4x4 as with SAME_UPPER, with AveragePool, and as the inference of shapes says.
# - `ceil_mode` with a stride of 1, where there is nothing to round, has the padding added twice: 7x7 pixels become
#   10x10.
# - The second output counts in the whole tensor, as the standard says, if the stride is not 1, and within each channel
#   if it is 1: what looks the pixels up by it finds those of the first channel.
# onnxruntime is right in all three. (`op_max_pool.py` does the one, and `_op_common_pool.py` the other.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1 python3 - <<'END'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def pool(operator, values, **attributes):
    """The outputs of onnxruntime and of the reference, and the shape that onnx infers."""
    names = ["y", "where"] if operator == "MaxPool" else ["y"]
    outputs = [helper.make_tensor_value_info(name, kind, None)
               for name, kind in zip(names, (TensorProto.FLOAT, TensorProto.INT64))]
    made = helper.make_model(helper.make_graph(
        [helper.make_node(operator, ["x"], names, **attributes)], "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, values.shape)], outputs),
        opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    inferred = onnx.shape_inference.infer_shapes(made, strict_mode=True).graph.output[0].type.tensor_type.shape
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return (session.run(None, {"x": values}), ReferenceEvaluator(made).run(None, {"x": values}),
            tuple(axis.dim_value for axis in inferred.dim))


print("onnx", onnx.__version__, "and onnxruntime", onnxruntime.__version__)
picture = np.random.default_rng(0).normal(size=(1, 1, 7, 7)).astype(np.float32)
wrong = {}
for operator in ("MaxPool", "AveragePool"):
    for attributes in ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
                       {"pads": [1, 1, 1, 1]}, {"pads": [1, 1, 1, 1], "ceil_mode": 1}):
        runtime, reference, inferred = pool(operator, picture, kernel_shape=[2, 2], **attributes)
        shapes = runtime[0].shape[2:], reference[0].shape[2:], inferred[2:]
        print(operator, *attributes.items(), "- onnxruntime", shapes[0], "reference", shapes[1], "inferred", shapes[2])
        assert shapes[0] == shapes[2], shapes
        if shapes[1] != shapes[2]:
            wrong[operator, tuple(attributes)] = shapes[1]
assert wrong == {("MaxPool", ("auto_pad", "strides")): (3, 3), ("MaxPool", ("pads", "ceil_mode")): (10, 10)}, wrong

channels = np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3)
indices = {}
for stride in (1, 2):
    runtime, reference, _ = pool("MaxPool", channels, kernel_shape=[2, 2], strides=[stride] * 2)
    indices[stride] = runtime[1].ravel().tolist(), reference[1].ravel().tolist()
    print(f"indices of two channels, stride {stride}: onnxruntime {indices[stride][0]}, reference {indices[stride][1]}")
    assert channels.ravel()[runtime[1]].tolist() == runtime[0].tolist()
assert indices[2][0] == indices[2][1] == [4, 13], indices
assert indices[1] == ([4, 5, 7, 8, 13, 14, 16, 17], [4, 5, 7, 8, 4, 5, 7, 8]), indices
END
