#!/usr/bin/env python3
"""Makes the small ONNX models in models/ that the tests of the command line work with.

    pip install numpy==2.4.6 onnx==1.23.2
    make_models.py

All of them take pictures 12 wide and 10 high, so that swapped axes show. The feature is eight weighted sums of the
averages of 3 x 2 cells (each 4 wide and 5 high) in each of the 3 channels; tests/it/main.rs computes the same. The
weights are sixteenths made from their index: no random numbers, the same bytes on every machine.
"""
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH, LENGTH = 10, 12, 8
NODE = helper.make_node
FLOAT = TensorProto.FLOAT

# [feature, channel, cell row, cell column]
WEIGHTS = ((np.arange(LENGTH * 3 * 2 * 3) * 37 + 11) % 64 - 32).reshape(LENGTH, 3, 2, 3).astype(np.float32) / 16


def pooled(source, transpose=True):
    """Nodes from the input to the cells, [n, 3, 2, 3]."""
    nodes = []
    if transpose:
        nodes.append(NODE("Transpose", [source], ["planes"], perm=[0, 3, 1, 2]))
        source = "planes"
    nodes.append(NODE("AveragePool", [source], ["cells"], kernel_shape=[5, 4], strides=[5, 4]))
    return nodes


def features(output):
    """Nodes from the cells to the feature; a convolution works on one picture at a time, whatever the batch."""
    return [NODE("Conv", ["cells", "weights"], ["sums"]), NODE("Flatten", ["sums"], [output])]


def save(name, nodes, shape, outputs, dtype=FLOAT, constants=()):
    used = {source for node in nodes for source in node.input}
    constants = [constant for constant in (numpy_helper.from_array(WEIGHTS, "weights"), *constants) if constant.name in used]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("inputs:0", dtype, shape)],
        [helper.make_tensor_value_info(output, FLOAT, axes) for output, axes in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="simsearch tests")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    assert len(data) < 2048, f"{name}: {len(data)} bytes"
    (folder / f"{name}.onnx").write_bytes(data)


folder = pathlib.Path(__file__).resolve().parent / "models"
folder.mkdir(exist_ok=True)
nhwc, feature = ["n", HEIGHT, WIDTH, 3], [("feature_vector", ["n", LENGTH])]
plain = pooled("inputs:0") + features("feature_vector")

save("nhwc", plain, nhwc, feature)
save("nchw", pooled("inputs:0", transpose=False) + features("feature_vector"), ["n", 3, HEIGHT, WIDTH], feature)
for batch in (1, 4):
    save(f"fixed_{batch}", plain, [batch, HEIGHT, WIDTH, 3], [("feature_vector", [batch, LENGTH])])
flat = [NODE("Flatten", ["cells"], ["flat"])]
save("two_outputs", plain + flat, nhwc, [("flat", ["n", 18]), *feature])
save("no_feature_vector", pooled("inputs:0") + features("sums_of_cells") + flat, nhwc,
     [("flat", ["n", 18]), ("sums_of_cells", ["n", LENGTH])])
# The square root of a negative number is no number: pictures with a mean above one half have no finite feature.
half = numpy_helper.from_array(np.float32([0.5]), "half")
save("nan_where_bright", pooled("inputs:0") + features("weighed") + [
    NODE("ReduceMean", ["inputs:0"], ["mean"], axes=[1, 2, 3], keepdims=0),
    NODE("Sub", ["half", "mean"], ["dark"]),
    NODE("Sqrt", ["dark"], ["root"]),
    NODE("Unsqueeze", ["root", "last"], ["column"]),
    NODE("Add", ["weighed", "column"], ["feature_vector"]),
], nhwc, feature, constants=[half, numpy_helper.from_array(np.int64([1]), "last")])

# The difference between two spellings of h-sigmoid, enlarged: rounding is all there is. A rewrite changes one of the two.
constants = [numpy_helper.from_array(np.float32([value]), name) for name, value in
             [("zero", 0), ("three", 3), ("six", 6), ("sixth", 1 / 6), ("million", 1e6)]]
constants += [numpy_helper.from_array(np.full((1, 3, 1, 1), value, np.float32), name) for name, value in
              [("threes", 3), ("sixths", 1 / 6)]]
save("sensitive", [
    NODE("Transpose", ["inputs:0"], ["planes"], perm=[0, 3, 1, 2]),
    NODE("AveragePool", ["planes"], ["means"], kernel_shape=[5, 4], strides=[5, 4]),
    NODE("Add", ["means", "three"], ["a1"]), NODE("Clip", ["a1", "zero", "six"], ["a2"]), NODE("Mul", ["a2", "sixth"], ["a3"]),
    NODE("Add", ["means", "threes"], ["b1"]), NODE("Clip", ["b1", "zero", "six"], ["b2"]), NODE("Mul", ["b2", "sixths"], ["b3"]),
    NODE("Sub", ["a3", "b3"], ["rounding"]), NODE("Mul", ["rounding", "million"], ["large"]),
    NODE("Add", ["large", "means"], ["cells"]),
] + features("feature_vector"), nhwc, feature, constants=constants)

# One operator in the size of real models: what is left of a run with it is decoding and writing (benches/gpu.sh).
save("one_operator", [NODE("ReduceMean", ["inputs:0"], ["feature_vector"], axes=[1, 2], keepdims=0)],
     ["n", 224, 224, 3], [("feature_vector", ["n", 3])])

# What the program must refuse.
cast = [NODE("Cast", ["inputs:0"], ["numbers"], to=FLOAT)]
save("unfit_integers", cast + pooled("numbers") + features("feature_vector"), nhwc, feature, TensorProto.INT64)
rows = [NODE("ReduceMean", ["inputs:0"], ["feature_vector"], axes=[1, 3], keepdims=0)]
save("unfit_dynamic_height", rows, ["n", "h", WIDTH, 3], [("feature_vector", ["n", WIDTH])])
save("unfit_four_channels", rows, ["n", HEIGHT, WIDTH, 4], [("feature_vector", ["n", WIDTH])])
save("unfit_rank_3", [NODE("ReduceMean", ["inputs:0"], ["feature_vector"], axes=[3], keepdims=0)], nhwc,
     [("feature_vector", ["n", HEIGHT, WIDTH])])
