#!/usr/bin/env bash
# voyager: the distance of two vectors depends on what else is in the index, and orders neighbours otherwise than a
# search.
#
# Guess: `Index.get_distance(a, b)` is the distance that `query` gives for the same two vectors: with
# `Space.InnerProduct` 1 minus their product. It needs nothing of what the index holds.
#
# Seen with voyager 2.2.3: in an empty index it is. As soon as there are vectors in it, both are measured as if they
# were stored: each gets the additional number that makes stored vectors as long as the longest one, and the product of
# these two is subtracted. So the distance falls with every longer vector that is added, short vectors get near to
# everything, and `get_distance` sorts neighbours in another order than `query` found them in. The documentation says of
# the two vectors only that they must have the index's dimensions. With the other two spaces both agree.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 voyager==2.2.3
PYTHONPATH="$work/packages" python3 - <<'END'
from importlib.metadata import version

import numpy as np
from voyager import Index, Space

vectors = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
query = vectors[0]
print("voyager", version("voyager"))

pair = vectors[1], vectors[2]
expected = float(1 - pair[0] @ pair[1])
index = Index(Space.InnerProduct, num_dimensions=8)
seen = [index.get_distance(*pair)]
for factor in (2, 4, 8):
    index.add_item(factor * vectors[3])
    seen.append(index.get_distance(*pair))
print(f"two vectors: 1 - their product is {expected:.4f}; get_distance with 0, 1, 2 and 3 others in the index:",
      *(f"{distance:.4f}" for distance in seen))
assert np.isclose(seen[0], expected) and not np.isclose(seen[1:], expected, atol=0.5).any(), (expected, seen)
assert (np.diff(seen) < -1).all(), seen

for space in (Space.InnerProduct, Space.Euclidean, Space.Cosine):
    index = Index(space, num_dimensions=8)
    index.add_items(vectors, num_threads=1)
    ids, found = index.query(query, k=5, query_ef=200)
    again = np.array([index.get_distance(query, vectors[row]) for row in ids])
    print(f"{space.name}: query {found.round(3).tolist()}, get_distance of the same rows {again.round(3).tolist()}")
    same = np.allclose(found, again, atol=1e-4)
    assert same == (space != Space.InnerProduct), (space, found, again)
    if space == Space.InnerProduct:
        assert np.allclose(found, 1 - vectors[ids.astype(int)] @ query, atol=1e-4), found
        assert np.argsort(again).tolist() != list(range(5)), again
END
