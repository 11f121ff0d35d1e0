#!/usr/bin/env bash
# onnxruntime: the bias of a quantised Gemm is multiplied by another factor than the model says.
#
# Guess: `quantize_static` gives a model of 8 bits whose outputs are those of the model before, but for the steps of the
# 8 bits; or it leaves a layer that it cannot turn as it is.
#
# Seen with onnxruntime 1.32.0, without a word, where Gemm is `alpha * A * B + beta * C`:
# - The default format (QuantFormat.QDQ) sets `beta` to 1 and keeps the bias as it was: the bias is added once. The
#   runtime's own fusion then takes the numbers of the bias for those of another scale, and divides it by `beta`. So the
#   result also depends on whether the session optimises the graph.
# - With QuantFormat.QOperator the bias is divided by `beta`, too, and multiplied by `alpha`, which is the product's.
# Where both factors are 1, as PyTorch writes them, all is right. (`set_default_beta` and `get_beta` in
# `quantization/operators/gemm.py`, and `quantize_bias_static_impl`.) The project's issue 28130 has the fusion with
# `alpha`, which is mended.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 sympy==1.14.0
cd "$work"
PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1 python3 - <<'END'
import logging

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import GraphOptimizationLevel
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

logging.disable(logging.WARNING)
bias = np.array([2, 4, 6, 8], np.float32)


class Values(CalibrationDataReader):
    """Values that are wide enough to leave nothing to cut off."""

    def __init__(self):
        self.rest = iter([-40, 40])

    def get_next(self):
        value = next(self.rest, None)
        return None if value is None else {"x": np.full((1, 4), value, np.float32)}


def model(alpha, beta):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    node = helper.make_node("Gemm", ["x", "weights", "bias"], ["y"], alpha=alpha, beta=beta)
    constants = [numpy_helper.from_array(np.eye(4, dtype=np.float32), "weights"), numpy_helper.from_array(bias, "bias")]
    made = helper.make_model(helper.make_graph([node], "layer", ends[:1], ends[1:], constants),
                             opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, "model.onnx")


def of_zeros(path, level=GraphOptimizationLevel.ORT_ENABLE_ALL):
    """The output for zeros, which is the bias alone."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.zeros((1, 4), np.float32)})[0][0]


print("onnxruntime", onnxruntime.__version__, "- the bias is", bias.tolist())
for alpha, beta in ((1.0, 1.0), (1.0, 2.0), (1.0, 0.5), (2.0, 1.0), (0.5, 1.0)):
    model(alpha, beta)
    assert np.allclose(of_zeros("model.onnx"), beta * bias)
    for style, level, factor in ((QuantFormat.QDQ, "ORT_DISABLE_ALL", 1), (QuantFormat.QDQ, "ORT_ENABLE_ALL", 1 / beta),
                                 (QuantFormat.QOperator, "ORT_ENABLE_ALL", alpha / beta)):
        quantize_static("model.onnx", "small.onnx", Values(), quant_format=style)
        seen = of_zeros("small.onnx", getattr(GraphOptimizationLevel, level))
        print(f"alpha {alpha}, beta {beta}, {style}, {level}: expected {(beta * bias).tolist()}, seen {seen.round(1)}")
        assert np.allclose(seen, factor * bias, atol=0.5), (alpha, beta, style, level, seen)
END
