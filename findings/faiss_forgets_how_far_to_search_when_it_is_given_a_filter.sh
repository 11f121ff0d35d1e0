#!/bin/sh
# faiss: a search with a filter looks into one cell, whatever the index was told.
#
# Guess: `index.search(queries, k, params=SearchParametersIVF(sel=...))` adds a filter to the search, and `index.nprobe` holds
# as it does without. So a filter that lets everything through changes nothing.
#
# Seen with faiss-cpu 1.15.1: with parameters, those of the index count no more, and a field that is not given is not unset but
# has a value of its own: `nprobe` is 1 and `efSearch` is 16. A filter that lets everything through turns an exact search of 64
# cells into one of a single cell: less than half of the neighbours are found, and with a narrow filter most places are -1. The
# same search with the number given again is exact. (`SearchParametersIVF` in `IndexIVF.h`, `SearchParametersHNSW` in
# `HNSW.h`.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 faiss-cpu==1.15.1
PYTHONPATH="$work/packages" python3 - <<'END'
import faiss
import numpy as np

rng = np.random.default_rng(0)
vectors = rng.normal(size=(8000, 16)).astype(np.float32)
queries = rng.normal(size=(200, 16)).astype(np.float32)
flat = faiss.IndexFlatL2(16)
flat.add(vectors)


def share(index, ids, params):
    """The share of the 10 nearest of some ids that a search finds, and the share of places that it leaves empty."""
    selector = faiss.IDSelectorBatch(ids)
    _, expected = flat.search(queries, 10, params=faiss.SearchParameters(sel=selector))
    _, found = index.search(queries, 10, params=params(selector))
    hits = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(found, expected)])
    return round(float(hits), 3), round(float(np.mean(found == -1)), 3)


cells = faiss.index_factory(16, "IVF64,Flat")
cells.train(vectors)
cells.add(vectors)
cells.nprobe = 64
graph = faiss.index_factory(16, "HNSW16")
graph.add(vectors)
graph.hnsw.efSearch = 1000
every, few = np.arange(8000), np.arange(0, 8000, 40)

print("faiss", faiss.__version__)
found = {}
for name, index, ids, params in (
        ("64 cells, no filter", cells, every, lambda selector: None),
        ("64 cells, filter of all", cells, every, lambda selector: faiss.SearchParametersIVF(sel=selector)),
        ("64 cells, filter of 200", cells, few, lambda selector: faiss.SearchParametersIVF(sel=selector)),
        ("64 cells given again, filter of 200", cells, few,
         lambda selector: faiss.SearchParametersIVF(sel=selector, nprobe=64)),
        ("graph, no filter", graph, every, lambda selector: None),
        ("graph, filter of all", graph, every, lambda selector: faiss.SearchParametersHNSW(sel=selector))):
    found[name] = share(index, ids, params)
    print(f"{name}: {found[name][0]:.1%} of the neighbours found, {found[name][1]:.1%} of the places empty")
assert found["64 cells, no filter"] == (1.0, 0.0) == found["64 cells given again, filter of 200"], found
assert found["64 cells, filter of all"][0] < 0.6, found
assert found["64 cells, filter of 200"][1] > 0.5, found
assert found["graph, no filter"][0] > 0.99 > 0.95 > found["graph, filter of all"][0], found
END
