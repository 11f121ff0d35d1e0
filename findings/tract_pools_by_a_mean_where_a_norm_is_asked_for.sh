#!/usr/bin/env bash
# tract: the norm of a picture's channel is a mean, and can be negative or no number at all.
#
# Guess: GlobalLpPool, which makes a feature of a picture by the L1, L2 or another norm of each channel, gives in tract
# what it gives in onnxruntime, or the model is refused; and so does Celu.
#
# Seen with tract 0.23.9, without a word:
# - GlobalLpPool divides by the number of pixels before it takes the root, and does not take the absolute value: L2
#   comes out smaller by the root of the number of pixels, so that features of pictures of different sizes do not
#   compare; L1 is the plain mean, 0 for a channel whose signs cancel; L3 of a channel with a negative sum of cubes is
#   NaN.
# - Celu forgets the factor `alpha` in front of the exponential: with 2, all that is negative comes out half as large.
# onnxruntime gives what the standard says in both. tract is right in Elu and GlobalAveragePool.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 tract==0.23.9
PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1 WORK="$work" python3 - <<'END'
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tract
from onnx import TensorProto, helper

path = Path(os.environ["WORK"]) / "model.onnx"


def both(operator, values, shape, **attributes):
    """What onnxruntime and tract make of the values."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides)
            for name, sides in (("x", values.shape), ("y", shape))]
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    made = helper.make_model(helper.make_graph([node], "one", ends[:1], ends[1:]),
                             opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made, full_check=True)
    path.write_bytes(made.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    runnable = tract.onnx().load(path).into_model().into_runnable()
    return session.run(None, {"x": values})[0], runnable.run([values])[0].to_numpy()


print("tract", version("tract"), "and onnxruntime", onnxruntime.__version__)
picture = np.array([[[3, -4], [0, 0]], [[-2, 1], [1, 0]]], np.float32)[None]
for norm in (1, 2, 3):
    runtime, found = both("GlobalLpPool", picture, [1, 2, 1, 1], p=norm)
    print(f"L{norm} of channels {picture[0].reshape(2, 4).tolist()}: onnxruntime {runtime.ravel().round(4)},",
          f"tract {found.ravel().round(4)}")
    expected = (np.abs(picture) ** norm).sum(axis=(2, 3), keepdims=True) ** (1 / norm)
    assert np.allclose(runtime, expected), norm
    with np.errstate(invalid="ignore"):
        seen = (picture ** norm).mean(axis=(2, 3), keepdims=True) ** (1 / norm)
    assert np.allclose(found, seen, equal_nan=True), (found, seen)
    assert norm < 3 or np.isnan(found).all(), found

values = np.array([-2, -1, 0, 1], np.float32)
runtime, found = both("Celu", values, [4], alpha=2.0)
print("Celu with alpha 2 of", values, "- onnxruntime", runtime.round(4), "tract", found.round(4))
assert np.allclose(runtime, np.where(values < 0, 2 * np.expm1(values / 2), values)), runtime
assert np.allclose(found, np.where(values < 0, np.expm1(values / 2), values)), found
for operator, values, shape, attributes in (("Elu", values, [4], {"alpha": 2.0}),
                                            ("GlobalAveragePool", picture, [1, 2, 1, 1], {})):
    runtime, found = both(operator, values, shape, **attributes)
    assert np.allclose(runtime, found), operator
END
