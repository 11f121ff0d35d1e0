#!/usr/bin/env bash
# MNN: a picture that is enlarged bicubically has another first row and first column.
#
# Guess: a bicubic Resize, as vision transformers use it to stretch their position embeddings, gives in MNN what it
# gives in onnxruntime, at the edges too and with the `cubic_coeff_a` of the model; or `mnnconvert` refuses it.
#
# Seen with MNN 3.6.1, without a word:
# - On the usual grid (`half_pixel`) the first row and the first column are wrong: an edge of 0, 10, 20 and so on starts
#   with 6.7 and then goes back to 1.9. The last ones, and the middle, are right, and so is all with `align_corners`,
#   where no place lies before the first pixel. It looks as if a place of -0.25 had been rounded towards 0.
# - `cubic_coeff_a` is taken for -0.75, whatever the model says. (-0.5 is the filter of Pillow and of TensorFlow.)
# - `half_pixel_symmetric` is taken for `asymmetric`: the whole picture moves by a part of a pixel.
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


def both(values, scales, **attributes):
    """What onnxruntime and MNN make of one picture of one channel."""
    shapes = [1, 1, *values.shape], [1, 1, *(int(side * scale) for side, scale in zip(values.shape, scales))]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in zip("xy", shapes)]
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    constants = [numpy_helper.from_array(np.array([1, 1, *scales], np.float32), "scales")]
    made = helper.make_model(helper.make_graph([node], "resize", ends[:1], ends[1:], constants),
                             opset_imports=[helper.make_opsetid("", 19)])
    made.ir_version = 9
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, "model.onnx")
    _tools.mnnconvert(["", "-f", "ONNX", "--modelFile", "model.onnx", "--MNNModel", "model.mnn", "--bizCode", "x"])
    net = MNN.nn.load_module_from_file("model.mnn", ["x"], ["y"])
    found = net.forward([MNN.expr.const(values[None, None].copy(), shapes[0], MNN.expr.NCHW)])[0]
    if found.data_format == MNN.expr.NC4HW4:
        found = MNN.expr.convert(found, MNN.expr.NCHW)
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"x": values[None, None]})[0][0, 0], np.array(found.read()).copy()[0, 0]


report = [f"MNN {MNN.version()} and onnxruntime {onnxruntime.__version__}"]
y, x = np.mgrid[:4, :6]
picture = (10 * x + 70 * y).astype(np.float32)
wrong = {}
for attributes in ({"mode": "cubic", "coordinate_transformation_mode": "half_pixel"},
                   {"mode": "cubic", "coordinate_transformation_mode": "align_corners"},
                   {"mode": "cubic", "coordinate_transformation_mode": "align_corners", "cubic_coeff_a": -0.5},
                   {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
                   {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
                   {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"}):
    expected, seen = both(picture, (2, 2), **attributes)
    name = " ".join(str(value) for value in attributes.values())
    report.append(f"{name}, twice the size, a row: onnxruntime {expected[3, :6].round(2)}, MNN {seen[3, :6].round(2)}")
    wrong[name] = ~np.isclose(expected, seen, atol=1e-2)
    if name == "linear asymmetric":
        asymmetric = seen
    elif name == "linear half_pixel_symmetric":
        assert np.allclose(seen, asymmetric, atol=1e-2)
    elif name == "cubic align_corners":
        usual = seen
    elif name == "cubic align_corners -0.5":
        assert np.allclose(seen, usual, atol=1e-2)
open("report", "w").write("\n".join(report) + "\n")
edges = np.zeros((8, 12), bool)
edges[0] = edges[:, 0] = True
assert np.array_equal(wrong["cubic half_pixel"], edges), wrong
assert wrong["cubic align_corners -0.5"].any() and wrong["linear half_pixel_symmetric"].any()
assert not any(wrong[name].any() for name in ("cubic align_corners", "linear half_pixel", "linear asymmetric")), wrong
END
cat "$work/report"
