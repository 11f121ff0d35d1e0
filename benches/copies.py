#!/usr/bin/env python3
"""Several copies of `simsearch extract` on one directory against one copy with as many threads: speed, and what is done
twice.

    .python/python benches/copies.py [--objects N] [--rounds N]

The copies start at the same moment; the time is from there to the end of the last. The processor time of all copies
together says the same on a machine that others use as well. Done twice: what the copies say they have done, less the
features that are there. Prints Markdown to stdout.
"""
import argparse
import json
import pathlib
import resource
import subprocess
import time

import common

# Copies and workers of each; every two rows have the same number of threads.
LAYOUTS = [(1, 2), (2, 1), (1, 8), (8, 1)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    shared = common.shared_folder()
    originals = sorted((shared / "media" / "object").glob("*/*/*.jpg"))
    seconds, processor, twice = ({layout: [] for layout in LAYOUTS} for _ in range(3))
    print(common.describe_machine(), end="\n\n")
    with common.work_folder("copies") as folder:
        folder = pathlib.Path(folder)
        media = common.make_media(folder / "media", arguments.objects, originals)
        for number in range(arguments.rounds):
            for layout in LAYOUTS:
                copies, workers = layout
                features = folder / f"features-{copies}-{workers}-{number}"
                command = [common.PROGRAM, "extract", "--quiet", "--json", "--media-dir", media]
                command += ["--feature-dir", features, "--model", shared / "models" / common.REFERENCE_MODEL]
                command += ["--provider", "cpu", "--workers", str(workers)]
                before = processor_seconds()
                taken, done = extract_at_once(command, copies)
                processor[layout].append(processor_seconds() - before)
                there = sum(1 for _ in features.glob("*/*/*/*.npy"))
                seconds[layout].append(taken)
                twice[layout].append(100 * (done - there) / there)
                spent = processor[layout][-1]
                common.say(f"{copies} x {workers}: {taken:.1f} s, processors {spent:.1f} s, {done} done, {there} there")
    print(f"{arguments.objects:,} objects, median (least–greatest) of {arguments.rounds} rounds.\n")
    rows = []
    for layout in LAYOUTS:
        times = [common.middle(values[layout]) for values in (seconds, processor)]
        rows.append([*map(str, layout), *times, common.middle(twice[layout], 2)])
    common.table(["copies", "workers of each", "seconds", "processor seconds", "% done twice"], rows)


def processor_seconds():
    """Of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def extract_at_once(command, copies):
    """Seconds until the last copy has ended, and features that they made in all."""
    start = time.monotonic()
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=common.environment()) for _ in range(copies)
    ]
    summaries = [process.communicate()[0] for process in running]
    taken = time.monotonic() - start
    assert all(process.returncode == 0 for process in running)
    return taken, sum(json.loads(summary)["done"] for summary in summaries)


if __name__ == "__main__":
    main()
