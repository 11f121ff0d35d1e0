#!/usr/bin/env python3
"""The Python packing as it was used: each run packs the next 10,000 features into a pair and removes their files.

    packing_recipe.py FEATURE_DIR/<model stem> NUMBER

`../shared/reference/concat_reference.py` writes the same shards from all files at once and removes nothing, so that its
output can be compared; this one is there to be timed.
"""
import pathlib
import sys

import numpy as np

ROWS = 10_000

directory, number = pathlib.Path(sys.argv[1]), int(sys.argv[2])
paths = sorted(directory.glob("*/*/*.npy"))[:ROWS]
np.save(directory / f"{number:04d}.object_ids.npy", np.array([path.stem for path in paths]))
np.save(directory / f"{number:04d}.features.npy", np.array([np.load(path) for path in paths]))
for path in paths:
    path.unlink()
