#!/usr/bin/env python3
"""How long `simsearch index` takes, and how much of the exact search `--approximate` finds: on as many rows as asked for,
each between two real features, with noise.

    .python/python benches/index.py FEATURES.npy ROWS FOLDER [STORAGE...]

FEATURES.npy holds features of real pictures: those of many versions of some photographs will do."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

PROGRAM = Path(__file__).resolve().parent.parent / "target/release/simsearch"
SHARD_ROWS = 10_000
QUERIES = 1000


def make(base: np.ndarray, rows: int, directory: Path) -> None:
    directory.mkdir(parents=True)
    rng = np.random.default_rng(1)
    noise = base.std(0) * 0.15
    for number, first in enumerate(range(0, rows, SHARD_ROWS)):
        count = min(SHARD_ROWS, rows - first)
        one, other = (base[rng.integers(0, len(base), count)] for _ in range(2))
        features = one + rng.uniform(0, 0.6, (count, 1)) * (other - one) + rng.standard_normal(one.shape) * noise
        np.save(directory / f"{number:04}.features.npy", features.astype("<f4"))
        ids = [f"{row:07}.jpg" for row in range(first, first + count)]
        np.save(directory / f"{number:04}.object_ids.npy", np.array(ids))


def seconds(*arguments: str, queries: list[str]) -> float:
    started = time.monotonic()
    command = [PROGRAM, "search", *arguments, "-"]
    subprocess.run(command, input="".join(f"{query}\n" for query in queries), text=True, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


base, rows, folder = np.load(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
make(base, rows, folder / "model")
where = ["--feature-dir", str(folder)]
for storage in sys.argv[4:] or ["f16", "i8"]:
    command = [PROGRAM, "index", *where, "--storage", storage, "--json"]
    print(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    queries = [f"{row:07}.jpg" for row in range(0, rows, max(rows // QUERIES, 1))]
    for options in [[], ["--approximate"]]:
        one = min(seconds(*where, *options, queries=queries[:1]) for _ in range(3))
        many = min(seconds(*where, *options, queries=queries) for _ in range(3))
        each = (many - one) / (len(queries) - 1)
        print(storage, *options, f"one query {one:.3f} s, {1 / each:.0f} queries/s")
