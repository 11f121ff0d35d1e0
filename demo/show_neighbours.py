#!/usr/bin/env python3
"""Shows which pictures lie closest together: show_neighbours.py FEATURE_DIR/<model>

Reads the shards with numpy, and prints the closest pairs. Where the objects are those of the demo, it also counts for
how many of them the nearest neighbour is another version of the same scene.
"""
import pathlib
import re
import sys

import numpy as np

MOST = 5000  # objects to look at: the distances of all pairs take 4 * MOST ** 2 bytes

directory = pathlib.Path(sys.argv[1])
shards = sorted(directory.glob("*.features.npy"), key=lambda path: int(path.name.split(".")[0]))
if not shards:
    sys.exit(f"\n{directory.name}: there are no features, so there is nothing to show")
features = np.concatenate([np.load(path) for path in shards])[:MOST]
ids = np.concatenate([np.load(str(path).replace(".features.", ".object_ids.")) for path in shards])[:MOST]
counted = "1 shard" if len(shards) == 1 else f"{len(shards)} shards"
print(f"\n{directory.name}: {counted}; numpy reads features {features.dtype} {features.shape}, ", end="")
print(f"object ids {ids.dtype} {ids.shape}")

if len(ids) < 2:
    print("a single picture has no neighbours")
    sys.exit()

squares = (features**2).sum(axis=1)
distances = np.sqrt(np.maximum(squares[:, None] - 2 * features @ features.T + squares, 0))
np.fill_diagonal(distances, np.inf)
nearest = distances.argmin(axis=1)

print("\ndistance  closest pairs")
shown = set()
for index in np.argsort(distances.min(axis=1)):
    pair = frozenset((int(index), int(nearest[index])))
    if pair not in shown:
        shown.add(pair)
        print(f"{distances[index].min():8.4f}  {ids[index]}  {ids[nearest[index]]}")
    if len(shown) == 8:
        break

scenes = [re.fullmatch(r"scene(\d\d)-.*\.jpg", object_id) for object_id in ids]
if all(scenes):
    scene = np.array([match[1] for match in scenes])
    found = int((scene[nearest] == scene).sum())
    same = scene[:, None] == scene
    versions, others = distances[same & np.isfinite(distances)], distances[~same]
    print(f"\naverage distance to other versions of the same scene {versions.mean():.3f}, ", end="")
    print(f"to other scenes {others.mean():.3f}")
    print(f"for {found} of {len(ids)} pictures the nearest neighbour is another version of the same scene")
