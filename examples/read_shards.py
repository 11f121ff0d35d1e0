#!/usr/bin/env python3
"""Reads the shards that `simsearch concat` writes into numpy, and prints the ten objects nearest to one of them.

    python3 examples/read_shards.py features/descriptor_v1 scene07-as-drawn.jpg

Needs numpy.
"""
import pathlib
import sys

import numpy as np

directory, query = pathlib.Path(sys.argv[1]), sys.argv[2]
files = sorted(directory.glob("*.features.npy"))
if not files:
    sys.exit(f"{directory} has no shards; run `simsearch concat` first")

# A shard is a pair of files: row n of one belongs to row n of the other.
features = np.concatenate([np.load(file, mmap_mode="r") for file in files])  # float32 [n, d]
object_ids = np.concatenate([np.load(str(file).replace(".features.", ".object_ids.")) for file in files])  # str [n]

(rows,) = np.nonzero(object_ids == query)
if len(rows) == 0:
    sys.exit(f"{query} is not in {directory}")
distances = np.linalg.norm(features - features[rows[0]], axis=1)
for row in np.argsort(distances, kind="stable")[:10]:
    print(object_ids[row], distances[row])
