#!/usr/bin/env bash
# onnxslim: what weighs the columns of a picture weighs its channels in the smaller model.
#
# Guess: `onnxslim.slim` gives a smaller model that computes what the model computed, as its first sentence says.
#
# Seen with onnxslim 0.1.98, without a word:
# - A convolution that is followed by a Mul with as many numbers as there are channels becomes one whose weights are
#   multiplied. Which axis the numbers belong to is not looked at: a window over the columns, [8] or [1, 1, 1, 8], or
#   over the rows, [8, 1], is taken for factors of the 8 channels, if the map is 8 wide or high. ConvTranspose is alike.
#   (`ConvMulMatcher` in `core/pattern/fusion/convmul.py`. Beside it, for Add, the axes are looked at.)
# - A Gemm whose result is reshaped and then multiplied gets the factor in its weights. If another node takes the result
#   of the Gemm as well, that one gets the multiplied numbers, too. (`GemmMulPatternMatcher` in `gemm.py`.)
# Factors of channels, [1, 8, 1, 1], are right, and so is a Gemm with one reader.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 onnxslim==0.1.98
PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1 python3 - <<'END'
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
import onnxslim
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(0)


def numbers(*shape):
    return random.normal(size=shape).astype(np.float32)


def both(nodes, constants, values, outputs):
    """What onnxruntime makes of a model before and after, and the operators of the smaller one."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("x", values.shape), *((name, [None] * rank) for name, rank in outputs.items()))]
    made = helper.make_model(
        helper.make_graph([helper.make_node(operator, *names, **attributes) for operator, *names, attributes in nodes],
                          "features", ends[:1], ends[1:],
                          [numpy_helper.from_array(value, name) for name, value in constants.items()]),
        opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made, full_check=True)
    smaller = onnxslim.slim(made)
    onnx.checker.check_model(smaller, full_check=True)
    results = [onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        list(outputs), {"x": values}) for model in (made, smaller)]
    return *results, [node.op_type for node in smaller.graph.node]


print("onnxslim", version("onnxslim"), "and onnxruntime", onnxruntime.__version__)
for operator, weights in (("Conv", (8, 3, 1, 1)), ("ConvTranspose", (3, 8, 1, 1))):
    for what, shape, width in (("channels", (1, 8, 1, 1), 8), ("columns", (8,), 8), ("columns", (1, 1, 1, 8), 8),
                               ("rows", (8, 1), 8), ("one number", (), 9)):
        factors = numbers(*shape) if shape else np.array(0.5, np.float32)
        nodes = [(operator, ["x", "weights"], ["map"], {}), ("Mul", ["map", "factors"], ["y"], {})]
        values = numbers(1, 3, 8, width)
        (before,), (after,), left = both(nodes, {"weights": numbers(*weights), "factors": factors}, values,
                                           {"y": 4})
        right = np.allclose(before, after, atol=1e-4)
        print(f"{operator}, factors of {what}, {shape}: {left}, the same numbers: {right}")
        assert right == (what in ("channels", "one number")), what
        if not right:
            # The factors of the channels would have given this.
            of_channels = np.divide(before, factors) * factors.reshape(1, 8, 1, 1)
            assert np.allclose(after, of_channels, atol=1e-3, rtol=1e-3)

for readers in (1, 2):
    nodes = [("Gemm", ["x", "weights", "bias"], ["features"], {"transB": 1}),
             ("Reshape", ["features", "shape"], ["heads"], {}), ("Mul", ["heads", "factor"], ["scaled"], {}),
             ("Relu", ["features"], ["other"], {})]
    outputs = {"scaled": 3, "other": 2} if readers == 2 else {"scaled": 3}
    before, after, left = both(nodes if readers == 2 else nodes[:3],
                               {"weights": numbers(6, 5), "bias": numbers(6), "shape": np.array([2, 2, 6]),
                                "factor": np.array(3, np.float32)}, numbers(4, 5), outputs)
    assert np.allclose(before[0], after[0], atol=1e-4)
    if readers == 2:
        print(f"Gemm with two readers: {left}, the other one before {before[1][0].round(2)}, after",
              f"{after[1][0].round(2)}")
        assert np.allclose(before[1] * 3, after[1], atol=1e-4) and not np.allclose(before[1], after[1], atol=1e-2)
END
