#!/usr/bin/env python3
"""Time and memory of `simsearch duplicates` at 100,000 x 1280, against FAISS and a product of numpy in blocks.

    .python/python benches/duplicates.py [--rows N] [--rounds N] [--pairs N] [--folder DIR] [--only-simsearch]

All find the pairs within a limit that leaves about half a pair for each row, by Euclidean distance, in turn and on all
cores. simsearch is the whole command, from start to end, which prints the groups; the others have the vectors in memory.
numpy multiplies half of all pairs, FAISS (`IndexFlatL2.range_search`) all of them. Prints Markdown to stdout.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import common
import search
from common import PROGRAM, PROJECT, cores, environment, middle, say, table

LENGTH = search.LENGTH
BLOCK = 2048  # rows of numpy's blocks


def limit_for(features, wanted):
    """A distance within which there are about so many pairs, by a sample of the rows."""
    import numpy as np

    rows = len(features)
    sample = features[:: max(1, rows // 500)]
    squares = np.einsum("ij,ij->i", features, features)
    distances = squares[:: max(1, rows // 500), None] + squares - 2 * sample @ features.T
    # Each row is at 0 from itself.
    place = len(sample) + int(wanted * 2 / rows * len(sample))
    return float(np.sqrt(np.partition(distances, place, axis=None)[place]))


def numpy_pairs(features, limit):
    import numpy as np

    squares, count = np.einsum("ij,ij->i", features, features), 0
    for first in range(0, len(features), BLOCK):
        block = features[first : first + BLOCK]
        for other in range(first, len(features), BLOCK):
            products = block @ features[other : other + BLOCK].T
            distances = squares[first : first + BLOCK, None] + squares[other : other + BLOCK] - 2 * products
            near = distances <= limit * limit
            count += np.count_nonzero(np.triu(near, 1) if first == other else near)
    return count


def numpy_product(features):
    """The product alone, of all pairs, in blocks."""
    for first in range(0, len(features), BLOCK):
        for other in range(0, len(features), BLOCK):
            features[first : first + BLOCK] @ features[other : other + BLOCK].T


def faiss_pairs(flat, features, limit):
    limits, _, _ = flat.range_search(features, limit * limit)
    return (int(limits[-1]) - len(features)) // 2


def simsearch_pairs(folder, limit):
    """Pairs, seconds, and the greatest memory of its own in bytes."""
    command = [PROGRAM, "duplicates", "--feature-dir", folder, "--max-distance", repr(limit), "--json", "--quiet"]
    memory = 0
    with tempfile.TemporaryFile() as printed:
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=printed, env=environment()) as process:
            while process.poll() is None:
                try:
                    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
                except OSError:
                    break
                anonymous = re.search(r"RssAnon:\s+(\d+) kB", status)
                memory = max(memory, int(anonymous[1]) * 1024 if anonymous else 0)
                time.sleep(0.02)
        seconds = time.perf_counter() - started
        if process.returncode not in (0, 4):
            raise SystemExit("simsearch failed")
        printed.seek(0)
        return json.load(printed)["pairs"], seconds, memory


def compare(folder, rows, rounds, wanted, only_simsearch):
    import numpy as np

    features = np.concatenate([np.load(path) for path in sorted((folder / "model").glob("*.features.npy"))])
    limit = limit_for(features, wanted)
    ways = {"simsearch": None}
    if not only_simsearch:
        import faiss

        faiss.omp_set_num_threads(cores())
        flat = faiss.IndexFlatL2(LENGTH)
        flat.add(features)
        ways |= {
            "numpy, a product of half of all pairs in blocks": lambda: numpy_pairs(features, limit),
            "numpy, the product of all pairs alone": lambda: numpy_product(features),
            "FAISS `IndexFlatL2.range_search`": lambda: faiss_pairs(flat, features, limit),
        }
    times, found, memory = {name: [] for name in ways}, {}, 0
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for name, way in ways.items():
            time.sleep(search.REST)
            if way is None:
                found[name], seconds, own = simsearch_pairs(folder, limit)
                memory = max(memory, own)
            else:
                found[name], seconds = search.timed(way)
            times[name].append(seconds)
            say(f"{name}: {seconds:.2f} s")
    print(f"{rows:,} x {LENGTH} f32, pairs within {limit:.4f}; seconds: median (least–greatest) of {rounds} rounds\n")
    lines = []
    for name in ways:
        over = [theirs / ours for ours, theirs in zip(times["simsearch"], times[name])]
        pairs = f"{found[name]:,}" if found[name] is not None else ""
        lines.append([name, middle(times[name], 2), pairs, middle(over, 2)])
    table(["program", "s", "pairs", "times simsearch's, in each round"], lines)
    print(f"Memory of simsearch: {memory / 2**20:.0f} MiB of its own, beside the mapped shards.\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, help="about how many pairs to find; default: half of the rows")
    parser.add_argument("--folder", type=pathlib.Path, default=PROJECT / "target", help="where the shards are made")
    parser.add_argument("--only-simsearch", action="store_true", help="leave the other programs out")
    arguments = parser.parse_args()
    if not PROGRAM.exists():
        sys.exit(f"{PROGRAM} is not there; `make build` makes it")
    if not arguments.only_simsearch:
        search.install()
    print(f"{common.describe_machine()}\n")
    with common.work_folder("duplicates", arguments.folder) as folder:
        say("making the shards")
        search.make_directory(pathlib.Path(folder) / "model", arguments.rows)
        wanted = arguments.pairs or arguments.rows // 2
        compare(pathlib.Path(folder), arguments.rows, arguments.rounds, wanted, arguments.only_simsearch)


if __name__ == "__main__":
    main()
