#!/usr/bin/env bash
# NGT: vectors of bytes are all zeros in an index that normalises, and in the wrong order in one for inner products.
#
# Guess: an index of objects of the type "Byte" takes whole numbers from 0 to 255 and gives the neighbours that "Float"
# gives for the same numbers. A pair of types that does not go together is refused, as others are.
#
# Seen with NGT 2.8.0 (Python, `ngtpy`), without a word:
# - "Normalized Cosine", "Normalized L2" and "Normalized Angle" divide a vector by its length and store it as bytes,
#   where all that is below 1 becomes 0. `get_object` gives zeros, every distance is the same, and each search answers
#   with rows 0, 1, 2 and so on, even `linear_search`, which compares all.
# - "Inner Product" gives each vector one more number, which makes all equally long. As a byte it is another one, so the
#   order is not that of the products: 14 of 100 neighbours are the right ones.
# "Cosine", "Angle" and "L2" give the same for bytes as for floats.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 ngt==2.8.0.post1
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
from importlib.metadata import version

import ngtpy
import numpy as np

print("ngt", version("ngt"))
vectors = np.random.default_rng(0).integers(0, 256, (200, 16)).astype(np.float32)
lengths = np.linalg.norm(vectors, axis=1)
products = vectors @ vectors.T
cosines = products / np.outer(lengths, lengths)
squares = np.square(vectors[:, None] - vectors).sum(2)
nearest = {name: np.argsort(-values, axis=1, kind="stable")[:, :10] for name, values in
           (("Inner Product", products), ("Cosine", cosines), ("L2", -squares))}
shares, stored = {}, {}
for kind in ("L2", "Cosine", "Normalized Cosine", "Normalized L2", "Normalized Angle", "Inner Product"):
    expected = nearest[kind if kind in nearest else "Cosine"]
    for objects in ("Float", "Byte"):
        name = f"{kind} {objects}".replace(" ", "_")
        ngtpy.create(name, 16, distance_type=kind, object_type=objects)
        index = ngtpy.Index(name)
        index.batch_insert(vectors)
        index.save()
        found = [[row for row, _ in index.linear_search(query, 10)] for query in vectors]
        shares[kind, objects] = np.mean([len(set(a) & set(b)) for a, b in zip(found, expected)]) / 10
        stored[kind, objects] = np.array([index.get_object(row) for row in range(200)])
        print(f"{kind} of {objects}: the right neighbours {shares[kind, objects]:.1%}; to row 7",
              *found[7][:4], "; stored of it", *np.round(stored[kind, objects][7][:3], 2))
        if objects == "Byte" and kind.startswith("Normalized"):
            assert not stored[kind, objects].any()
            assert found == [list(range(10))] * 200
for kind, objects in shares:
    if objects == "Float" or kind in ("L2", "Cosine"):
        assert shares[kind, objects] > 0.99, (kind, objects, shares)
    else:
        assert shares[kind, objects] < 0.2, (kind, objects, shares)
END
