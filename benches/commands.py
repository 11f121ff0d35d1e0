#!/usr/bin/env python3
"""Time and memory of the other commands at 100,381 objects: list, concat, extract with nothing to do, --help.

    .python/python benches/commands.py [--objects N] [--rounds N] [--flat] [--folder DIR]

Everything is in the page cache, as it is right after it was made. Prints Markdown to stdout.
"""
import argparse
import os
import pathlib
import re
import subprocess
import time

import common
from common import PROGRAM, PROJECT, PYTHON, environment, make_features, make_media, middle, run, say, table

LENGTH = 1280
FLAT = [1_000, 10_000, 100_000]


class Commands:
    """The trees, and the commands on them."""

    def __init__(self, folder, shared, arguments):
        self.folder, self.shared = folder, shared
        self.objects, self.rounds = arguments.objects, arguments.rounds
        self.model = arguments.model or shared / "models" / common.REFERENCE_MODEL
        self.photographs = sorted((shared / "media" / "object").glob("*/*/*.jpg"))
        say(f"making a media tree of {self.objects} objects")
        # Photographs, although list and concat never open them: a single object is extracted to get a recipe.
        self.media = make_media(folder / "media", self.objects, self.photographs)
        self.list_bytes = (self.media / "objects.txt").stat().st_size

    def extract(self, media, features, *options):
        folders = ["--media-dir", media, "--feature-dir", features]
        return [PROGRAM, "extract", *folders, "--model", self.model, *options]

    def concat(self, features):
        return [PROGRAM, "concat", "--feature-dir", features, "--model", self.model]

    def features(self, name):
        """A feature directory in which all is done: the recipe of a run of one object, and files for all."""
        say(f"making {self.objects} feature files")
        features = self.folder / name
        run(self.extract(self.media, features, "--limit", "1"), env=environment())
        make_features(features / self.model.stem, common.object_paths(self.objects), LENGTH)
        os.sync()  # what is left to write would be written while something is timed
        return features


    def look(self, command, features):
        """`status` or `verify`, with the list."""
        return [PROGRAM, command, "--media-dir", self.media, "--feature-dir", features, "--model", self.model]


def seconds(command, **options):
    started = time.perf_counter()
    run(command, env=environment(), **options)
    return time.perf_counter() - started


def peak_memory(command):
    """Most bytes that the command had in memory.

    Looked at while it runs: `ru_maxrss` of a child begins with what this process had when it started it.
    """
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=environment(), **output)
    peak = 0
    while process.poll() is None:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            peak = max(peak, int(found[1]) * 1024)
        time.sleep(0.0005)
    if process.returncode != 0:
        raise SystemExit(f"{command}: exit code {process.returncode}")
    return peak


def compare_list(commands):
    """The list and `find | sort`, in turn."""
    say("list")
    found, media = commands.folder / "found.txt", commands.media
    shell = f"find object -type f -name '*.jpg' | LC_ALL=C sort > '{found}'"
    ours, theirs = [], []
    for _ in range(commands.rounds):
        ours.append(seconds([PROGRAM, "list", "--media-dir", media]))
        theirs.append(seconds(["sh", "-c", shell], cwd=media))
    if found.read_bytes() != (media / "objects.txt").read_bytes():
        raise SystemExit("list and `find | sort` differ")
    return ours, theirs


def compare_concat(commands, trees):
    """The packing, which removes its tree, and before it the Python packing of the same tree, which leaves it."""
    script = commands.shared / "reference" / "concat_reference.py"
    ours, theirs = [], []
    for number, features in enumerate(trees):
        packed = commands.folder / f"packed{number}"
        theirs.append(seconds([PYTHON, script, features / commands.model.stem, packed]))
        os.sync()
        ours.append(seconds(commands.concat(features)))
        for shard in packed.iterdir():
            if shard.read_bytes() != (features / commands.model.stem / shard.name).read_bytes():
                raise SystemExit(f"{shard.name} differs from that of the Python packing")
    return ours, theirs


def python_as_used(commands):
    """The Python packing as it was used: a run for every 10,000 features, which removes their files."""
    directory = commands.features("features_for_python") / commands.model.stem
    script = pathlib.Path(__file__).with_name("packing_recipe.py")
    return sum(seconds([PYTHON, script, directory, str(number)]) for number in range(-(-commands.objects // 10_000)))


def faster(theirs, ours):
    return middle([their / our for their, our in zip(theirs, ours)])


def print_times(commands):
    listed, found = compare_list(commands)
    trees = [commands.features(f"features{number}") for number in range(2)]
    nothing = commands.extract(commands.media, trees[0])
    say("extract with all done, as files")
    as_files = [seconds(nothing) for _ in range(commands.rounds)]
    look = {name: commands.look(name, trees[0]) for name in ("status", "verify")}
    looks = {f"`{name}`, files": [seconds(look[name]) for _ in range(commands.rounds)] for name in look}
    say("concat")
    packed, python = compare_concat(commands, trees)
    in_runs = python_as_used(commands)
    say("extract with all done, in shards")
    in_shards = [seconds(nothing) for _ in range(commands.rounds)]
    looks |= {f"`{name}`, shards": [seconds(look[name]) for _ in range(commands.rounds)] for name in look}
    help_text = [1000 * seconds([PROGRAM, "--help"]) for _ in range(20)]
    rows = [
        ["`list`", f"{middle(listed, 2)} s", f"`find \\| sort`: {middle(found, 2)} s", faster(found, listed), "≥ 2"],
        ["`concat`", f"{middle(packed, 2)} s", f"Python in {-(-commands.objects // 10_000)} runs: {in_runs:.2f} s",
         faster([in_runs] * len(packed), packed), "≥ 10"],
        ["`extract`, all done, files", f"{middle(as_files, 2)} s", "", "", "< 1 s"],
        ["`extract`, all done, shards", f"{middle(in_shards, 2)} s", "", "", "< 1 s"],
        ["`--help`", f"{middle(help_text)} ms", "", "", "< 10 ms"],
    ]
    for label, taken in looks.items():
        rows.append([label, f"{middle(taken, 2)} s", "", "", "< 1 s" if "status" in label else ""])
    table(["command", "time", "compared with", "times faster", "goal"], rows)
    print(
        "`concat` makes its shards durable and removes the files and their directories. The Python packing makes nothing "
        f"durable; one run over everything that removes nothing takes {middle(python, 2)} s. All read files that were "
        "just written.\n"
    )


def print_memory(commands):
    """Peak memory, and what of it goes with the objects: beyond that of the same command with one object."""
    say("memory")
    one_media = make_media(commands.folder / "one", 1, commands.photographs)
    one_features = commands.folder / "one_features"
    run(commands.extract(one_media, one_features), env=environment())
    features = commands.features("features_for_memory")
    pairs = {
        "`list`": ([PROGRAM, "list", "--media-dir", media] for media in (commands.media, one_media)),
        "`extract`, all done": (
            commands.extract(commands.media, features),
            commands.extract(one_media, one_features),
        ),
        "`concat`": (commands.concat(features), commands.concat(one_features)),
    }
    rows = []
    for label, (many, one) in pairs.items():
        peak, base = peak_memory(many), peak_memory(one)
        beyond, growth = ((peak - less - commands.list_bytes) / commands.objects for less in (0, base))
        rows.append([label, megabytes(peak), f"{beyond:.0f}", megabytes(base), f"{growth:.0f}"])
    head = ["command", "peak", "bytes an object beyond its line; goal ≤ 100", "peak with one object", "growth alone"]
    table(head, rows)

    real = make_media(commands.folder / "real", 1000, commands.photographs)
    rows = []
    for number, options in enumerate([[], ["--exact"]]):
        features = commands.folder / f"memory{number}"
        command = commands.extract(real, features, "--workers", "2", *options)
        rows.append([" ".join(["`extract --workers 2", *options]) + "`", megabytes(peak_memory(command))])
    table(["1000 pictures, reference graph", "peak; goal < 350 MB"], rows)


def megabytes(number):
    return f"{number / 1e6:.1f} MB"


def print_flat(commands):
    """The cost of a picture over the number of objects."""
    rows = []
    for objects in (1, *FLAT):
        say(f"extract of {objects} objects")
        media = make_media(commands.folder / f"flat{objects}", objects, commands.photographs)
        os.sync()
        taken = seconds(commands.extract(media, commands.folder / f"flat_features{objects}", "--quiet"))
        if objects == 1:
            start = taken
        else:
            alone = (taken - start) / (objects - 1)
            rows.append([f"{objects:,}", f"{taken:.1f}", f"{1000 * taken / objects:.3f}", f"{1000 * alone:.3f}"])
    table(["objects", "s", "ms a picture", f"without the start ({start:.2f} s)"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100_381, help="objects of the tree [100381]")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each command but concat, which has two [5]")
    parser.add_argument("--flat", action="store_true", help="also the cost of a picture by number of objects; minutes")
    parser.add_argument("--model", type=pathlib.Path, help="for --flat [the reference graph]")
    parser.add_argument("--folder", type=pathlib.Path, default=PROJECT / "target", help="where the trees are [target]")
    arguments = parser.parse_args()
    shared = common.shared_folder()
    machine = common.describe_machine()
    with common.work_folder("commands", arguments.folder) as folder:
        commands = Commands(pathlib.Path(folder), shared, arguments)
        print(f"{machine}.\n\n{arguments.objects:,} objects, features of {LENGTH}. Median (least–greatest).\n")
        if arguments.flat:
            # First of all: the removals of concat would slow down the writing of features.
            print_flat(commands)
        print_times(commands)
        print_memory(commands)
        say("removing the trees")


if __name__ == "__main__":
    main()
