#!/usr/bin/env bash
# MNN: a vector times a matrix is the matrix times the vector, and the products of all features with all others are a
# product of matrices.
#
# Guess: `MNN.numpy`, whose documentation says that it does what the functions of NumPy with the same names do, projects
# a feature by `dot(feature, matrix)` and compares features by `inner(features, features)` as NumPy does.
#
# Seen with MNN 3.6.1, without a word:
# - `dot` and `matmul` of a vector and a matrix multiply along the last axis of both, which is the matrix times the
#   vector. With a square matrix (a whitening, a rotation, a projection without loss) all numbers are other ones.
#   With another shape the right call is refused, and the one that NumPy refuses gives an answer.
# - `inner` of two matrices multiplies them, and does not transpose the second: for as many features as they have
#   numbers the lengths are not on its diagonal, and it is not symmetric. For others it is refused.
# - `dot` of three axes and two has the number 3 written into it, so that it works for a matrix with 3 rows, and fails
#   for others when its result is read.
# A matrix times a vector, or times a matrix, is right. (`dot` in `MNN/numpy/__init__.py`, which the others call.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 mnn==3.6.1
PYTHONPATH="$work/packages" python3 - <<'END'
import MNN
import MNN.numpy
import numpy as np


def variable(values):
    return MNN.numpy.array(np.asarray(values, np.float32).tolist())


def both(name, first, second):
    """What NumPy and MNN give for the function."""
    try:
        expected = getattr(np, name)(np.asarray(first, np.float32), np.asarray(second, np.float32))
    except ValueError:
        expected = None
    try:
        found = np.array(getattr(MNN.numpy, name)(variable(first), variable(second)).read()).copy()
    except (ValueError, SystemError):
        found = None
    print(f"{name} of {np.shape(first)} and {np.shape(second)}:",
          f"NumPy {'refuses' if expected is None else expected.tolist()},",
          f"MNN {'refuses' if found is None else found.tolist()}")
    return expected, found


print("MNN", MNN.version(), "and NumPy", np.__version__)
feature, turn = [3, 4], [[0, 1], [-1, 0]]
for name in ("dot", "matmul"):
    expected, found = both(name, feature, turn)
    assert np.array_equal(expected, [-4, 3]) and np.array_equal(found, [4, -3])
    expected, found = both(name, turn, feature)
    assert np.array_equal(expected, found)
    expected, found = both(name, feature, [[1, 0, 2], [0, 1, 1]])
    assert np.array_equal(expected, [3, 4, 10]) and found is None
    expected, found = both(name, feature, [[1, 0], [0, 1], [2, 1]])
    assert expected is None and np.array_equal(found, [3, 4, 10])

features = [[0.6, 0.8], [0, 1]]
expected, found = both("inner", features, features)
assert np.allclose(expected, [[1, 0.8], [0.8, 1]]) and np.allclose(found, np.matmul(features, features))
expected, found = both("inner", [[1, 2], [3, 4], [5, 6]], features)
assert expected.shape == (3, 2) and np.allclose(found, np.matmul([[1, 2], [3, 4], [5, 6]], features))
expected, found = both("dot", np.arange(12).reshape(2, 2, 3), np.arange(6).reshape(3, 2))
assert np.array_equal(expected, found)
expected, found = both("dot", np.arange(8).reshape(2, 2, 2), np.arange(4).reshape(2, 2))
assert expected is not None and found is None
END
