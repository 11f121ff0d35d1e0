#!/bin/sh
# onnxruntime: a binding's second run writes to the output of its first run.
#
# Guess: `io_binding.bind_output(name, "cpu")` asks for a fresh tensor of every run, since it names a device and no
# buffer. So an OrtValue that is kept from the first run keeps its numbers.
#
# Seen with onnxruntime 1.32.0: after the first run the binding holds the tensor that the run gave, as if the caller had
# bound it, and the second run writes to it. The kept OrtValue changes without a word, and another batch size is refused
# because the kept tensor has the shape of the first one. Binding the output anew before each run cures both. (With CUDA
# and pinned memory, 1.31.1 fails at the second run instead.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
PYTHONPATH="$work/packages" python3 - <<'END'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

graph = helper.make_graph(
    [helper.make_node("Neg", ["x"], ["y"])], "negative",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
model.ir_version = 8
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def runs(anew):
    """The output of the first of two runs, after the second one; and what a third run with another size says."""
    binding = session.io_binding()
    kept = None
    for values in ([1, 2], [30, 40]):
        binding.bind_cpu_input("x", np.array(values, np.float32))
        if anew or kept is None:
            binding.clear_binding_outputs()
            binding.bind_output("y", "cpu")
        session.run_with_iobinding(binding)
        kept = kept or binding.get_outputs()[0]
    binding.bind_cpu_input("x", np.array([5, 6, 7], np.float32))
    if anew:
        binding.clear_binding_outputs()
        binding.bind_output("y", "cpu")
    try:
        session.run_with_iobinding(binding)
        third = "runs"
    except Exception as error:
        third = type(error).__name__
    return kept.numpy().tolist(), third


found = {anew: runs(anew) for anew in (False, True)}
print("onnxruntime", onnxruntime.__version__)
print("bound once: the first output after the second run, and a third run of another size:", *found[False])
print("bound anew before each run:", *found[True])
assert found[True] == ([-1.0, -2.0], "runs"), found
assert found[False][0] == [-30.0, -40.0], found
assert found[False][1] != "runs", found
END
