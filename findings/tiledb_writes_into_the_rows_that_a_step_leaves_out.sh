#!/usr/bin/env bash
# TileDB: what is assigned to every second row is written over all rows.
#
# Guess: `array[::2] = 7` writes to the rows that `array[::2]` reads, and to no other. `array[::-1] = rows` writes them
# from the last to the first. Or a step is refused.
#
# Seen with tiledb 0.36.1 (Python), dense arrays, without a word: reading goes by the step (and by a negative one), and
# writing does not look at it. A number that is assigned to `[::2]`, `[1::3]` or `[:, ::2]` goes to every cell between
# the first and the last one, and what was there is gone. Rows that are assigned to `[::-1]` are written in their own
# order, so that `array[::-1]` reads others than were just written. Every second row of an array is refused with a
# "shape mismatch" that asks for all rows; and all rows are taken and written. Slices without a step are right.
# (`__setitem__` of `tiledb/dense_array.py` goes on with the two ends of a slice.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 tiledb==0.36.1
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import numpy as np
import tiledb

print("tiledb", tiledb.__version__)
features = np.arange(24, dtype=np.float32).reshape(6, 4)


def after(where, what):
    name = f"array{len(seen)}"
    tiledb.from_numpy(name, features).close()
    with tiledb.open(name) as array:
        assert np.array_equal(array[where], features[where])
    with tiledb.open(name, "w") as array:
        array[where] = what
    with tiledb.open(name) as array:
        return array[...]


seen = {}
for name, where, what, touched in (
        ("[2:5]", np.s_[2:5], -1, np.s_[2:5]),
        ("[::2]", np.s_[::2], -1, np.s_[:]),
        ("[1::3]", np.s_[1::3], -1, np.s_[1:]),
        ("[:, ::2]", np.s_[:, ::2], -1, np.s_[:, :]),
        ("[2:5] rows", np.s_[2:5], features[2:5] * 10, np.s_[2:5]),
        ("[::-1] rows", np.s_[::-1], features * 10, np.s_[:])):
    seen[name] = after(where, what)
    expected, described = features.copy(), features.copy()
    expected[where] = what
    described[touched] = what
    print(f"{name}: first column expected", *expected[:, 0].astype(int), " seen", *seen[name][:, 0].astype(int),
          f" wrong cells {int(np.sum(seen[name] != expected))} of 24")
    assert np.array_equal(seen[name], described), name
    assert np.array_equal(seen[name], expected) == name.startswith("[2:5]"), name
try:
    after(np.s_[::2], features[::2])
except ValueError as error:
    print("three rows to [::2]:", error)
else:
    raise SystemExit("three rows were taken")
END
