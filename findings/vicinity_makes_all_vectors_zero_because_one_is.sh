#!/usr/bin/env bash
# vicinity: one vector of zeros among vectors of whole numbers makes zeros of all of them.
#
# Guess: vectors may be whole numbers, such as histograms or pictures of bytes, and by the cosine a vector of zeros (a
# black picture) changes nothing for the others: without it int64 and uint8 give what float32 gives.
#
# Seen with vicinity 0.4.6: with it, all distances are 1, and the answer to each query is the first rows of the index,
# in their order. Vectors are brought to length 1, and where one of them is 0 the result goes to an array of the same
# type, in which all numbers below 1 become 0. The same happens to the queries of one call, and to what is inserted.
# float32 is right either way. (`normalize` in `utils.py`; the way without zeros makes a new array of floats.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 vicinity==0.4.6
PYTHONPATH="$work/packages" python3 - <<'END'
from importlib.metadata import version

import numpy as np
from vicinity import Vicinity


def answers(vectors, queries):
    found = Vicinity.from_vectors_and_items(vectors, range(len(vectors)), metric="cosine").query(queries, k=4)
    return [([row for row, _ in answer], np.round([distance for _, distance in answer], 3)) for answer in found]


print("vicinity", version("vicinity"), "numpy", np.__version__)
histograms = np.random.default_rng(0).integers(0, 60, size=(100, 24))
zeros = histograms.copy()
zeros[99] = 0
lengths = np.linalg.norm(histograms, axis=1)
for dtype in (np.float32, np.int64, np.uint8):
    query = histograms[40:41].astype(dtype)
    seen = {
        "all filled": answers(histograms.astype(dtype), query)[0],
        "the last all zeros": answers(zeros.astype(dtype), query)[0],
        "a query of zeros beside it": answers(histograms.astype(dtype), np.vstack([query, query * 0]))[0],
    }
    expected = np.argsort(-histograms @ histograms[40] / lengths)[:4].tolist()
    for name, (rows, distances) in seen.items():
        print(f"{dtype.__name__}, {name}: expected rows {expected}, seen {rows} at {distances}")
        if dtype == np.float32 or name == "all filled":
            assert rows == expected and distances[0] < 1e-3, (dtype, name)
        else:
            assert rows != expected and (distances == 1).all(), (dtype, name)
END
