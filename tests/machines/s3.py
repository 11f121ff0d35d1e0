#!/usr/bin/env -S python3 -B
"""An object store on loopback: four parts of a list through deploy/s3, of which two are killed, and then the rows of a single run.

    tests/machines/s3.py PROGRAM RUNTIME PYTHON

PYTHON has moto and numpy. Uses the pictures and a model of ../shared, or SIMSEARCH_SHARED. Prints what was seen, and exits with 1
where something was not as it must be. Needs root for a network of its own, and rclone; what is missing is `skipped`.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import namespaces
from namespaces import PATIENCE, PROJECT, expect, missing, run, until

PARTS = 4
ADDRESS = ("127.0.0.1", 9000)

# Once, the script that calls it is killed in place of the last copy.
RCLONE = """#!/bin/bash
if [[ "$*" == copyto*/part.json* ]] && [ -e kill-before-last ]; then
    rm kill-before-last
    kill -9 $PPID
    exit 1
fi
exec {rclone} "$@"
"""

SAME_ROWS = """
import sys
from pathlib import Path
import numpy
found = []
for folder in sys.argv[1:]:
    shards = sorted(Path(folder).glob("*/*.features.npy"))
    ids = numpy.concatenate([numpy.load(str(path).replace("features.npy", "object_ids.npy")) for path in shards])
    order = numpy.argsort(ids)
    found.append((ids[order].tolist(), numpy.concatenate([numpy.load(path) for path in shards])[order].tobytes()))
assert found[0] == found[1], "other rows than those of a single run"
print(f"  the bytes of a single run, {len(found[0][0])} rows")
"""


def listens():
    with socket.socket() as probe:
        return probe.connect_ex(ADDRESS) == 0


class Store:
    def __init__(self, folder, program, runtime, python, rclone):
        shared = Path(os.environ.get("SIMSEARCH_SHARED", PROJECT / "../shared"))
        self.folder, self.python = folder, python
        self.media = folder / "media"
        run("cp", "-r", str(shared / "media"), str(self.media))
        run("rm", "-f", str(self.media / "objects.txt"))
        (folder / "bin").mkdir()
        (folder / "bin/simsearch").symlink_to(program)
        (folder / "bin/rclone").write_text(RCLONE.format(rclone=rclone))
        (folder / "bin/rclone").chmod(0o755)
        os.chdir(folder)
        # A proxy or a bundle of certificates of this machine is not for loopback.
        for name in [name for name in os.environ if name.startswith(("AWS_", "RCLONE_")) or name.lower().endswith("_proxy")]:
            del os.environ[name]
        os.environ.update(
            PATH=f"{folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ORT_DYLIB_PATH=str(runtime),
            ONNX_MODEL_PATH=str(shared / "models/mobilenet_v3_large_minimalistic_fv.onnx"),
            HOME=str(folder),
            RCLONE_CONFIG="",
            RCLONE_CONFIG_STORE_TYPE="s3",
            RCLONE_CONFIG_STORE_PROVIDER="Other",
            RCLONE_CONFIG_STORE_ENDPOINT=f"http://{ADDRESS[0]}:{ADDRESS[1]}",
            RCLONE_CONFIG_STORE_ACCESS_KEY_ID="test",
            RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY="test",
            RCLONE_CONFIG_STORE_REGION="us-east-1",
        )
        with open(folder / "moto.log", "wb") as log:
            server = [str(python), "-m", "moto.server", "-H", ADDRESS[0], "-p", str(ADDRESS[1])]
            subprocess.Popen(server, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until("the store listens", listens)
        run("simsearch", "list", "--quiet", "--media-dir", "media")
        for bucket in ("photos", "features"):
            run("rclone", "mkdir", f"store:{bucket}")
        run("rclone", "copy", "media", "store:photos")
        begun = time.monotonic()
        places = ["--media-dir", "media", "--feature-dir", "single"]
        run("simsearch", "extract", "--quiet", *places, "--provider", "cpu")
        run("simsearch", "concat", "--quiet", "--feature-dir", "single")
        print(f"a single run: {time.monotonic() - begun:.0f} s", flush=True)

    def part(self, number, machine="one"):
        """Starts a part on a machine that has its own disk."""
        script = [str(PROJECT / "deploy/s3/part.sh"), f"{number}/{PARTS}", "store:photos", "store:features"]
        disk = self.folder / machine
        disk.mkdir(exist_ok=True)
        log = open(self.folder / f"part-{number}.log", "ab")
        environment = {**os.environ, "WORK_DIR": str(disk)}
        more = ["--provider", "cpu", "--workers", "1", "--rows", "5"]
        return subprocess.Popen([*script, *more], env=environment, stdout=log, stderr=log, start_new_session=True)

    def log(self, number):
        return (self.folder / f"part-{number}.log").read_text()

    def ends(self, number, process, code):
        ended = process.wait(timeout=PATIENCE)
        expect(ended == code, f"part {number} ended with {ended}:\n{self.log(number)}")

    def finish(self, folder):
        script = [str(PROJECT / "deploy/s3/finish.sh"), "store:photos", "store:features", folder]
        return subprocess.run(script, capture_output=True, text=True)

    def scenes(self):
        begun = time.monotonic()
        self.ends(0, self.part(0), 0)
        # In the middle of its work: the whole job, as a scheduler does it.
        killed = self.part(1)
        shards = lambda: list(self.folder.glob("one/*/features/*/part-00001-of-00004/0001.object_ids.npy"))
        until("the second shard is there", shards)
        os.killpg(killed.pid, signal.SIGKILL)
        self.ends(1, killed, -signal.SIGKILL)
        print("  killed a part at its second shard", flush=True)
        # Before its last copy.
        (self.folder / "kill-before-last").touch()
        self.ends(2, self.part(2), -signal.SIGKILL)
        self.ends(3, self.part(3), 0)
        print("  killed a part before its last copy", flush=True)
        outcome = self.finish("too-early")
        expect(outcome.returncode not in (0, 3), f"two parts are not complete, and were merged:\\n{outcome.stderr}")
        expect("part-00002-of-00004" in outcome.stderr, f"an incomplete part is not named:\\n{outcome.stderr}")
        self.ends(1, self.part(1), 0)
        skipped = " 0 skipped" not in self.log(1).splitlines()[-1]
        expect(skipped, f"the second attempt did not go on from the first:\n{self.log(1)}")
        # On another machine.
        self.ends(2, self.part(2, "other"), 0)
        self.ends(2, self.part(2), 0)
        expect("part-00002-of-00004 is done" in self.log(2), "a part was done again")
        outcome = self.finish("all")
        expect(outcome.returncode == 0 and "no problems" in outcome.stdout + outcome.stderr, f"{outcome}")
        subprocess.run([str(self.python), "-c", SAME_ROWS, "all", "single"], check=True)
        left = [str(path) for path in self.folder.glob("o*/simsearch-part-*") if path.name != "simsearch-part-00002-of-00004"]
        expect(not left, f"left on the disks of the machines: {left}")
        print(f"S3, {PARTS} parts: {time.monotonic() - begun:.0f} s", flush=True)


def scenes(folder, program, runtime, python):
    """In the namespaces."""
    shared = Path(os.environ.get("SIMSEARCH_SHARED", PROJECT / "../shared"))
    if not (shared / "media").is_dir():
        print(f"skipped: {shared} has no pictures")
        return 0
    if lacking := missing(["rclone", str(Path(python).absolute())]):
        print(f"skipped: S3, which needs {' '.join(lacking)}")
        return 0
    Store(folder, Path(program).resolve(), Path(runtime).resolve(), Path(python).absolute(), shutil.which("rclone")).scenes()
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    namespaces.main(scenes, sys.argv[1:])
