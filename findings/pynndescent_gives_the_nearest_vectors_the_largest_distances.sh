#!/usr/bin/env bash
# pynndescent: by "true_angular" the nearest vector has the largest distance.
#
# Guess: the distances of `neighbor_graph` and `query` rise from neighbour to neighbour. With `metric="true_angular"`
# they are 0 for vectors in one direction and near 1 for opposite ones, as its documentation says.
#
# Seen with pynndescent 0.7.0: they fall. The formula is 1 - angle / pi, which is 1 for the same direction: the distance
# of a vector to itself, or to a twice as long one, is 1, the nearest neighbours have the largest numbers, and a vector
# at an angle of 89 degrees has 0.506. From 90 degrees on it is the largest float there is. The neighbours are the right
# ones, since the search itself goes by another function, and `neighbor_graph` says 0 for each vector itself, in front
# of falling numbers. So what keeps neighbours nearer than a limit drops the best of them. "cosine" is in order.
# (`true_angular` in `distances.py`; the project's issue 232.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 pynndescent==0.7.0
PYTHONPATH="$work/packages" python3 - <<'END'
from importlib.metadata import version

import numpy as np
from pynndescent import NNDescent
from pynndescent.distances import named_distances

print("pynndescent", version("pynndescent"))
first = np.array([1, 0], np.float32)
distances = {}
for degrees in (0, 30, 60, 89, 91, 180):
    other = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32) * 2
    distances[degrees] = [float(named_distances[name](first, other)) for name in ("true_angular", "cosine")]
    print(f"{degrees} degrees apart: true_angular {distances[degrees][0]:.4g}, cosine {distances[degrees][1]:.4g}")
angular, cosine = zip(*distances.values())
assert list(cosine) == sorted(cosine)
assert list(angular[:4]) == sorted(angular[:4], reverse=True) and angular[0] == 1, angular
assert min(angular[4:]) > 1e38, angular

vectors = np.abs(np.random.default_rng(0).normal(size=(60, 8))).astype(np.float32)
rows, found = NNDescent(vectors, metric="true_angular", n_neighbors=6, random_state=0, n_jobs=1).neighbor_graph
units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
angles = np.degrees(np.arccos(np.clip(units[0] @ units[rows[0]].T, -1, 1)))
print("the first vector's neighbours are", angles.round(1), "degrees away; their distances are", found[0].round(4))
assert (np.diff(angles) > 0).all(), angles
assert found[0, 0] == 0 and (np.diff(found[:, 1:], axis=1) <= 0).all(), found
END
