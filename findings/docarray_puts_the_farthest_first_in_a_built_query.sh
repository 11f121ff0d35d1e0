#!/usr/bin/env bash
# docarray: a query that is built, as is needed for a filter, answers with the farthest of the neighbours first.
#
# Guess: `InMemoryExactNNIndex.build_query().find(...)` gives what `find(...)` gives, in the same order; the order goes
# by the space of the column.
#
# Seen with docarray 0.41.0: with a column of space "euclidean_dist" or "sqeuclidean_dist" the order is reversed. What
# was found is sorted a second time, always from the largest score to the smallest, which is right for "cosine_sim"
# only. So the first of the answer is the worst of it, and with no limit of its own the farthest vector of the index;
# a filter after it that keeps the first few keeps the nearest, and gives them in the wrong order. (`_find_and_filter`
# in `index/backends/in_memory.py`. The project's issue 1640, open, was of the opposite: all was sorted upwards, which
# was wrong for "cosine_sim".)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 docarray==0.41.0 pydantic==2.13.3
PYTHONPATH="$work/packages" python3 -W ignore - <<'END'
from importlib.metadata import version

import numpy as np
from docarray import BaseDoc, DocList
from docarray.index import InMemoryExactNNIndex
from docarray.typing import NdArray
from pydantic import Field

print("docarray", version("docarray"))
vectors = np.random.default_rng(0).normal(size=(40, 8))
query = np.full(8, 0.25)
answers = {}
for space in ("cosine_sim", "euclidean_dist", "sqeuclidean_dist"):

    class Picture(BaseDoc):
        number: int
        feature: NdArray[8] = Field(space=space)

    index = InMemoryExactNNIndex[Picture]()
    index.index(DocList[Picture](Picture(number=row, feature=vector) for row, vector in enumerate(vectors)))
    if space == "cosine_sim":
        expected = np.argsort(-vectors @ query / np.linalg.norm(vectors, axis=1))
    else:
        expected = np.argsort(np.linalg.norm(vectors - query, axis=1))
    plain = [picture.number for picture in index.find(query, search_field="feature", limit=5).documents]
    nearest = index.build_query().find(query=query, search_field="feature", limit=5).build()
    even = index.build_query().find(query=query, search_field="feature").filter(filter_query={"number": {"$lt": 99}})
    built = [picture.number for picture in index.execute_query(nearest).documents]
    filtered = [picture.number for picture in index.execute_query(even.build()).documents]
    print(f"{space}: the nearest are {expected[:5]}; find {plain}, a built query {built}, "
          f"with a filter that lets all through {filtered[:5]}")
    assert plain == expected[:5].tolist()
    step = 1 if space == "cosine_sim" else -1
    assert built == plain[::step] and filtered == expected[::step].tolist(), (built, filtered)
END
