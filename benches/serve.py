#!/usr/bin/env python3
"""How fast `simsearch serve` answers at 100,000 objects x 1280: one client, uploads, and 16 clients at once (wrk).

    .python/python benches/serve.py [--objects N] [--rounds N]

Needs wrk (Debian: apt-get install wrk). The rounds alternate between the measurements. Prints Markdown to stdout.
"""
import argparse
import concurrent.futures
import hashlib
import http.client
import json
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import time

import numpy

import common
from common import PROGRAM, environment, middle, run, say, table

LENGTH = 1280
SHARD_ROWS = 10_000
CLIENTS = 16
SECONDS = 10
REQUESTS = 40


def make_features(folder, shared, model, objects):
    """Shards of random features, beside the recipe of the model; returns the object ids."""
    say("one picture, for the recipe")
    one = folder / "objects.txt"
    photograph = sorted((shared / "media" / "object").glob("*/*/*.jpg"))[0]
    one.write_text(f"{photograph.relative_to(shared / 'media')}\n")
    folders = ["--media-dir", shared / "media", "--objects", one, "--feature-dir", folder / "features"]
    run([PROGRAM, "extract", *folders, "--model", model, "--provider", "cpu"], env=environment())
    directory = folder / "features" / model.stem
    for nested in directory.glob("*/*/*.npy"):
        nested.unlink()
    say(f"{objects} x {LENGTH} random features")
    generator = numpy.random.default_rng(5)
    ids = [hashlib.sha1(str(index).encode()).hexdigest() + ".jpg" for index in range(objects)]
    for number, first in enumerate(range(0, objects, SHARD_ROWS)):
        rows = ids[first : first + SHARD_ROWS]
        numpy.save(directory / f"{number:04}.features.npy", generator.random((len(rows), LENGTH), numpy.float32))
        numpy.save(directory / f"{number:04}.object_ids.npy", numpy.array(rows))
    return directory, ids


def time_to_read(directory):
    """Seconds to read all features once from memory, with a thread for each core: the bound."""
    shards = [numpy.load(path, mmap_mode="r") for path in sorted(directory.glob("*.features.npy"))]
    blocks = [shard[first : first + 500] for shard in shards for first in range(0, len(shard), 500)]
    with concurrent.futures.ThreadPoolExecutor(common.cores()) as pool:
        times = []
        for _ in range(7):
            started = time.perf_counter()
            list(pool.map(lambda block: block.max(), blocks))
            times.append(time.perf_counter() - started)
    return statistics.median(times)


class Server:
    def __init__(self, folder, shared, model):
        arguments = ["--media-dir", shared / "media", "--objects", folder / "objects.txt"]
        arguments += ["--feature-dir", folder / "features", "--model", model, "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen([PROGRAM, "serve", *arguments], stderr=subprocess.PIPE, text=True, env=environment())
        for line in self.process.stderr:
            if line.startswith("listening on http://"):
                self.address = line.split("//")[1].strip()
                break
        else:
            sys.exit("the server does not start")
        self.connection = http.client.HTTPConnection(self.address)

    def ask(self, method, path, body=None):
        """Seconds, and the answer."""
        started = time.perf_counter()
        self.connection.request(method, path, body)
        reply = self.connection.getresponse().read()
        return time.perf_counter() - started, reply

    def scans(self):
        """Passes, their seconds, and the queries that they answered, so far."""
        text = self.ask("GET", "/metrics")[1].decode()
        names = ("scans_total", "scan_seconds_total", "queries_total")
        return [float(re.search(rf"^simsearch_{name} (\S+)$", text, re.M)[1]) for name in names]


def one_at_a_time(server, ask):
    """Milliseconds of the answers and of their scans, each the mean of all."""
    before = server.scans()
    times = [ask() for _ in range(REQUESTS)]
    scans, seconds, _ = (after - before for after, before in zip(server.scans(), before))
    return statistics.mean(times) * 1e3, seconds / scans * 1e3


def many_at_once(server, folder, ids):
    """Answers a second, queries in a scan, and milliseconds of a scan."""
    script = folder / "ids.lua"
    sample = ",".join(f'"{id}"' for id in random.Random(1).sample(ids, 1000))
    script.write_text(
        f"local ids = {{{sample}}}\nlocal next = 0\n"
        "function request() next = next % #ids + 1 return wrk.format('GET', '/similar/' .. ids[next] .. '?limit=100') end\n"
    )
    before = server.scans()
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{SECONDS}s", "--latency", "-s", script, f"http://{server.address}"]
    text = run(list(map(str, command)))
    if "Non-2xx" in text:
        sys.exit(text)
    scans, seconds, queries = (after - before for after, before in zip(server.scans(), before))
    answers = float(re.search(r"Requests/sec:\s+(\S+)", text)[1])
    return answers, queries / scans, seconds / scans * 1e3, scans / SECONDS


def decode_and_inference(folder, shared, model):
    """Milliseconds a picture in one thread, without the start."""
    folders = ["--media-dir", shared / "media", "--objects", folder / "all.txt", "--feature-dir"]
    run([PROGRAM, "list", "--media-dir", shared / "media", "--output", folder / "all.txt"], env=environment())
    features = folder / "extracted"
    shutil.rmtree(features, ignore_errors=True)
    command = [PROGRAM, "extract", *folders, features, "--model", model, "--provider", "cpu", "--workers", "1", "--json"]
    text = run(command, env=environment())
    summary = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    return summary["seconds"] / summary["done"] * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing (Debian: apt-get install wrk)")
    shared = common.shared_folder()
    model = shared / "models" / "mobilenet_v3_large_minimalistic_fv.onnx"
    photographs = [path.read_bytes() for path in sorted((shared / "media" / "object").glob("*/*/*.jpg"))[:REQUESTS]]
    print(f"{common.describe_machine()}\n")
    with common.work_folder("serve") as name:
        folder = pathlib.Path(name)
        directory, ids = make_features(folder, shared, model, arguments.objects)
        server = Server(folder, shared, model)
        turns = random.Random(2)
        by_id = lambda: server.ask("GET", f"/similar/{turns.choice(ids)}?limit=100")[0]
        by_upload = lambda: server.ask("POST", "/similar?limit=100", turns.choice(photographs))[0]
        rounds = []
        for number in range(arguments.rounds + 1):
            say(f"round {number}")
            read = time_to_read(directory) * 1e3
            picture = decode_and_inference(folder, shared, model)
            id_time, id_scan = one_at_a_time(server, by_id)
            upload_time, upload_scan = one_at_a_time(server, by_upload)
            answers, queries, scan, scans = many_at_once(server, folder, ids)
            rounds.append(
                {
                    "read": read,
                    "picture": picture,
                    "id": id_time,
                    "id scan": id_scan,
                    "id over": id_time - id_scan,
                    "upload": upload_time,
                    "upload scan": upload_scan,
                    "upload over": upload_time - upload_scan - picture,
                    "answers": answers,
                    "queries": queries,
                    "scan": scan,
                    "reading": scans * read / 10,
                    "bound": answers / (CLIENTS / read * 1e3) * 100,
                }
            )
        server.process.terminate()
        server.process.wait()
    # The first only warms everything up.
    value = lambda key, digits=1: middle([one[key] for one in rounds[1:]], digits)
    table(
        ["one client", "answer, ms", "its scan, ms", "decode and inference, ms", "the rest, ms"],
        [
            ["an object id", value("id"), value("id scan"), "", value("id over")],
            ["an uploaded photograph", value("upload"), value("upload scan"), value("picture"), value("upload over")],
        ],
    )
    table(
        [f"{CLIENTS} clients", "answers/s", "queries in a scan", "a scan, ms", "to read all once, ms", "of 16 answers for each reading"],
        [["object ids", value("answers"), value("queries"), value("scan"), value("read"), value("bound", 0) + " %"]],
    )


main()
