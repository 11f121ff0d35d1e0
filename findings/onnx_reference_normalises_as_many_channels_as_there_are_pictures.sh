#!/usr/bin/env bash
# onnx: the reference normalises the first channel of one picture, and the first two of two pictures.
#
# Guess: `onnx.reference.ReferenceEvaluator`, which the runtimes are compared with, computes the operators as the
# standard has them. What it makes of a picture does not depend on how many others are in the batch.
#
# Seen with onnx 1.23.2: LRN (in AlexNet and GoogLeNet) has a loop over channels that counts pictures. Of one picture
# the first channel is normalised, and the others are left as if `alpha` were 0. A second picture in the batch changes
# the first one. The batch must be as large as there are channels for the right numbers; the operator's own test is 5 by
# 5. (`op_lrn.py`; the project's issue 7805, mended after this version.) LpNormalization with `p=1` divides by the plain
# sum and not by that of the absolute values: where a feature has negative numbers the result is not of length 1, or has
# its signs turned. onnxruntime is right in both.
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


def both(operator, values, **attributes):
    """What onnxruntime and the reference make of it."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape) for name in ("x", "y")]
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    made = helper.make_model(helper.make_graph([node], "one", ends[:1], ends[1:]),
                             opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made, full_check=True)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": values})[0], ReferenceEvaluator(made).run(None, {"x": values})[0]


print("onnx", onnx.__version__, "and onnxruntime", onnxruntime.__version__)
channels = 5
pictures = np.full((channels, channels, 1, 1), 2, np.float32)
for count in range(1, channels + 1):
    runtime, reference = both("LRN", pictures[:count], size=3, alpha=3.0, beta=1.0, bias=1.0)
    print(f"LRN, the first of {count} pictures: onnxruntime {runtime[0].ravel().round(3)},",
          f"reference {reference[0].ravel().round(3)}")
    right = np.isclose(runtime[0], reference[0]).ravel()
    assert right.tolist() == [channel < count for channel in range(channels)], right
    assert (reference[0].ravel()[count:] == 2).all(), reference

features = np.array([[3, -1, -4], [3, -1, 4]], np.float32)
runtime, reference = both("LpNormalization", features, axis=1, p=1)
print("LpNormalization, p=1, of", *features, "- onnxruntime", *runtime.round(3), "reference", *reference.round(3))
assert np.allclose(runtime, features / np.abs(features).sum(1, keepdims=True)), runtime
assert np.allclose(reference, features / features.sum(1, keepdims=True)), reference
END
