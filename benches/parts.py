#!/usr/bin/env python3
"""What a part of a list costs beyond its objects, and what each object costs beyond the model.

    .python/python benches/parts.py [--lines N] [--objects N] [--rounds N] [--pack]

1. The overhead of a part: a part without objects, one with ten, and beside them a process in Python that only loads the same
   ONNX Runtime and the same model.
2. A part of a thousandth of a list of many lines: nothing to do, and all to do.
3. 10,000 objects, then ten times as many up to `--objects`, in 64 parts, one after the other, and what makes one directory of them.

The pictures are of one pixel, and the models of parts 2 and 3 do next to nothing. Seconds are those of a clock, and of the processor,
which say the same on a machine that others use as well. Prints Markdown to stdout.
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys

import common

TINY = common.PROJECT / "tests/data/models/nhwc.onnx"
PARTS = 64

# Runs a command and prints what it took. In a process of its own, since what a process has in memory counts for those that it starts.
MEASURE = """
import json, os, sys, time
start = time.monotonic()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
seconds = time.monotonic() - start
assert status == 0, f"{sys.argv[1:]} ended with {status}"
print(json.dumps([seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
"""

LOAD = """
import sys, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""


class Cost:
    """Of a command: seconds of a clock, of the processor, and MiB at most, for each round."""

    def __init__(self):
        self.seconds, self.processor, self.memory = [], [], []

    def add(self, command):
        measured = [sys.executable, "-S", "-c", MEASURE, *map(str, command)]
        environment = common.environment(ORT_DISABLE_TELEMETRY="1")
        done = subprocess.run(measured, check=True, env=environment, stdout=subprocess.PIPE, text=True)
        for values, value in zip((self.seconds, self.processor, self.memory), json.loads(done.stdout.splitlines()[-1])):
            values.append(value)

    def cells(self):
        return [common.middle(self.seconds, 3), common.middle(self.processor, 3), common.middle(self.memory, 0)]


HEAD = ["seconds", "processor seconds", "MiB"]


class Extract:
    """The commands of a collection in parts. What is asked for beside is added here."""

    def __init__(self, folder, model, pack):
        self.folder, self.model = folder, model
        self.more = ["--pack"] if pack else []
        self.merge = ["--merge"] if pack else []

    def part(self, index, parts, features, *more):
        command = [common.PROGRAM, "extract", "--quiet", "--media-dir", self.folder, "--feature-dir", self.folder / features]
        command += ["--model", self.model, "--provider", "cpu", "--part", f"{index}/{parts}"]
        return [*command, *self.more, *more]

    def finish(self, features):
        return [common.PROGRAM, "concat", "--quiet", "--feature-dir", self.folder / features, *self.merge]


def belongs(name, parts):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % parts


def write_picture(path, number):
    common.make_parent(path)
    path.write_bytes(b"P6\n1 1\n255\n" + (number % 2**24).to_bytes(3, "big"))


def make_collection(folder, lines, is_made=lambda name: True):
    """A list of so many lines, and the pictures of some of them, distinct up to 16 million; returns how many there are."""
    folder.mkdir()
    made = 0
    with open(folder / "objects.txt", "w") as objects:
        for number in range(lines):
            name = f"{number:08d}.ppm"
            entry = f"{name[:5]}/{name}"
            objects.write(f"{entry}\n")
            if is_made(name):
                write_picture(folder / entry, number)
                made += 1
    return made


def models():
    found = [("tiny", TINY)]
    try:
        shared = common.shared_folder() / "models" / "mobilenet_v3_large_minimalistic_fv.onnx"
    except SystemExit:
        return found
    return [*found, ("MobileNetV3", shared)]


def overhead(folder, rounds, pack):
    rows = []
    make_collection(folder / "ten", 10)
    make_collection(folder / "more", 110)
    for label, model in models():
        ten, more = (Extract(folder / name, model, pack) for name in ("ten", "more"))
        costs = {name: Cost() for name in ("nothing to do", "ten objects", "110 objects", "runtime and model in Python", "Python alone")}
        for number in range(rounds):
            features = f"features-{label}-{number}"
            costs["ten objects"].add(ten.part(0, 1, features))
            costs["nothing to do"].add(ten.part(0, 1, features))
            costs["110 objects"].add(more.part(0, 1, features))
            python = [common.PYTHON, "-c"]
            costs["runtime and model in Python"].add([*python, LOAD, model])
            costs["Python alone"].add([*python, "import numpy"])
        rows += [[label, name, *cost.cells()] for name, cost in costs.items()]
        for values in ("seconds", "processor"):
            least = {name: min(getattr(cost, values)) for name, cost in costs.items()}
            objects = (least["110 objects"] - least["ten objects"]) / 10
            loading = least["runtime and model in Python"] - least["Python alone"]
            beyond = least["ten objects"] - objects - loading
            common.say(f"{label}, {values}: {beyond:.3f} s beyond loading ({loading:.3f} s) and the objects ({objects:.3f} s)")
            rows.append([label, f"beyond loading and objects, {values}, of the least", f"{beyond:.3f}", "", ""])
    common.table(["model", "a part with", *HEAD], rows)


def long_list(folder, lines, rounds, pack):
    parts = 1000
    made = make_collection(folder / "long", lines, lambda name: belongs(name, parts) == 0)
    extract = Extract(folder / "long", TINY, pack)
    costs = {name: Cost() for name in (f"{made:,} objects to do", "nothing to do")}
    for number in range(rounds):
        for cost in costs.values():
            cost.add(extract.part(0, parts, f"features-{number}"))
    print(f"A part of a thousandth of a list of {lines:,} lines:\n")
    common.table(["part", *HEAD], [[name, *cost.cells()] for name, cost in costs.items()])


def many_objects(folder, count, pack):
    name = f"many-{count}"
    make_collection(folder / name, count)
    extract = Extract(folder / name, TINY, pack)
    one, parts, finish = Cost(), Cost(), Cost()
    one.add(extract.part(0, PARTS, "one", "--limit", "1"))
    for index in range(PARTS):
        parts.add(extract.part(index, PARTS, "features"))
    finish.add(extract.finish("features"))
    # What a part with one object takes is there with any number of them.
    memory = (max(parts.memory) - one.memory[0]) * 2**20 / (count / PARTS)
    row = [f"{count:,}", f"{sum(parts.seconds):.1f}", f"{sum(parts.processor):.1f}", f"{1e6 * sum(parts.processor) / count:.0f}"]
    return [*row, f"{max(parts.memory):.0f}", f"{memory:,.0f}", f"{finish.seconds[0]:.1f}", f"{finish.memory[0]:.0f}"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=5_000_000)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pack", action="store_true")
    arguments = parser.parse_args()
    print(common.describe_machine(), end="\n\n")
    with common.work_folder("parts") as folder:
        folder = pathlib.Path(folder)
        overhead(folder, arguments.rounds, arguments.pack)
        long_list(folder, arguments.lines, arguments.rounds, arguments.pack)
        counts = [count for count in (10_000, 100_000, 1_000_000) if count < arguments.objects] + [arguments.objects]
        rows = [many_objects(folder, count, arguments.pack) for count in counts]
        head = ["objects", "seconds", "processor seconds", "processor µs an object", "MiB of a part", "bytes an object"]
        print(f"In {PARTS} parts, one after the other:\n")
        common.table([*head, "seconds to finish", "MiB"], rows)


if __name__ == "__main__":
    main()
