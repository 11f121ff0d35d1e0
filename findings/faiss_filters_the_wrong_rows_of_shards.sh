#!/bin/sh
# faiss: a filter that is asked of several indexes at once lets the wrong rows through, and with a refined index all of them.
#
# Guess: a filter names the ids that a search may answer with. Whatever an index is made of, its answer has no other ids.
#
# Seen with faiss-cpu 1.15.1, both without a word:
# - `IndexShards` with ids that go on from shard to shard hands the filter to each shard, which has its rows counted from 0,
#   and moves the ids afterwards. So a filter for rows 0 to 99 gives rows of every shard, and one for rows of the second shard
#   nothing. (The project's issue 5581.)
# - `IndexRefineFlat` has parameters with a field `sel` like all others, and does not look at it: only the one in its
#   `base_index_params` counts.
# A plain index and `IndexIDMap` keep to the filter.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 faiss-cpu==1.15.1
PYTHONPATH="$work/packages" python3 - <<'END'
import faiss
import numpy as np

vectors = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
query = vectors[:1]
flat = faiss.IndexFlatL2(8)
flat.add(vectors)
shards = faiss.IndexShards(8, False, True)
parts = [faiss.IndexFlatL2(8) for _ in range(3)]
for number, part in enumerate(parts):
    part.add(vectors[100 * number:100 * (number + 1)])
    shards.add_shard(part)
refined = faiss.IndexRefineFlat(faiss.IndexFlatL2(8))
refined.add(vectors)
mapped = faiss.IndexIDMap(faiss.IndexFlatL2(8))
mapped.add_with_ids(vectors, np.arange(300))
assert np.array_equal(flat.search(vectors, 5)[1], shards.search(vectors, 5)[1])

print("faiss", faiss.__version__)
outside = {}
for begin, end in ((0, 100), (100, 200)):
    selector = faiss.IDSelectorRange(begin, end)
    plain = faiss.SearchParameters(sel=selector)
    for name, index, params in (
            ("plain", flat, plain), ("IDMap", mapped, plain), ("shards", shards, plain),
            ("refined", refined, faiss.IndexRefineSearchParameters(sel=selector)),
            ("refined, base", refined, faiss.IndexRefineSearchParameters(base_index_params=plain))):
        ids = index.search(query, 6, params=params)[1][0]
        outside[name, begin] = int(np.sum((ids >= 0) & ((ids < begin) | (ids >= end)))), int(np.sum(ids < 0))
        print(f"rows {begin} to {end - 1}, {name}:", *ids)
for begin in (0, 100):
    assert outside["plain", begin] == outside["IDMap", begin] == outside["refined, base", begin] == (0, 0), outside
    assert outside["refined", begin][0] > 0, outside
assert outside["shards", 0][0] > 0, outside
assert outside["shards", 100] == (0, 6), outside
END
