#!/usr/bin/env python3
"""Shows which pictures lie closest together: show_neighbours.py FEATURE_DIR/<model>

Reads the shards as numpy reads them, and prints the closest pairs. Where the objects are those of the demo, it also
counts for how many the nearest neighbour is another version of the same scene.
"""
import pathlib
import re
import sys

import numpy as np

MOST = 5000  # objects looked at: the distances of all pairs take 4 * MOST ** 2 bytes

directory = pathlib.Path(sys.argv[1])
shards = sorted(directory.glob("*.features.npy"), key=lambda path: int(path.name.split(".")[0]))
if not shards:
    sys.exit(f"\n{directory.name}: no features, nothing to show")
features = np.concatenate([np.load(path) for path in shards])[:MOST]
ids = np.concatenate([np.load(str(path).replace(".features.", ".object_ids.")) for path in shards])[:MOST]
print(f"\n{directory.name}: {len(shards)} shard(s), features {features.shape} {features.dtype}, ids {ids.shape} {ids.dtype}")

if len(ids) < 2:
    print("one picture has no neighbours")
    sys.exit()

squares = (features**2).sum(axis=1)
distances = np.sqrt(np.maximum(squares[:, None] - 2 * features @ features.T + squares, 0))
np.fill_diagonal(distances, np.inf)
nearest = distances.argmin(axis=1)

print("\nclosest pairs          distance")
shown = set()
for index in np.argsort(distances.min(axis=1)):
    pair = frozenset((int(index), int(nearest[index])))
    if pair not in shown:
        shown.add(pair)
        print(f"  {distances[index].min():.4f}  {ids[index]}  {ids[nearest[index]]}")
    if len(shown) == 8:
        break

scenes = [re.fullmatch(r"scene(\d\d)-.*\.jpg", object_id) for object_id in ids]
if all(scenes):
    scene = np.array([match[1] for match in scenes])
    found = int((scene[nearest] == scene).sum())
    same = scene[:, None] == scene
    print(f"\nmean distance to versions of the same scene {distances[same & np.isfinite(distances)].mean():.3f}, ", end="")
    print(f"to other scenes {distances[~same].mean():.3f}")
    print(f"the nearest neighbour is a version of the same scene for {found} of {len(ids)} pictures")
