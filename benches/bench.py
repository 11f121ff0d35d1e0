#!/usr/bin/env python3
"""How many pictures a second: simsearch, the Python recipe, and a plain Rust program, in one run on one machine.

    make bench
    .python/python benches/bench.py [--objects N] [--rounds N] [--model PATH]

The programs take turns, so that what else the machine does falls on all of them; each run is a whole command, start
and end included, into a fresh feature directory. Ratios are taken round by round. Prints Markdown to stdout.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import time

import onnxruntime
import PIL
import PIL.Image

import common
from common import PROGRAM, PROJECT, PYTHON, cores, environment, middle, run, say, table

OPENVINO = PROJECT / "target" / "runtime-openvino"
STAGES = ["read", "decode_and_resample", "model", "write"]
RECIPE_BEST = f"Python recipe, {cores()} processes of 1 thread"
RECIPE_EIGHT = "Python recipe, 8 processes"
PEER = "Rust peer (`image` + `ort` + `rayon`)"


class Ours:
    """One way to call simsearch, and what the issue wants of it."""

    def __init__(self, label, options=(), words=(), runtime=PROJECT / "runtime", goals=("", "", "")):
        self.label, self.options, self.words = label, list(options), list(words)
        self.runtime = runtime
        # Least ratio to the recipe's best layout, to its eight processes, and share of the limit.
        self.goals = goals


def ours():
    found = [
        Ours("simsearch", goals=("≥ 1.7", "≥ 3.3", "≥ 95 %")),
        Ours("simsearch --exact", ["--exact"], ["exact"], goals=("≥ 1.25", "", "")),
    ]
    if OPENVINO.is_dir() and "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text():
        options = ["--precision", "bf16", "--runtime", OPENVINO]
        found.append(Ours("simsearch --precision bf16", options, ["bf16"], OPENVINO, ("≥ 2.2", "", "")))
    else:
        say("skipped: bf16 (it needs a processor with avx512_bf16, and `make openvino`)")
    return found


class Bench:
    """The tree of pictures, the programs, and a fresh place for each run's features."""

    def __init__(self, folder, shared, objects, model):
        self.folder, self.shared, self.objects, self.model = folder, shared, objects, model
        self.photographs = sorted((shared / "media" / "object").glob("*/*/*.jpg"))
        say(f"linking {len(self.photographs)} photographs under {objects} names")
        self.media = common.make_media(folder / "media", objects, self.photographs)
        self.stages_program, self.peer_program = build_stages(), build_peer()
        self.runs = 0

    def fresh(self):
        self.runs += 1
        return self.folder / f"run{self.runs}"

    def pictures_a_second(self, label, commands, feature_dir, **variables):
        """Runs the commands side by side, and counts the features afterwards."""
        processes = []
        started = time.perf_counter()
        for command in commands:
            output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            processes.append(subprocess.Popen(command, env=environment(**variables), **output))
        codes = [process.wait() for process in processes]
        seconds = time.perf_counter() - started
        found = sum(1 for _ in feature_dir.glob("*/*/*/*.npy"))
        if any(codes) or found != self.objects:
            sys.exit(f"{label}: exit codes {codes}, {found} of {self.objects} features")
        say(f"  {label}: {self.objects / seconds:.1f} pictures/s, {seconds:.1f} s")
        return self.objects / seconds

    def simsearch(self, way):
        features = self.fresh()
        folders = ["--media-dir", self.media, "--feature-dir", features]
        command = [PROGRAM, "extract", "--quiet", *folders, "--model", self.model, *way.options]
        return self.pictures_a_second(way.label, [command], features)

    def recipe(self, label, processes, threads):
        """The processes share the objects as the recipe intends: each in an order of its own, skipping what is done."""
        features = self.fresh()
        script = self.shared / "reference" / "extract_reference.py"
        command = [PYTHON, script, self.media, features, self.model, "--threads", str(threads)]
        return self.pictures_a_second(label, [command] * processes, features)

    def peer(self):
        features = self.fresh()
        runtime = PROJECT / "runtime" / "libonnxruntime.so"
        command = [self.peer_program, self.media, features, self.model]
        return self.pictures_a_second(PEER, [command], features, ORT_DYLIB_PATH=runtime)

    def stages(self, way):
        """Milliseconds of each stage on one core."""
        words = [*way.words, f"runtime={way.runtime}", f"scratch={self.fresh()}"]
        command = [self.stages_program, self.media, self.model, "1", *words]
        done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"stages of {way.label}: exit code {done.returncode}\n{done.stderr}")
        found = json.loads(done.stdout)
        say(f"  stages of {way.label}: {found['sum']:.2f} ms")
        return found


def build_stages():
    say("building the stages")
    messages = "--message-format=json-render-diagnostics"
    command = ["cargo", "bench", "--locked", "--bench", "stages", "--no-run", messages]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    return next(one["executable"] for one in messages if one.get("target", {}).get("name") == "stages")


def build_peer():
    say("building the peer")
    target = PROJECT / "target" / "peer"
    manifest = PROJECT / "benches" / "peer" / "Cargo.toml"
    run(["cargo", "build", "--release", "--locked", "--manifest-path", manifest, "--target-dir", target])
    return target / "release" / "peer"


def measure(bench, ways, rounds):
    """Rounds of every program in turn: label -> pictures/s, and label -> stages, a value a round."""
    speeds, stages = {}, {}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        runs = [(way.label, lambda way=way: bench.simsearch(way)) for way in ways]
        runs += [
            (RECIPE_BEST, lambda: bench.recipe(RECIPE_BEST, cores(), 1)),
            (RECIPE_EIGHT, lambda: bench.recipe(RECIPE_EIGHT, 8, 0)),
            (PEER, bench.peer),
        ]
        for label, one in runs:
            speeds.setdefault(label, []).append(one())
        for way in ways:
            stages.setdefault(way.label, []).append(bench.stages(way))
    return speeds, stages


def print_speeds(ways, speeds, stages):
    goals = {way.label: way.goals for way in ways}
    rows = []
    for label, found in speeds.items():
        ratios = [
            middle([one / other for one, other in zip(found, speeds[layout])], 2)
            for layout in (RECIPE_BEST, RECIPE_EIGHT)
        ]
        share = ""
        if label in stages:
            share = middle([100 * one / limit(alone) for one, alone in zip(found, stages[label])])
        cells = [with_goal(value, goal) for value, goal in zip([*ratios, share], goals.get(label, ("", "", "")))]
        rows.append([label, middle(found), *cells])
    table(["program", "pictures/s", "× the recipe's best layout", "× its 8 processes", "% of the limit"], rows)


def with_goal(value, goal):
    return f"{value}; goal {goal}" if goal else value


def limit(stages):
    """Pictures a second if nothing but the stages took time, and every core took as long for them as one alone."""
    return cores() * 1000 / stages["sum"]


def print_stages(stages):
    rows = []
    for label, found in stages.items():
        times = [middle([one[stage] for one in found], 3) for stage in [*STAGES, "sum"]]
        alone = [
            middle([cores() * 1000 / one[stage] for one in found]) for stage in ("decode_and_resample", "model")
        ]
        rows.append([label, str(found[0]["batch"]), *times, *alone, middle([limit(one) for one in found])])
    names = [stage.replace("_", " ") for stage in STAGES]
    per_second = ["decode and resample alone", "model alone", "the limit"]
    head = ["one core, ms a picture", "batch", *names, "sum", *(f"{name}, pictures/s" for name in per_second)]
    table(head, rows)


def describe_data(bench):
    sizes = [PIL.Image.open(path).size for path in bench.photographs]
    pixels = sum(width * height for width, height in sizes) / len(sizes) / 1e6
    openvino = f", OpenVINO's {common.runtime_version(OPENVINO)}" if OPENVINO.is_dir() else ""
    return (
        f"{bench.objects:,} objects: {len(sizes)} photographs of {pixels:.2f} megapixels on average, linked under many "
        f"names (and so in memory). Model {bench.model.stem}. ONNX Runtime "
        f"{common.runtime_version(PROJECT / 'runtime')}{openvino}; in Python {onnxruntime.__version__} with Pillow "
        f"{PIL.__version__}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=5700, help="size of the tree of pictures [5700]")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each program [5]")
    parser.add_argument("--model", type=pathlib.Path, help="[the reference graph]")
    arguments = parser.parse_args()
    shared = common.shared_folder()
    model = arguments.model or shared / "models" / common.REFERENCE_MODEL
    machine = common.describe_machine()
    with common.work_folder("bench") as folder:
        bench = Bench(pathlib.Path(folder), shared, arguments.objects, model.resolve())
        ways = ours()
        speeds, stages = measure(bench, ways, arguments.rounds)
        print(f"{machine}.\n\n{describe_data(bench)}\n")
        print(f"Median (least–greatest) of {arguments.rounds} rounds.\n")
        print_speeds(ways, speeds, stages)
        print("The limit is cores / sum of the stages on one core.\n")
        print_stages(stages)
        say("removing the features")


if __name__ == "__main__":
    main()
