#!/bin/sh
# usearch: vectors that several threads add at once are in the index, and no search finds them.
#
# Guess: adding is made for several threads (`threads=0` means all of them, and is the default), so an index of 4,000
# different vectors finds each of them, however many threads added them: the nearest vector to itself.
#
# Seen with usearch 2.26.6, in five indexes for each number of threads: one thread loses none; two and eight threads lose
# some in nearly every index, 1 and 8 in 1,000. The index says that it contains them, and a search with 4,000 candidates, as
# many as there are vectors, does not find them: no edge leads to them. Others that were to be reached through them are lost
# with them. (A new vector has its edges of the upper levels before those of the lowest one. A thread that finds it between
# the two links its own vector to it, and that edge is cleared when the other ones are made: the project's issue 735.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 usearch==2.26.6
PYTHONPATH="$work/packages" python3 - <<'END'
import numpy as np
import usearch
from usearch.index import Index

random = np.random.default_rng(0)
centres = random.uniform(-3, 3, (40, 24))
vectors = (centres[np.arange(4000) % 40] + random.uniform(-1, 1, (4000, 24))).astype(np.float32)
keys = np.arange(4000)


def lost(threads):
    """How many vectors do not find themselves, and how many of these the index contains."""
    index = Index(ndim=24, metric="l2sq", dtype="f32", connectivity=32, expansion_search=4000)
    index.add(keys, vectors, threads=threads)
    found = np.array([index.search(vector, 1).keys[0] for vector in vectors])
    missing = keys[found != keys]
    return len(missing), int(np.sum([index.contains(key) for key in missing]))


print("usearch", usearch.__version__)
for threads in (1, 2, 8):
    runs = np.array([lost(threads) for _ in range(5)])
    print(f"{threads} threads: {np.sum(runs[:, 0] > 0)} of 5 indexes lose vectors, {runs[:, 0].sum()} of 20000;",
          f"{runs[:, 1].sum()} of these are contained")
    assert (runs[:, 0].sum() > 0) == (threads > 1), runs
    assert (runs[:, 0] == runs[:, 1]).all(), runs
END
