#!/usr/bin/env bash
# onnxruntime: the optimiser for models of pictures puts the weights of a normalisation where its bias was.
#
# Guess: `onnxruntime.transformers.optimizer` fuses nodes into fewer ones that compute the same, or leaves them alone.
#
# Seen with onnxruntime 1.32.0, without a word:
# - `model_type="sam2"` fuses the normalisation over the channels of [n, c, h, w] (that of ConvNeXt and of Segment
#   Anything), and gives the new node the weights twice: x * weights + bias becomes x * weights + weights. The bias is
#   gone from the model. (`FusionLayerNormalizationNCHW` in `fusion_layernorm.py`.)
# - `model_type="vit"`, and all others that share this fusion, take a mean over whichever axes for one over the last:
#   what normalises the tokens of a picture, or the rows and columns of [n, h, w, c], then normalises the channels. The
#   axes are in the drawing of the pattern only; nothing looks at them. (`FusionLayerNormalization`, same file.)
# Over the last axis it is right, and so is the runtime's own fusion, in the same models.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 sympy==1.14.0 tqdm==4.70.1
export PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1
python3 - 2>"$work/progress" <<'END' || { cat "$work/progress"; exit 1; }
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers import optimizer


def norm(shape, axes, weights, bias):
    """The normalisation over some axes, as the exporters write it for an opset without an operator of its own."""
    constants = {"two": np.float32(2), "epsilon": np.float32(1e-6), "weights": weights, "bias": bias}
    nodes = [helper.make_node(operator, inputs, [output], **attributes) for operator, inputs, output, attributes in (
        ("ReduceMean", ["x"], "mean", {"axes": axes}), ("Sub", ["x", "mean"], "centred", {}),
        ("Pow", ["centred", "two"], "squares", {}), ("ReduceMean", ["squares"], "variance", {"axes": axes}),
        ("Add", ["variance", "epsilon"], "positive", {}), ("Sqrt", ["positive"], "deviation", {}),
        ("Div", ["centred", "deviation"], "normal", {}), ("Mul", ["normal", "weights"], "weighted", {}),
        ("Add", ["weighted", "bias"], "y", {}))]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    made = helper.make_model(helper.make_graph(nodes, "norm", ends[:1], ends[1:], [
        numpy_helper.from_array(value, name) for name, value in constants.items()]),
        opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made, full_check=True)
    return made


def run(made, values):
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": values})[0]


def by_hand(values, axes, weights, bias):
    centred = values - values.mean(axes, keepdims=True)
    return centred / np.sqrt((centred ** 2).mean(axes, keepdims=True) + 1e-6) * weights + bias


print("onnxruntime", onnxruntime.__version__)
values = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
for kind, axes, shape in (("sam2", [1], (3, 1, 1)), ("vit", [-1], (4,)), ("vit", [1], (4,)), ("vit", [1, 2], (4,))):
    weights = np.linspace(1, 2, max(shape)).astype(np.float32).reshape(shape)
    bias = np.linspace(-9, -5, max(shape)).astype(np.float32).reshape(shape)
    made = norm(values.shape, axes, weights, bias)
    expected = by_hand(values, tuple(axes), weights, bias)
    assert np.allclose(run(made, values), expected, atol=1e-4)
    optimised = optimizer.optimize_model(made, model_type=kind, num_heads=1, hidden_size=4, opt_level=0).model
    onnx.checker.check_model(optimised)
    seen = run(optimised, values)
    fused = [node.op_type for node in optimised.graph.node]
    assert "LayerNormalization" in fused, fused
    print(f"{kind}, over {axes}: {fused}, expected {expected[0, :, 0, 0].round(2)}, seen {seen[0, :, 0, 0].round(2)}")
    if kind == "sam2":
        assert np.allclose(seen, by_hand(values, tuple(axes), weights, weights), atol=1e-4)
    else:
        assert np.allclose(seen, by_hand(values, -1, weights, bias), atol=1e-4)
    assert np.allclose(seen, expected, atol=1e-4) == (axes == [-1]), (kind, axes)
END
