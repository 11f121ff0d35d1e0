#!/usr/bin/env bash
# pyarrow: pictures that go into a column as height, width, channels come out with their axes in another order.
#
# Guess: `FixedShapeTensorArray.from_numpy_ndarray` and `to_numpy_ndarray` are each other's inverse, whether or not the
# array is contiguous, and a row of the column is the row of the array.
#
# Seen with pyarrow 26.0.1: an array of pictures `[n, c, h, w]` that is given as `transpose(0, 2, 3, 1)`, without a
# copy, is stored as it lies in memory, with a permutation. The one that is written is the inverse of the one that is
# needed: [2, 4, 5, 3] comes back as [2, 5, 3, 4], and where all sides are equal, in the right shape with other numbers.
# The other way round, `transpose(0, 3, 1, 2)`, is as wrong. Where two axes are swapped the inverse is the same and the
# column is right, but a single row, `column[0].to_numpy()`, is right in shape alone if the first axis is one of the
# two: its strides are made from the sides in the new order and not from those in memory. A contiguous copy before makes
# all of it right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 pyarrow==26.0.1
PYTHONPATH="$work/packages" python3 - <<'END'
import itertools

import numpy as np
import pyarrow

print("pyarrow", pyarrow.__version__)


def outcome(expected, found):
    if expected.shape != found.shape:
        return f"shape {list(found.shape)}"
    return "right" if np.array_equal(expected, found) else "other numbers"


outcomes = {}
for sides in ((3, 4, 5), (4, 4, 4)):
    pictures = np.arange(2 * np.prod(sides), dtype=np.float32).reshape(2, *sides)
    for axes in itertools.permutations((1, 2, 3)):
        given = pictures.transpose(0, *axes)
        column = pyarrow.FixedShapeTensorArray.from_numpy_ndarray(given)
        copied = pyarrow.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(given))
        assert np.array_equal(copied.to_numpy_ndarray(), given) and np.array_equal(copied[0].to_numpy(), given[0])
        outcomes[sides, axes] = outcome(given, column.to_numpy_ndarray()), outcome(given[0], column[0].to_numpy())
        print(f"{list(pictures.shape)}.transpose(0, {', '.join(map(str, axes))}) is {list(given.shape)}, stored as",
              f"{column.type.shape} permuted by {column.type.permutation}: the column comes back as:",
              f"{outcomes[sides, axes][0]}; its first row as: {outcomes[sides, axes][1]}")

right = {axes for axes in itertools.permutations((1, 2, 3)) if outcomes[(3, 4, 5), axes][0] == "right"}
assert right == {(1, 2, 3), (1, 3, 2), (2, 1, 3), (3, 2, 1)}, right
rows = {axes for axes in right if outcomes[(3, 4, 5), axes][1] == "right"}
assert rows == {(1, 2, 3), (1, 3, 2)}, rows
assert outcomes[(3, 4, 5), (2, 3, 1)][0] == "shape [2, 5, 3, 4]", outcomes
assert outcomes[(4, 4, 4), (2, 3, 1)][0] == outcomes[(4, 4, 4), (3, 1, 2)][0] == "other numbers", outcomes
END
