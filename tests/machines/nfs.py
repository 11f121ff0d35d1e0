#!/usr/bin/env -S python3 -B
"""What happens in folders that several machines share: NFS 3 and 4.2 between machines in user-mode Linux, and sshfs.

    tests/machines/nfs.py PROGRAM RUNTIME [WORD]

With WORD only the scenes that have it in their names.
Prints a table of what was seen, and exits with 1 where something was not as it must be. Needs root, and the packages of
`NFS=1 setup/packages.sh`; what is missing is `skipped`.
"""

import hashlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import namespaces
from namespaces import PROJECT, missing, run

MODEL = PROJECT / "tests/data/models/nhwc.onnx"
SFTP_SERVER = "/usr/lib/openssh/sftp-server"
# Enough that two machines meet, and that one can be killed in the middle.
OBJECTS = 400
# One thread on each machine, the same order on both so that they meet at every object, and claims that last.
EXTRACT = ["extract", "--json", "--provider", "cpu", "--workers", "1", "--seed", "1", "--batch-size", "20"]
# Of fifty objects one may be done twice, as docs/promises.md says.
FEW = OBJECTS // 50
# For whatever ends by itself; the longest is a run that waits two minutes for a machine that has lost its power.
PATIENCE = 300

COMMON_FOLDER = "another process makes objects that this one has claimed"
DEAD_MACHINE = "a machine that has lost its power"


class Unexpected(Exception):
    """Something is not as it must be."""


def expect(holds, text):
    if not holds:
        raise Unexpected(text)


class Table:
    """What was seen, a line a scene."""

    def __init__(self, word):
        self.word = word
        self.failed = False
        print(f"{'scene':<44} {'made':>9} {'seconds':>7}  outcome", flush=True)

    def scene(self, name, what):
        """Whether all was as it must be."""
        if self.word not in name:
            return True
        begun = time.monotonic()
        unexpected = False
        try:
            made, outcome = what()
        except (Unexpected, OSError, ValueError, subprocess.SubprocessError) as error:
            unexpected = self.failed = True
            made, outcome = "", f"UNEXPECTED: {error}"
        print(f"{name:<44} {made:>9} {time.monotonic() - begun:>7.0f}  {outcome}", flush=True)
        return not unexpected


class Outcome:
    def __init__(self, code, stdout, stderr):
        self.code, self.stdout, self.stderr = code, stdout, stderr

    def exits(self, *codes):
        text = f"exit code {self.code} instead of {codes}: {self.stdout} {self.stderr}"
        expect(self.code in codes, " ".join(text.split()))
        return self

    def done(self):
        """How many features a run of extract has made."""
        return json.loads(self.stdout)["done"]

    def left(self):
        return json.loads(self.stdout)["left"]


class Machine:
    """One machine in user-mode Linux, which runs one command after the other."""

    def __init__(self, folder, name, number):
        self.folder, self.name, self.number = folder / name, name, number
        self.folder.mkdir()
        self.boots = 0
        with open(self.folder / "disk", "wb") as disk:
            disk.truncate(256 << 20)
        run("mkfs.ext4", "-q", "-F", "-O", "^metadata_csum", str(self.folder / "disk"))
        run("ip", "tuntap", "add", f"tap{number}", "mode", "tap")
        run("ip", "link", "set", f"tap{number}", "master", "bridge", "up")
        self.boot()

    def boot(self):
        self.host = self.folder / str(self.boots)
        self.host.mkdir()
        self.boots += 1
        self.commands = 0
        self.process = subprocess.Popen(
            [
                "linux.uml",
                "mem=700M",
                "root=/dev/root",
                "rootfstype=hostfs",
                "rootflags=/",
                "ro",
                f"init={Path(__file__).parent / 'machine.sh'}",
                f"ubd0={self.folder / 'disk'}",
                f"vec0:transport=tap,ifname=tap{self.number},depth=128",
                "con=null",
                "con0=null,fd:1",
                f"uml_dir={self.folder}",
                f"umid={self.name}{self.boots}",
                f"NAME={self.name}",
                f"ADDRESS=10.0.0.{self.number}",
                f"HOST={self.host}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=open(self.host / "kernel.log", "wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def lose_power(self):
        """Kills the machine with all that runs on it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def start(self, command):
        """Begins a command of the shell; `wait` gives its outcome."""
        number = self.commands
        self.commands += 1
        new = self.host / f"{number}.new"
        new.write_text(command)
        new.rename(self.host / f"{number}.sh")
        return number

    def wait(self, number):
        code = self.host / f"{number}.code"
        deadline = time.monotonic() + PATIENCE
        while not code.exists():
            ended = self.process.poll()
            expect(ended is None, f"the machine {self.name} has ended with {ended}, see {self.host}")
            expect(time.monotonic() < deadline, f"{self.name} has not ended after {PATIENCE} s: {self.read(number, 'sh')}")
            time.sleep(0.05)
        return Outcome(int(code.read_text()), self.read(number, "out"), self.read(number, "err"))

    def read(self, number, what):
        return (self.host / f"{number}.{what}").read_text()

    def do(self, command):
        return self.wait(self.start(command))


class Work:
    """The pictures, what one run makes of them, and how the program is called."""

    def __init__(self, folder, program, runtime):
        self.folder, self.program, self.runtime = folder, program, runtime
        self.media = folder / "media"
        (self.media / "object").mkdir(parents=True)
        names = [hashlib.sha1(str(number).encode()).hexdigest() for number in range(OBJECTS)]
        for number, name in enumerate(names):
            pixels = bytes((number * 7 + at * 13 + at * at) % 256 for at in range(12 * 10 * 3))
            (self.media / f"object/{name}.ppm").write_bytes(b"P6\n12 10\n255\n" + pixels)
        self.nested = sorted({f"{name[:2]}/{name[2:4]}" for name in names})
        (self.media / "objects.txt").write_text("".join(f"object/{name}.ppm\n" for name in sorted(names)))
        single = folder / "single"
        for command in (EXTRACT, ["concat"]):
            subprocess.run(["sh", "-c", self.call(single, command)], check=True, capture_output=True)
        self.single = self.packed(single)
        parts = folder / "parts"
        for command in (*(self.pack(number) for number in (0, 1)), ["concat", "--merge"]):
            subprocess.run(["sh", "-c", self.call(parts, command)], check=True, capture_output=True)
        self.parts = self.packed(parts, "0000", "0001")

    @staticmethod
    def pack(number):
        """One of two parts, which packs."""
        return ["extract", "--json", "--provider", "cpu", "--workers", "1", "--pack", "--part", f"{number}/2"]

    def call(self, features, arguments):
        """The program, as a command of the shell."""
        environment = {
            "ORT_DYLIB_PATH": self.runtime,
            "MEDIA_DIR": self.media,
            "FEATURE_DIR": features,
            "ONNX_MODEL_PATH": MODEL,
        }
        words = [f"{name}={value}" for name, value in environment.items()]
        return shlex.join(["env", *words, str(self.program), *arguments])

    @staticmethod
    def packed(features, *numbers):
        names = [f"{number}.{what}.npy" for number in numbers or ("0000",) for what in ("features", "object_ids")]
        return [(features / "nhwc" / name).read_bytes() for name in names]


class Nfs:
    """A server and two clients, and the scenes between them."""

    def __init__(self, work):
        self.work = work
        run("ip", "link", "add", "bridge", "type", "bridge")
        run("ip", "link", "set", "bridge", "up")
        folder = work.folder / "machines"
        folder.mkdir()
        self.server = Machine(folder, "server", 1)
        self.first, self.second = (Machine(folder, name, number) for number, name in ((2, "first"), (3, "second")))
        self.server.do("cat /proc/fs/nfsd/versions").exits(0)
        self.scenes = 0

    def start_clients_again(self):
        """What a scene has left running must not hold up the next."""
        for client in (self.first, self.second):
            client.lose_power()
            client.boot()

    def mount(self, client, version):
        path = {"3": "/mnt/disk/shared", "4.2": "/"}[version]
        client.do(f"mkdir -p /mnt/shared && mount -t nfs -o vers={version},hard server:{path} /mnt/shared").exits(0)
        seen = client.do("grep /mnt/shared /proc/mounts").stdout
        expect(f"vers={version}," in seen, seen)

    def begin(self, version):
        """A folder of its own, with an empty cache on both clients."""
        self.scenes += 1
        self.name = f"scene{self.scenes}"
        self.server.do(f"mkdir /mnt/disk/shared/{self.name}").exits(0)
        for client in (self.first, self.second):
            client.do("umount /mnt/shared 2>/dev/null; true")
            self.mount(client, version)

    def extract(self):
        return self.work.call(f"/mnt/shared/{self.name}", EXTRACT)

    def until_some(self, count):
        """Waits until so many features are there."""
        find = f"find /mnt/disk/shared/{self.name} -name '[0-9a-f]*.npy' | wc -l"
        self.server.do(f"until [ $({find}) -ge {count} ]; do sleep 0.1; done").exits(0)

    def both(self):
        runs = [(client, client.start(self.extract())) for client in (self.first, self.second)]
        return [client.wait(number) for client, number in runs]

    def same_as_one_run(self):
        """Packs and checks what is on the server's disk, and compares it with the features of a single run."""
        features = f"/mnt/disk/shared/{self.name}"
        self.server.do(self.work.call(features, ["concat"])).exits(0)
        self.server.do(self.work.call(features, ["verify"])).exits(0)
        copy = f"{self.server.host}/{self.name}"
        self.server.do(f"cp -r {features} /run/host/{self.name}").exits(0)
        expect(self.work.packed(Path(copy)) == self.work.single, "other rows than those of a single run")

    def both_share(self, version, prepare):
        """Both extract at once. Where one was so late that it found nothing to do, they do so again in another folder."""
        for _ in range(3):
            self.begin(version)
            prepare()
            made = [outcome.exits(0).done() for outcome in self.both()]
            if all(made):
                self.same_as_one_run()
                return made
        raise Unexpected(f"in three rounds one client made all: {made}")

    def fresh(self, version):
        made = self.both_share(version, lambda: None)
        expect(OBJECTS <= sum(made) <= OBJECTS + FEW, f"{made} made for {OBJECTS}")
        return "+".join(map(str, made)), "the rows of a single run"

    def nested(self, version):
        made = self.both_share(version, self.make_folders)
        expect(sum(made) == OBJECTS, f"{made} made for {OBJECTS}")
        return "+".join(map(str, made)), "the rows of a single run"

    def packing(self, version):
        """Each packs one of two parts. Then the parts are merged."""
        self.begin(version)
        features = f"/mnt/shared/{self.name}"
        clients = (self.first, self.second)
        before = [self.operations(client) for client in clients]
        runs = [client.start(self.work.call(features, self.work.pack(number))) for number, client in enumerate(clients)]
        made = [client.wait(number).exits(0).done() for client, number in zip(clients, runs)]
        expect(sum(made) == OBJECTS, f"{made} made for {OBJECTS}")
        used = sum(self.operations(client) for client in clients) - sum(before)
        expect(used <= OBJECTS, f"{used} operations for {OBJECTS} objects")
        before = self.operations(self.first)
        self.first.do(self.work.call(features, ["concat", "--merge"])).exits(0)
        merged = self.operations(self.first) - before
        features = f"/mnt/disk/shared/{self.name}"
        self.server.do(self.work.call(features, ["verify"])).exits(0)
        self.server.do(f"cp -r {features} /run/host/{self.name}").exits(0)
        there = self.work.packed(Path(f"{self.server.host}/{self.name}"), "0000", "0001")
        expect(there == self.work.parts, "other rows than those of the same parts on one machine")
        return "+".join(map(str, made)), f"{used} operations, and {merged} to merge; the rows of a single run"

    @staticmethod
    def operations(client):
        """How many operations of NFS a client has asked for in the folder of the features."""
        count = "$1 == \"device\" { on = $5 == \"/mnt/shared\" } on && /^\t *[A-Z_]+: [0-9]/ { n += $2 } END { print n }"
        return int(client.do(f"awk '{count}' /proc/self/mountstats").exits(0).stdout)

    def make_folders(self):
        """All folders of the features, which both clients have seen empty."""
        path = f"{self.name}/nhwc"
        folders = "\n".join(self.work.nested)
        make = f"mkdir /mnt/disk/shared/{path} && cd /mnt/disk/shared/{path} && xargs mkdir -p <<'.'\n{folders}\n.\n"
        self.server.do(make).exits(0)
        for client in (self.first, self.second):
            client.do(f"find /mnt/shared/{path} | wc -l").exits(0)

    def client_dies(self, version):
        self.begin(version)
        self.second.start(self.extract())
        self.until_some(OBJECTS // 4)
        self.second.lose_power()
        begun = time.monotonic()
        outcome = self.first.do(self.extract())
        waited = f"{time.monotonic() - begun:.0f} s"
        if version == "3":
            # The server of NFS 3 keeps the claims until the machine says that it was started again.
            outcome.exits(3)
            left = outcome.left()
            expect(0 < left <= 20, f"{left} left")
            expect(DEAD_MACHINE in outcome.stderr, f"the machine is not named: {outcome.stderr}")
            self.second.boot()
            self.second.do("true")
            again = self.first.do(self.extract()).exits(0)
            made, seen = outcome.done() + again.done(), f"{left} objects left after {waited}; done once that machine was up again"
        else:
            made, seen = outcome.exits(0).done(), f"the other did the rest in {waited} (locks are kept for 10 s here)"
            self.second.boot()
            self.second.do("true")
        self.same_as_one_run()
        return str(made), seen

    def server_restarts(self, version):
        self.begin(version)
        runs = [(client, client.start(self.extract())) for client in (self.first, self.second)]
        self.until_some(OBJECTS // 4)
        self.server.lose_power()
        self.server.boot()
        ended = [client.wait(number) for client, number in runs]
        made = [outcome.exits(0, 3).done() for outcome in ended]
        seen = "both waited and went on"
        if any(outcome.code for outcome in ended):
            # What the server had done before it could say so may have failed when it was asked again.
            failures = self.first.do(f"cat /mnt/shared/{self.name}/nhwc/failures.jsonl").stdout
            made.append(self.first.do(self.extract()).exits(0).done())
            seen += f"; done by another run: {failures}"
        expect(OBJECTS <= sum(made) <= OBJECTS + FEW, f"{made} made for {OBJECTS}")
        self.same_as_one_run()
        return "+".join(map(str, made)), seen


class Sshfs:
    """Two mounts of one folder, through loopback. What sshd would start is started here by who connects."""

    def __init__(self, work):
        self.work = work
        self.folder = work.folder / "sshfs"
        (self.folder / "shared").mkdir(parents=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()

    def mount(self, name):
        """Two new mounts: an old one shows what it saw twenty seconds ago."""
        self.mounts = [self.folder / f"{name}-{number}" for number in (1, 2)]
        for mount in self.mounts:
            mount.mkdir()
            port = self.listener.getsockname()[1]
            run("sshfs", "-o", f"directport={port}", f"127.0.0.1:{self.folder / 'shared'}", str(mount))

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            subprocess.Popen([SFTP_SERVER], stdin=connection, stdout=connection, stderr=subprocess.DEVNULL)
            connection.close()

    def run(self, features, arguments):
        ended = subprocess.run(["sh", "-c", self.work.call(features, arguments)], capture_output=True, text=True)
        return Outcome(ended.returncode, ended.stdout, ended.stderr)

    def both(self, name, arguments):
        runs = [
            subprocess.Popen(
                ["sh", "-c", self.work.call(mount / name, arguments)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for mount in self.mounts
        ]
        ended = [(process.communicate(timeout=PATIENCE), process.returncode) for process in runs]
        return [Outcome(code, *texts) for texts, code in ended]

    def round(self, name):
        shared = self.folder / "shared" / name
        # Of two first runs at the same moment one may end with 1, since its mount does not show the recipe of the other yet.
        first = self.run(shared, [*EXTRACT, "--limit", "1"]).exits(0)
        self.mount(f"{name}-extract")
        made = self.both(name, EXTRACT)
        counts = [outcome.exits(0).done() for outcome in (first, *made)]
        expect(sum(counts) >= OBJECTS, f"{counts} made for {OBJECTS}")
        said = any(COMMON_FOLDER in outcome.stderr for outcome in made)
        expect(said or sum(counts) == OBJECTS, f"{counts} made for {OBJECTS}, and nobody said so")
        self.mount(f"{name}-concat")
        packed = sorted(self.both(name, ["concat", "--json"]), key=lambda outcome: outcome.code)
        codes = [outcome.code for outcome in packed]
        expect(codes == [0, 11], f"two concat ended with {codes}: {[outcome.stderr for outcome in packed]}")
        self.run(shared, ["verify"]).exits(0)
        rows = json.loads(packed[0].stdout)["rows"]
        expect(rows == OBJECTS, f"{rows} packed of {OBJECTS}")
        expect(self.work.packed(shared) == self.work.single, "other rows than those of a single run")
        seen = "concat: 0 and 11; verify: clean; the rows of a single run"
        return "+".join(map(str, counts)), ("said so; " if said else "") + seen


def nfs_scenes(work, table):
    try:
        nfs = Nfs(work)
    except Unexpected as error:
        if any("as init process" in log.read_text(errors="replace") for log in work.folder.glob("machines/*/0/kernel.log")):
            raise
        # It must be allowed to trace its processes, which some containers forbid.
        print(f"skipped: NFS, since the kernel of user-mode Linux does not start here: {error}")
        return
    for version in ("3", "4.2"):
        for name, what in (
            ("a fresh tree", nfs.fresh),
            ("the folders are there already", nfs.nested),
            ("parts that pack", nfs.packing),
            ("a client loses its power", nfs.client_dies),
            ("the server starts again", nfs.server_restarts),
        ):
            if not table.scene(f"NFS {version}, {name}", lambda: what(version)):
                nfs.start_clients_again()


def scenes(folder, program, runtime, word=""):
    """In the namespaces."""
    work = Work(folder, Path(program).resolve(), Path(runtime).resolve())
    table = Table(word)
    lacking = missing(["linux.uml", "rpc.nfsd", "rpc.statd", "mount.nfs", "rpcbind", "mkfs.ext4", "/dev/net/tun"])
    if lacking:
        print(f"skipped: NFS, which needs {' '.join(lacking)}")
    else:
        nfs_scenes(work, table)
    lacking = missing(["sshfs", SFTP_SERVER, "/dev/fuse"])
    if lacking:
        print(f"skipped: sshfs, which needs {' '.join(lacking)}")
    else:
        sshfs = Sshfs(work)
        for number in range(3):
            table.scene(f"sshfs, two mounts, round {number + 1}", lambda: sshfs.round(f"round{number}"))
    return 1 if table.failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    namespaces.main(scenes, sys.argv[1:])
