#!/usr/bin/env python3
"""Write `descriptor_v1.onnx`, the small model that `simsearch` carries, or check the committed one.

    python make_descriptor.py            # writes descriptor_v1.onnx beside this script
    python make_descriptor.py --check    # exit 1 unless the committed file has exactly the bytes made here

Needs numpy and onnx. Nothing in the model is learnt: it is a histogram of "visual words" whose vocabulary is
a fixed quasi-random sequence. A picture, `inputs:0` f32 `[n, 224, 224, 3]` in [0, 1], becomes
`feature_vector` f32 `[n, 1280]` of Euclidean length 1 in six steps:

1. average 7x7 pixels: a 32x32 picture, which evens out JPEG noise and size;
2. opponent colours: luminance, red-green, yellow-blue;
3. normalise: luminance to mean 0 and deviation 1, the colours to root mean square 1, so that brightness,
   contrast and saturation drop out;
4. describe each of the 32x32 places by seven numbers: its three values, its vertical gradient in each of the
   three, and the absolute horizontal gradient of luminance. A mirrored picture has the same seven at the
   mirrored place;
5. compare each place with 320 words, points in that space of seven; a softmax of the negative squared
   distance says how much of the place belongs to each word;
6. average the memberships in four windows (whole, centre, upper, lower), each its own mirror image; the
   square root makes Euclidean distance the Hellinger distance of the histograms.
"""

import argparse
import math
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PATH = Path(__file__).with_name("descriptor_v1.onnx")

CELL = 7  # pixels: the side of the square averaged in step 1; 224 / 7 = 32
GRID = 224 // CELL
WORDS = 320  # words per window; four windows make 1280

# Rows: luminance, red-green, yellow-blue; columns: how much of red, green and blue is in them.
OPPONENT = [[1 / 3, 1 / 3, 1 / 3], [0.707107, -0.707107, 0.0], [0.408248, 0.408248, -0.816497]]

# The seven numbers of step 4: how far the words spread, in units of the normalised picture, and how much the
# distance of step 5 counts each. Chosen by hand from a few values each; README.md says how
# little they matter.
PLACE = [
    ("luminance", 1.0, 1.0),
    ("red-green", 0.7, 1.3),
    ("yellow-blue", 0.7, 1.3),
    ("|dx| of luminance", 0.64, 2.0),
    ("dy of luminance", 0.64, 2.0),
    ("dy of red-green", 0.4, 3.0),
    ("dy of yellow-blue", 0.4, 3.0),
]
SPREAD = [spread for _, spread, _ in PLACE]
WEIGHT = [weight for _, _, weight in PLACE]
NEVER_NEGATIVE = 3  # the row of |dx|
SHARPNESS = 1.4  # of the softmax: lower shares a place among more words

# Variances below these count as noise: deviations of 8 grey levels of 255, and of 2.5 levels of colour.
LUMINANCE_FLOOR = 1e-3
COLOUR_FLOOR = 1e-4

# (share of the squared distance, vertical centre, vertical width, horizontal width): Gaussians on [-1, 1].
WHOLE = 1e3  # so wide that it is flat
WINDOWS = [
    (0.250, 0.0, WHOLE, WHOLE),
    (0.500, 0.0, 0.5, 0.5),
    (0.125, -0.3, 0.4, 0.6),
    (0.125, 0.3, 0.4, 0.6),
]
NORMALISING_WINDOW = (1.0, 0.0, 0.8, 0.8)

CODE_UNIT = 1 / 32  # words are stored as int8 steps of this, in deviations of a normal distribution


def vocabulary():
    """Normally distributed words, int8 `[7, WORDS]` in steps of CODE_UNIT, from the R_d sequence.

    The sequence (Roberts 2018, a generalised golden ratio) covers the space more evenly than random numbers
    do, and unlike a library's generator it can never change.
    """
    dims = len(SPREAD)
    ratio = 2.0
    for _ in range(60):  # the root of ratio^(dims + 1) = ratio + 1
        ratio = (1 + ratio) ** (1 / (dims + 1))
    words = np.zeros((dims, WORDS))
    for dim in range(dims):
        for word in range(WORDS):
            uniform = (0.5 + (word + 1) * ratio ** -(dim + 1)) % 1
            words[dim, word] = NormalDist().inv_cdf(uniform)
    words[NEVER_NEGATIVE] = abs(words[NEVER_NEGATIVE])
    return np.clip(np.round(words / CODE_UNIT), -127, 127).astype(np.int8)


def gaussian(centre, width):
    """GRID weights that sum to 1, rounded so that no machine's `exp` shows in the file."""
    at = [(2 * i + 1) / GRID - 1 for i in range(GRID)]
    weights = np.array([math.exp(-((t - centre) ** 2) / (2 * width**2)) for t in at])
    return np.round(weights / weights.sum(), 7)


class Graph:
    """Collects nodes and constants; every tensor is called after what it holds."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, values, dtype=np.float32):
        self.constants.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def add(self, name, op, *inputs, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name


def build():
    """The model, as bytes."""
    g = Graph()
    places = GRID * GRID
    dims = len(SPREAD)

    # 1, 2: a small picture in opponent colours, `[n, 3, 32, 32]`.
    g.add("channels_first", "Transpose", "inputs:0", perm=[0, 3, 1, 2])
    g.add("small", "AveragePool", "channels_first", kernel_shape=[CELL, CELL], strides=[CELL, CELL])
    g.constant("opponent_kernel", np.reshape(OPPONENT, (3, 3, 1, 1)))
    g.add("opponent", "Conv", "small", "opponent_kernel")

    # 3: normalised under a window that favours the centre, which a crop keeps.
    _, centre, height, width = NORMALISING_WINDOW
    g.constant("normalising_y", gaussian(centre, height).reshape(GRID, 1))
    g.constant("normalising_x", gaussian(centre, width).reshape(1, GRID))
    g.add("normalising_window", "Mul", "normalising_y", "normalising_x")
    g.constant("rows_and_columns", [2, 3], np.int64)
    g.constant("channel_axis", [1], np.int64)

    def window_mean(name, values):
        g.add(name + "_weighted", "Mul", values, "normalising_window")
        return g.add(name, "ReduceSum", name + "_weighted", "rows_and_columns", keepdims=1)

    g.constant("one_and_two", [1, 2], np.int64)
    g.add("luminance", "Split", "opponent", "one_and_two", axis=1)
    g.nodes[-1].output.append("colour")
    g.add("centred", "Sub", "luminance", window_mean("luminance_mean", "luminance"))
    g.add("centred_squared", "Mul", "centred", "centred")
    g.constant("luminance_floor", LUMINANCE_FLOOR)
    g.add("variance", "Add", window_mean("raw_variance", "centred_squared"), "luminance_floor")
    g.add("deviation", "Sqrt", "variance")
    g.add("normal_luminance", "Div", "centred", "deviation")
    g.add("colour_squared", "Mul", "colour", "colour")
    window_mean("colour_mean_squares", "colour_squared")
    g.add("colour_mean_square", "ReduceSum", "colour_mean_squares", "channel_axis", keepdims=1)
    g.constant("colour_floor", COLOUR_FLOOR)
    g.add("colour_power", "Add", "colour_mean_square", "colour_floor")
    g.add("colour_deviation", "Sqrt", "colour_power")
    g.add("normal_colour", "Div", "colour", "colour_deviation")
    g.add("normal", "Concat", "normal_luminance", "normal_colour", axis=1)

    # 4: gradients between the two neighbours; the border repeats. `[n, 7, 32, 32]` becomes `[n, 1024, 7]`.
    g.constant("pad_columns", [0, 0, 0, 1, 0, 0, 0, 1], np.int64)
    g.add("wider", "Pad", "normal_luminance", "pad_columns", mode="edge")
    g.constant("dx_kernel", np.reshape([-1, 0, 1], (1, 1, 1, 3)))
    g.add("dx", "Conv", "wider", "dx_kernel")
    g.add("abs_dx", "Abs", "dx")
    g.constant("pad_rows", [0, 0, 1, 0, 0, 0, 1, 0], np.int64)
    g.add("taller", "Pad", "normal", "pad_rows", mode="edge")
    g.constant("dy_kernel", np.tile(np.reshape([-1, 0, 1], (1, 1, 3, 1)), (3, 1, 1, 1)))
    g.add("dy", "Conv", "taller", "dy_kernel", group=3)
    g.add("maps", "Concat", "normal", "abs_dx", "dy", axis=1)
    # An eighth number, always 1, takes each word's offset in the product below.
    g.constant("pad_one_channel", [0, 0, 0, 0, 0, 1, 0, 0], np.int64)
    g.constant("one", 1.0)
    g.add("maps_and_one", "Pad", "maps", "pad_one_channel", "one")
    g.constant("maps_shape", [0, dims + 1, places], np.int64)
    g.add("by_dimension", "Reshape", "maps_and_one", "maps_shape")
    g.add("by_place", "Transpose", "by_dimension", perm=[0, 2, 1])

    # 5: -SHARPNESS * |WEIGHT * (place - word)|^2 without |place|^2, which the softmax cancels.
    g.constant("word_codes", vocabulary(), np.int8)
    g.add("word_deviations", "Cast", "word_codes", to=TensorProto.FLOAT)
    g.constant("word_spread", np.reshape(SPREAD, (dims, 1)) * CODE_UNIT)
    g.add("words", "Mul", "word_deviations", "word_spread")
    g.constant("word_weight", 2 * SHARPNESS * np.reshape(WEIGHT, (dims, 1)) ** 2)
    g.add("weighted_words", "Mul", "words", "word_weight")
    g.add("word_squares", "Mul", "words", "weighted_words")
    g.constant("dimension_axis", [0], np.int64)
    g.add("word_square", "ReduceSum", "word_squares", "dimension_axis", keepdims=1)
    g.constant("minus_half", -0.5)
    g.add("word_offset", "Mul", "word_square", "minus_half")
    g.add("words_and_offset", "Concat", "weighted_words", "word_offset", axis=0)
    g.add("nearness", "MatMul", "by_place", "words_and_offset")
    g.add("raw_membership", "Softmax", "nearness", axis=-1)
    # Far words get memberships below 1e-38, and a processor is slow with such numbers: with this floor a
    # photograph takes 0.82 ms instead of 0.96.
    g.constant("membership_floor", 1e-12)
    g.add("membership", "Max", "raw_membership", "membership_floor")

    # 6: four histograms, `[n, 4, 320]`, whose squares sum to each window's share, and all of them to 1.
    g.constant("windows_y", [[share * gaussian(centre, height)] for share, centre, height, _ in WINDOWS])
    g.constant("windows_x", [[gaussian(0.0, width)] for *_, width in WINDOWS])
    g.constant("column_shape", [len(WINDOWS), GRID, 1], np.int64)
    g.add("windows_column", "Reshape", "windows_y", "column_shape")
    g.add("windows_square", "Mul", "windows_column", "windows_x")
    g.constant("windows_shape", [len(WINDOWS), places], np.int64)
    g.add("windows", "Reshape", "windows_square", "windows_shape")
    g.add("histograms", "MatMul", "windows", "membership")
    g.add("hellinger", "Sqrt", "histograms")
    g.constant("vector_shape", [0, len(WINDOWS) * WORDS], np.int64)
    g.add("feature_vector", "Reshape", "hellinger", "vector_shape")

    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        g.nodes,
        "descriptor_v1",
        [tensor("inputs:0", TensorProto.FLOAT, ["n", 224, 224, 3])],
        [tensor("feature_vector", TensorProto.FLOAT, ["n", len(WINDOWS) * WORDS])],
        g.constants,
    )
    opsets = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, producer_name="simsearch", opset_imports=opsets, ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def main():
    parser = argparse.ArgumentParser(description="Write descriptor_v1.onnx beside this script.")
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    check = parser.parse_args().check
    model = build()
    if not check:
        PATH.write_bytes(model)
        print(f"wrote {PATH.name}: {len(model)} bytes")
    elif not PATH.exists() or PATH.read_bytes() != model:
        sys.exit(f"{PATH.name} is not what this script makes; without --check it writes the file")
    else:
        print(f"{PATH.name} is what this script makes: {len(model)} bytes")


if __name__ == "__main__":
    main()
