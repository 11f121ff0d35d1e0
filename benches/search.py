#!/usr/bin/env python3
"""Time and memory of `simsearch search` at 100,000 x 1280, against numpy, FAISS's flat index and usearch's exact search.

    .python/python benches/search.py [--rows N] [--rounds N] [--folder DIR] [--only-simsearch]

All are asked for the ten nearest by Euclidean distance, in turn, with the vectors in memory and on all cores. simsearch
says itself how long each pass over the data took; beside that stands the whole command, from start to end, and the time
to read the vectors once. Prints Markdown to stdout.

The others hold copies of the vectors, three times their size together: with --only-simsearch, which leaves them out, a
million rows (4.9 GB) fit into memory.
"""
import argparse
import concurrent.futures
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time

import common
from common import PROGRAM, PROJECT, cores, environment, middle, say, table

LENGTH, K, SHARD = 1280, 10, 10_000
QUERIES = [1, 2, 8, 64, 256]
# More take the others minutes.
MOST_QUERIES_OF_OTHERS = 64
# Seconds before each measurement: the threads of the libraries spin for a while when their work is done, on all cores.
REST = 0.3
PACKAGES = PROJECT / "target" / "python-search"


def install():
    """The packages to compare with, in a folder of their own."""
    wanted = pathlib.Path(__file__).with_name("search.txt")
    if not (PACKAGES / "search.txt").is_file() or (PACKAGES / "search.txt").read_text() != wanted.read_text():
        say("fetching faiss-cpu and usearch")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--upgrade"]
        subprocess.run([*pip, "--only-binary=:all:", "--target", PACKAGES, "-r", wanted], check=True)
        (PACKAGES / "search.txt").write_text(wanted.read_text())
    sys.path.insert(0, str(PACKAGES))


def make_directory(directory, rows):
    """Shards of random features, of which each has some that are near to it, as numpy.save writes them."""
    import numpy as np

    directory.mkdir(parents=True)
    random = np.random.default_rng(1)
    centres = random.standard_normal((500, LENGTH), dtype=np.float32)
    for number, first in enumerate(range(0, rows, SHARD)):
        count = min(SHARD, rows - first)
        features = random.standard_normal((count, LENGTH), dtype=np.float32)
        features *= np.float32(0.7)
        features += centres[random.integers(0, len(centres), count)]
        np.maximum(features, 0, out=features)
        np.save(directory / f"{number:04}.features.npy", features)
        ids = np.array([f"{row:08}.jpg" for row in range(first, first + count)])
        np.save(directory / f"{number:04}.object_ids.npy", ids)


class Session:
    """A simsearch that answers lines."""

    def __init__(self, features):
        command = [PROGRAM, "search", "-", "--json", "-k", str(K), "--feature-dir", features]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())

    def ask(self, rows):
        """The ids found for each row, and the seconds of the pass over the data."""
        self.process.stdin.write("".join(f"{row:08}.jpg\n" for row in rows))
        self.process.stdin.flush()
        answers = [json.loads(self.process.stdout.readline()) for _ in rows]
        seconds = {answer["seconds"] for answer in answers}
        if len(seconds) > 1:
            raise SystemExit("the queries were not answered in one pass")
        found = [[int(neighbour["object_id"][:8]) for neighbour in answer["neighbours"]] for answer in answers]
        return found, seconds.pop()

    def memory(self):
        """Memory of its own, and all with the mapped shards, in bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return [int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024 for name in ("RssAnon", "VmHWM")]

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise SystemExit("simsearch failed")


def readers(features, mapped):
    """Ways to read all vectors once on all cores, none of which keeps what it reads; without `features`, the mapped ones.

    numpy asks for pages of 2 MiB for its own arrays, which are read faster than mapped files in pages of 4 KiB.
    """
    import numpy as np

    mapped = [part for shard in mapped for part in np.array_split(shard, 4)]
    pool = concurrent.futures.ThreadPoolExecutor(cores())

    def read(part):
        return np.bitwise_or.reduce(part.view(np.uint64), axis=None)

    ways = {"mapped shards, or": lambda: list(pool.map(read, mapped))}
    if features is not None:
        parts = np.array_split(features, cores() * 4)
        one = np.ones(LENGTH, np.float32)
        ways |= {
            "numpy's array, sum": lambda: list(pool.map(np.sum, parts)),
            "numpy's array, or": lambda: list(pool.map(read, parts)),
            "numpy's array, product": lambda: features @ one,
        }
    return ways


def others(features):
    """The other searches, by name: of query features, `[n, LENGTH]`, to the ids found."""
    import faiss
    import numpy as np
    import usearch.index

    faiss.omp_set_num_threads(cores())
    flat = faiss.IndexFlatL2(LENGTH)
    flat.add(features)
    squares = np.einsum("ij,ij->i", features, features)

    def smallest(distances):
        nearest = np.argpartition(distances, K, axis=0)[:K]
        order = np.take_along_axis(distances, nearest, axis=0).argsort(axis=0)
        return np.take_along_axis(nearest, order, axis=0).T

    def numpy_plain(queries):
        return np.concatenate([smallest(np.linalg.norm(features - query, axis=1)[:, None]) for query in queries])

    def numpy_product(queries):
        return smallest(squares[:, None] - 2 * (features @ queries.T))

    def usearch_exact(queries):
        found = usearch.index.search(features, queries, K, usearch.index.MetricKind.L2sq, exact=True, threads=cores())
        return found.keys.reshape(len(queries), -1)

    return {
        "numpy, `norm(features - query)`": numpy_plain,
        "numpy, a product, squares known": numpy_product,
        "FAISS `IndexFlatL2`": lambda queries: flat.search(queries, K)[1],
        "usearch, exact": usearch_exact,
    }


def timed(work, *arguments):
    time.sleep(REST)
    started = time.perf_counter()
    result = work(*arguments)
    return result, time.perf_counter() - started


def compare(folder, rows, rounds, only_simsearch):
    import numpy as np

    shards = sorted((folder / "model").glob("*.features.npy"))
    features = None if only_simsearch else np.concatenate([np.load(path) for path in shards])
    mapped = [np.load(path, mmap_mode="r") for path in shards]
    session = Session(folder)
    random = np.random.default_rng(2)
    reading, searches = readers(features, mapped), {} if only_simsearch else others(features)
    times, wrong = {}, {}

    def note(name, count, seconds):
        times.setdefault((name, count), []).append(seconds * 1000)

    for number in range(rounds + 1):
        say(f"round {number} of {rounds}")
        for name, read in reading.items():
            for _ in range(3):
                note(f"read: {name}", 0, timed(read)[1])
        for count in QUERIES:
            asked = random.choice(rows, count, replace=False)
            (expected, seconds), _ = timed(session.ask, asked)
            note("simsearch", count, seconds)
            for name, search in searches.items():
                if count > (1 if name.startswith("numpy, `norm") else MOST_QUERIES_OF_OTHERS):
                    continue
                found, seconds = timed(search, features[asked])
                note(name, count, seconds)
                # Others round differently: of two at nearly one distance either may come first.
                wrong[name] = wrong.get(name, 0) + sum(set(ours) != set(map(int, theirs)) for ours, theirs in zip(expected, found))
        command = [PROGRAM, "search", f"{asked[0]:08}.jpg", "--feature-dir", folder]
        note("command", 1, whole_command(command))
        if number == 0:
            times.clear()  # what is read for the first time is not warm
    own, all_of_it = session.memory()
    session.close()
    print_times(times, searches, rows)
    if not only_simsearch:
        print(f"Queries for which another search found other objects: {json.dumps(wrong)}.\n")
    print(f"Memory of simsearch: {own / 2**20:.0f} MiB of its own; {all_of_it / 2**20:.0f} MiB with the mapped shards.\n")


def whole_command(command):
    return timed(lambda: subprocess.run(command, env=environment(), check=True, stdout=subprocess.DEVNULL))[1]


def print_times(times, searches, rows):
    readers = [name for name, count in times if count == 0]
    print(f"{rows:,} x {LENGTH} f32, {rows * LENGTH * 4 / 2**20:.0f} MiB, milliseconds: median (least–greatest)\n")
    head = ["search", *(f"{count} queries" if count > 1 else "1 query" for count in QUERIES)]
    lines = [[name, *(middle(times[name, count]) if (name, count) in times else "" for count in QUERIES)]
             for name in ["simsearch", *searches]]
    table(head, lines)
    median = {count: statistics.median(times["simsearch", count]) for count in QUERIES}
    least = {count: min(times["simsearch", count]) for count in QUERIES}
    lines = []
    for name in readers:
        once = times[name, 0]
        ratios = [f"{median[1] / statistics.median(once):.2f}", f"{least[1] / min(once):.2f}"]
        lines.append([f"the vectors read once, {name.removeprefix('read: ')}", middle(once), *ratios])
    table(["what", "ms", "1 query over that, medians", "least"], lines)
    print(f"64 queries over 1 query: {median[64] / median[1]:.2f} of the medians, {least[64] / least[1]:.2f} of the least. ")
    print(f"The whole command for one object id: {middle(times['command', 1])} ms.\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=pathlib.Path, default=PROJECT / "target", help="where the shards are made")
    parser.add_argument("--only-simsearch", action="store_true", help="leave the other programs out")
    arguments = parser.parse_args()
    if not PROGRAM.exists():
        sys.exit(f"{PROGRAM} is not there; `make build` makes it")
    if not arguments.only_simsearch:
        install()
    print(f"{common.describe_machine()}\n")
    with common.work_folder("search", arguments.folder) as folder:
        say("making the shards")
        make_directory(pathlib.Path(folder) / "model", arguments.rows)
        compare(pathlib.Path(folder), arguments.rows, arguments.rounds, arguments.only_simsearch)


if __name__ == "__main__":
    main()
