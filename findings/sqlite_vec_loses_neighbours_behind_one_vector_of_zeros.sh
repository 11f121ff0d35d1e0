#!/bin/sh
# sqlite-vec: one vector of zeros in a table takes most nearest neighbours out of the answers.
#
# Guess: by the cosine a vector of zeros (of a black picture, or of a model that failed) has no distance. It comes first, last
# or not at all; the other rows keep their order.
#
# Seen with sqlite-vec 0.1.9: the distance is NaN, and it costs those of other rows. A search goes through a table in chunks of
# 1,024 rows and merges the nearest of each into those of the chunks before. Where NaN is at the head of these, as after a
# vector of zeros in the first row of a chunk, no comparison with it is true, and all that was found up to there gives way to
# the next chunk. So one such row hides itself and all rows up to the end of its chunk: of 5,000 vectors row 3073 hides 4,096,
# and four of five neighbours are missing without a word. The distances that are given are right. With the table's default
# distance all is right. (`min_idx` and `merge_sorted_lists` in `sqlite-vec.c`. A fork has mended it: issue 8 of
# vlasky/sqlite-vec.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    apsw==3.54.1.0 numpy==2.4.6 sqlite-vec==0.1.9
PYTHONPATH="$work/packages" python3 - <<'END'
import apsw
import numpy as np
import sqlite_vec

K = 10
rng = np.random.default_rng(0)
vectors = rng.normal(size=(5000, 16)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
queries = rng.normal(size=(50, 16)).astype(np.float32)


def found(distance, zeros):
    """The share of the true nearest neighbours that a search finds, and the least row number in all answers."""
    db = apsw.Connection(":memory:")
    db.enable_load_extension(True)
    db.load_extension(sqlite_vec.loadable_path())
    db.execute(f"create virtual table pictures using vec0(feature float[16]{distance})")
    stored = vectors.copy()
    stored[zeros] = 0
    with db:
        db.executemany("insert into pictures(rowid, feature) values (?, ?)",
                       ((row, vector.tobytes()) for row, vector in enumerate(stored, 1)))
    hits, least = 0, len(vectors)
    for query in queries:
        rows = db.execute("select rowid, distance from pictures where feature match ? and k = ?",
                          (query.tobytes(), K)).fetchall()
        rows = {row for row, _ in rows}
        # Of vectors of length 1 the nearest by angle are the nearest by distance.
        nearest = np.setdiff1d(np.argsort(-(vectors @ query), kind="stable")[:K + len(zeros)], zeros, assume_unique=True)[:K]
        hits += len(rows & set((nearest + 1).tolist()))
        least = min(least, *rows)
    return hits / K / len(queries), least


print("sqlite-vec", sqlite_vec.__version__)
results = {}
for name, distance, zeros in (
        ("cosine", " distance_metric=cosine", []),
        ("cosine, the first row is zero", " distance_metric=cosine", [0]),
        ("cosine, row 3073 is zero", " distance_metric=cosine", [3072]),
        ("default, row 3073 is zero", "", [3072])):
    results[name] = found(distance, zeros)
    print(f"{name}: {results[name][0]:.1%} of the neighbours found, the least row number in any answer is {results[name][1]}")
assert results["cosine"][0] == 1 == results["default, row 3073 is zero"][0], results
assert results["cosine, the first row is zero"][0] < 0.9 and results["cosine, the first row is zero"][1] > 1024, results
assert results["cosine, row 3073 is zero"][0] < 0.3 and results["cosine, row 3073 is zero"][1] > 4096, results
END
