#!/bin/sh
# onnx: whether a model can be saved over itself depends on the current directory, and where it can, its old weights stay.
#
# Guess: `save_model(model, path, save_as_external_data=True, location="weights.bin")` writes both files anew, or refuses to
# overwrite them, wherever it is called from: `location` is beside `path`.
#
# Seen with onnx 1.23.2: a file `weights.bin` in the current directory is refused, whether or not it is the one that would be
# written. One beside `path`, in another directory, is not: the graph's file is replaced, and the weights are added behind
# those of the time before, with an offset. The file grows with each save, every old set of weights is still in it, and a copy
# of an older graph beside the newer file goes on with its own old weights, without a word.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 onnx==1.23.2
mkdir "$work/out"
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import os
import shutil

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def model(value):
    weight = numpy_helper.from_array(np.full(1000, value, np.float32), "weight")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1000]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "weight"], ["y"])], "sum", ends[:1], ends[1:], [weight])
    return helper.make_model(graph)


def first_weight(path):
    return float(numpy_helper.to_array(onnx.load(path).graph.initializer[0])[0])


def save(value, path):
    onnx.save_model(model(value), path, save_as_external_data=True, location="weights.bin", size_threshold=0)


sizes = []
for value in (1, 2, 3):
    save(value, "out/model.onnx")
    shutil.copy("out/model.onnx", f"out/model{value}.onnx")
    sizes.append(os.path.getsize("out/weights.bin"))
weights = [first_weight(f"out/model{value}.onnx") for value in (1, 2, 3)]
# The same once more from within the folder, and from outside beside an unrelated file of that name.
refused = []
for folder, path in (("out", "model.onnx"), (".", "elsewhere.onnx")):
    here = os.getcwd()
    os.chdir(folder)
    open("weights.bin", "ab").close()
    try:
        save(4, path if folder == "out" else "out/" + path)
    except FileExistsError:
        refused.append(folder)
    os.chdir(here)
print("onnx", onnx.__version__)
print("bytes of the weights' file after each save:", *sizes)
print("what the graphs of the three saves find in the file of the last one:", *weights)
print("refused where the current directory has a file of that name:", *refused)
assert sizes == [4000, 8000, 12000], sizes
assert weights == [1.0, 2.0, 3.0], weights
assert refused == ["out", "."], refused
END
