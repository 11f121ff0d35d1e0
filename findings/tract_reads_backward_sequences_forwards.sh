#!/usr/bin/env bash
# tract: a recurrent layer that is to read its sequence from the end reads it from the beginning.
#
# Guess: LSTM, GRU and RNN with `direction` "reverse" give in tract what they give in onnxruntime, or are refused.
#
# Seen with tract 0.23.9: they give to the bit what "forward" gives with the same weights, without a word. Both halves
# of "bidirectional" are right, so that reading backwards is there. onnxruntime is right in all, and agrees with the
# same layer going forward over a sequence that was turned.
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
from onnx import TensorProto, helper, numpy_helper

path = Path(os.environ["WORK"]) / "model.onnx"
sequence = np.random.default_rng(0).normal(size=(5, 1, 3)).astype(np.float32)


def both(operator, gates, direction, sequence):
    """What onnxruntime and tract make of the sequence, [steps, directions, 1, hidden]."""
    random = np.random.default_rng(1)
    shapes = {"w": (2, gates * 4, 3), "r": (2, gates * 4, 4), "b": (2, gates * 8)}
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    directions = 2 if direction == "bidirectional" else 1
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("x", sequence.shape), ("y", (5, directions, 1, 4)))]
    node = helper.make_node(operator, ["x", *weights], ["y"], hidden_size=4, direction=direction)
    made = helper.make_model(
        helper.make_graph([node], "layer", ends[:1], ends[1:],
                          [numpy_helper.from_array(values[:directions], name) for name, values in weights.items()]),
        opset_imports=[helper.make_opsetid("", 14)])
    made.ir_version = 8
    onnx.checker.check_model(made, full_check=True)
    path.write_bytes(made.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    runnable = tract.onnx().load(path).into_model().into_runnable()
    return session.run(None, {"x": sequence})[0], runnable.run([sequence])[0].to_numpy()


print("tract", version("tract"), "and onnxruntime", onnxruntime.__version__)
for operator, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
    forward, backward, two = (both(operator, gates, direction, sequence)
                              for direction in ("forward", "reverse", "bidirectional"))
    turned = both(operator, gates, "forward", sequence[::-1].copy())
    for name, (runtime, ours) in (("forward", forward), ("reverse", backward), ("bidirectional", two)):
        print(f"{operator}, {name}: {'the same' if np.allclose(runtime, ours, atol=1e-5) else 'another result'};",
              f"first step of onnxruntime {runtime[0, -1, 0].round(3)}, of tract {ours[0, -1, 0].round(3)}")
    assert np.allclose(*forward, atol=1e-5) and np.allclose(*two, atol=1e-5) and np.allclose(*turned, atol=1e-5)
    assert np.allclose(backward[0], turned[0][::-1], atol=1e-5)
    assert not np.allclose(*backward, atol=0.1)
    assert np.array_equal(backward[1], forward[1])
END
