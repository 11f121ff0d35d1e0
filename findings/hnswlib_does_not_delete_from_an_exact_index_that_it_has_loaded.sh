#!/usr/bin/env bash
# hnswlib: an exact index that was saved and loaded deletes nothing, and a vector that is replaced is in it twice.
#
# Guess: `BFIndex` (exact search) does the same with an index that it made and with one that it loaded:
# `delete_vector` takes a vector out, and `add_items` with a label that is there replaces its vector, as with `Index`.
#
# Seen with hnswlib 0.8.0, without a word: the file holds the labels, and the table that finds a vector by its label
# is not made again when it is loaded. So `delete_vector` finds no such label and does nothing: the vector stays in
# all answers. `add_items` puts a second vector under the same label, so that the old place of a picture and the new
# one are both found, the label is twice in one answer, and the index is full before its time. An index that was not
# loaded replaces it. (`loadIndex` in `bruteforce.h` does not fill `dict_external_to_internal`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" hnswlib==0.8.0 numpy==2.4.6
PYTHONPATH="$work/packages" python3 - "$work/index" <<'END_OF_PROGRAM'
import sys
from importlib.metadata import version

import hnswlib
import numpy as np

DIMENSIONS = 16
rng = np.random.default_rng(0)
vectors = rng.normal(size=(100, DIMENSIONS)).astype(np.float32)
elsewhere = rng.normal(size=DIMENSIONS).astype(np.float32) + 10


def labels(index, query, k):
    return index.knn_query(query, k)[0][0].tolist()


def loaded():
    index = hnswlib.BFIndex("l2", DIMENSIONS)
    index.load_index(sys.argv[1], 101)
    return index


def made():
    index = hnswlib.BFIndex("l2", DIMENSIONS)
    index.init_index(101)
    index.add_items(vectors, np.arange(100))
    return index


print("hnswlib", version("hnswlib"))
made().save_index(sys.argv[1])
for name, make in (("as it was made", made), ("saved and loaded", loaded)):
    assert labels(make(), vectors, 1) == [0] and labels(make(), vectors[7], 1) == [7]
    index = make()
    index.add_items(elsewhere, [7])
    old, new = labels(index, vectors[7], 1)[0], labels(index, elsewhere, 1)[0]
    times = labels(index, vectors[7], index.get_current_count()).count(7)
    print(f"{name}: 7 was replaced by another vector; the nearest to the new one is {new}; the nearest to the old",
          f"one is expected not to be 7, seen {old}; 7 is {times} times in an answer of all")
    assert new == 7 and (old == 7) == (make is loaded) and times == (2 if make is loaded else 1)

index = loaded()
index.delete_vector(7)
nearest = labels(index, vectors[7], 1)[0]
print(f"saved and loaded: after 7 was deleted the nearest to vector 7 is expected not to be 7, seen {nearest}")
assert nearest == 7
approximate = hnswlib.Index("l2", DIMENSIONS)
approximate.init_index(101)
approximate.add_items(vectors, np.arange(100))
approximate.save_index(sys.argv[1])
approximate = hnswlib.Index("l2", DIMENSIONS)
approximate.load_index(sys.argv[1], 101)
approximate.mark_deleted(7)
print(f"Index, saved and loaded: after 7 was deleted, seen {labels(approximate, vectors[7], 1)[0]}")
assert labels(approximate, vectors[7], 1)[0] != 7
END_OF_PROGRAM
