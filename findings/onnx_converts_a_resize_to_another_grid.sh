#!/bin/sh
# onnx: a model that is converted to a newer opset computes something else.
#
# Guess: `onnx.version_converter` keeps what a model computes. Where a newer operator has another default, it writes down the
# old one.
#
# Seen with onnx 1.23.2: opset 11 gave Resize a choice of grids, with a default (`half_pixel`) that is not the one grid that
# there was before (`asymmetric`). The converter moves the inputs and leaves the attribute out. So a linear Resize of opset 10,
# or an Upsample of opset 9, samples other places from opset 11 on, and a nearest one other pixels where the factor is not
# whole. Hardmax has the like at opset 13. No warning, and the checker is content. With the attributes written by hand the
# results are the old ones. (`version_converter/adapters/resize_10_11.h`; the project's issue 8480.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1 python3 - <<'END'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, version_converter


def model(operator, opset, scale=None, **attributes):
    initializers = [] if scale is None else [numpy_helper.from_array(np.array([1, 1, 1, scale], np.float32), "scales")]
    node = helper.make_node(operator, ["x", "scales"][:len(initializers) + 1], ["y"], **attributes)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 2, None]) for name in ("x", "y")]
    graph = helper.make_graph([node], "graph", ends[:1], ends[1:], initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 5
    return made


def run(model):
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    picture = np.array([[[[0, 10, 20, 30], [0, 10, 20, 40]]]], np.float32)
    return session.run(None, {"x": picture})[0][0, 0].round(2).tolist()


print("onnx", onnx.__version__, "with onnxruntime", onnxruntime.__version__)
changed = []
for name, before, opset in (
        ("Resize linear 0.5", model("Resize", 10, 0.5, mode="linear"), 11),
        ("Upsample linear 2", model("Upsample", 9, 2, mode="linear"), 11),
        ("Upsample nearest 1.5", model("Upsample", 9, 1.5, mode="nearest"), 11),
        ("Upsample nearest 1.3", model("Upsample", 9, 1.3, mode="nearest"), 11),
        ("Hardmax", model("Hardmax", 11, axis=1), 13)):
    old = run(before)
    after = version_converter.convert_version(before, opset)
    new = run(after)
    changed.append(old != new)
    print(f"{name}: opset {before.opset_import[0].version} {old[0]}, converted to {opset} {new[0]}")
    if "Hardmax" not in name:
        node = next(node for node in after.graph.node if node.op_type == "Resize")
        node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
        node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
        assert run(after) == old, run(after)
assert changed == [True, True, False, True, True], changed
END
