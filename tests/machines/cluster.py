#!/usr/bin/env -S python3 -B
"""Slurm and Ray on loopback: eight parts of a list, of which some are killed, and then the features of a single run.

    tests/machines/cluster.py PROGRAM RUNTIME PYTHON

PYTHON has Ray and kubernetes-validate. Uses the pictures and a model of ../shared, or SIMSEARCH_SHARED. Prints what was seen, and
exits with 1 where something was not as it must be. Needs root, and the packages of `CLUSTER=1 setup/packages.sh`; what is missing is
`skipped`.
"""

import ast
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import namespaces
from namespaces import PATIENCE, PROJECT, expect, missing, run, until

PARTS = 8
RAY_NODES = 3
# Of a shard: a part that is killed has some.
ROWS = 20
# Names for each photograph, so that a part takes seconds: long enough to be killed in the middle.
NAMES = 8

SLURM = """
ClusterName=test
SlurmctldHost=controller(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=15
MessageTimeout=10
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/%n.log
NodeName=n[1-4] NodeAddr=127.0.0.1 Port=[17001-17004] CPUs=4
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def processes(text):
    """The ids of the processes whose command has this in it, oldest first."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and re.search(text, (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()):
                found.append(int(folder.name))
        except (OSError, UnicodeDecodeError):
            pass
    return sorted(found)


def kill_one(what, text):
    """Kills the youngest process whose command has this in it."""
    until(f"{what} is at work", lambda: processes(text))
    victim = processes(text)[-1]
    os.kill(victim, signal.SIGKILL)
    print(f"  killed {what}", flush=True)


def parent(process):
    return int(re.search(r"PPid:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1])


def ask(*command):
    """The lines that a command prints."""
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()


def ended(jobs):
    """Whether none of these jobs of Slurm is there any more. One that was put back would begin two minutes later: it does so now."""
    there = ask("squeue", "-h", "-j", jobs, "-o", "%i %r")
    for job in there:
        if "BeginTime" in job:
            ask("scontrol", "update", f"JobId={job.split()[0]}", "StartTime=now")
    return not there


def items(path):
    """The bytes of each item of an array of numpy, along its first axis."""
    content = path.read_bytes()
    begin = 10 + int.from_bytes(content[8:10], "little")
    count = ast.literal_eval(content[10:begin].decode())["shape"][0]
    size = (len(content) - begin) // count
    return [content[at : at + size] for at in range(begin, len(content), size)]


class Cluster:
    def __init__(self, folder, program, runtime, python):
        shared = Path(os.environ.get("SIMSEARCH_SHARED", PROJECT / "../shared"))
        self.folder, self.python = folder, python
        self.media = folder / "media"
        pictures = sorted((shared / "media").glob("object/*/*/*.jpg"))
        listed = []
        for number in range(NAMES):
            for picture in pictures:
                entry = f"{number}/{picture.stem}-{number}.jpg"
                (self.media / entry).parent.mkdir(parents=True, exist_ok=True)
                (self.media / entry).symlink_to(picture.resolve())
                listed.append(entry)
        (self.media / "objects.txt").write_text("".join(f"{entry}\n" for entry in sorted(listed)))
        (folder / "bin").mkdir()
        (folder / "bin/simsearch").symlink_to(program)
        for name in [name for name in os.environ if name.startswith(("SBATCH_", "SLURM_", "RAY_"))]:
            del os.environ[name]
        os.environ.update(
            PATH=f"{folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ORT_DYLIB_PATH=str(runtime),
            ONNX_MODEL_PATH=str(shared / "models/mobilenet_v3_large_minimalistic_fv.onnx"),
            HOME=str(folder),
        )
        self.objects = len(listed)
        self.extract = ["--provider", "cpu"]
        begun = time.monotonic()
        self.single = folder / "single"
        places = ["--media-dir", str(self.media), "--feature-dir", str(self.single)]
        run("simsearch", "extract", "--quiet", *places, *self.extract)
        run("simsearch", "concat", "--quiet", "--feature-dir", str(self.single))
        print(f"a single run over {self.objects} objects: {time.monotonic() - begun:.0f} s", flush=True)

    @staticmethod
    def rows(features):
        """The bytes of each row, by its object id."""
        rows = {}
        for path in features.glob("*/*.features.npy"):
            ids = [item.decode("utf-32-le").rstrip("\0") for item in items(path.with_name(path.name.replace("features", "object_ids")))]
            expect(not rows.keys() & ids, f"an object of {path} is there twice")
            rows.update(zip(ids, items(path)))
        return rows

    def slurm(self):
        folder = self.folder / "slurm"
        (folder / "state").mkdir(parents=True)
        (folder / "slurm.conf").write_text(SLURM.format(folder=folder))
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        (folder / "hosts").write_text("127.0.0.1 localhost controller n1 n2 n3 n4\n")
        run("mount", "--bind", str(folder / "hosts"), "/etc/hosts")
        run("hostname", "controller")
        # Slurm looks for no name, not even of loopback, where loopback is all there is.
        run("ip", "link", "add", "lan", "type", "bridge")
        run("ip", "address", "add", "10.0.0.1/24", "dev", "lan")
        run("ip", "link", "set", "lan", "up")
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        log = open(folder / "daemons.log", "wb")

        def start(*command):
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        start("munged", "--foreground", "--force", *(f"--{option}={folder}/munge.{name}" for option, name in files.items()))
        until("munged listens", (folder / "munge.socket").exists)
        start("slurmctld", "-D")
        nodes = {name: start("slurmd", "-D", "-N", name) for name in ("n1", "n2", "n3", "n4")}
        until("all nodes are idle", lambda: ask("sinfo", "-h", "-o", "%T %D") == ["idle 4"])
        begun = time.monotonic()
        features = self.folder / "by-slurm"
        environment = {**os.environ, "SBATCH_OUTPUT": str(folder / "job-%j.out")}
        submit = [str(PROJECT / "deploy/slurm/submit.sh"), str(PARTS), str(self.media), str(features), *self.extract, "--rows", str(ROWS)]
        said = subprocess.run(submit, check=True, capture_output=True, text=True, env=environment).stdout
        array, finish = re.fullmatch(r"parts: job (\d+), finish: job (\d+)\n", said).groups()

        def made():
            return sum(1 for _ in features.glob("*/part-*/*.object_ids.npy"))

        def running():
            return ask("squeue", "-h", "-t", "RUNNING", "-j", array, "-o", "%N")

        until("the first shards are there", lambda: made() >= 2)
        kill_one("a task", r"^simsearch extract .*--part")
        count = made()
        until("more shards are there", lambda: made() >= count + 2)
        until("a task runs", running)
        name = running()[-1]
        nodes[name].kill()
        print(f"  killed the daemon of node {name}", flush=True)
        until("all jobs have ended", lambda: ended(f"{array},{finish}"))
        output = "".join(file.read_text() for file in sorted(folder.glob("job-*.out")))
        expect("goes back into the queue" in output, f"the killed task was not tried again:\n{output[-2000:]}")
        expect("no problems" in output, f"verify has found problems:\n{output[-2000:]}")
        expect(not list(features.glob("*/part-*")), "the parts are not merged")
        expect(self.rows(features) == self.rows(self.single), "the rows of Slurm are not those of a single run")
        print(f"Slurm, {PARTS} parts: the bytes of a single run, {time.monotonic() - begun:.0f} s", flush=True)
        for daemon in nodes.values():
            daemon.kill()
        run("ip", "link", "delete", "lan")

    def ray(self):
        begun = time.monotonic()
        output = self.folder / "by-ray"
        address = "127.0.0.1:6379"
        # No look at what is outside of the namespace. What a killed worker leaves goes with the folder of the test.
        (self.folder / "tmp").mkdir()
        environment = {
            **os.environ,
            "RAY_USAGE_STATS_ENABLED": "0",
            # The names of sockets are short, and /run is of this namespace.
            "RAY_TMPDIR": "/run",
            "TMPDIR": str(self.folder / "tmp"),
            "RAY_ADDRESS": address,
        }
        log = open(self.folder / "ray.log", "wb")
        start = [str(self.python.parent / "ray"), "start", "--node-ip-address", "127.0.0.1", "--object-store-memory", str(100 << 20)]
        head = ["--head", "--port", "6379", "--num-cpus", "0", "--include-dashboard", "false"]
        for more in [head] + [["--address", address, "--num-cpus", "1"]] * RAY_NODES:
            subprocess.run([*start, *more], env=environment, stdout=log, stderr=log, check=True)
        command = [str(self.python), str(PROJECT / "deploy/ray/extract.py"), str(PARTS), str(self.media), str(output), *self.extract]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        part = r"^simsearch extract .*--part"
        kill_one("the program of a part", part)
        until("a part is at work", lambda: processes(part))
        os.kill(parent(processes(part)[-1]), signal.SIGKILL)
        print("  killed a worker", flush=True)
        until("a part is at work", lambda: processes(part))
        raylet = parent(parent(processes(part)[-1]))
        name = Path(f"/proc/{raylet}/comm").read_text().strip()
        expect(name == "raylet", f"the parent of a worker is {name}")
        os.kill(raylet, signal.SIGKILL)
        print("  killed the daemon of a node (raylet)", flush=True)
        code = process.wait(timeout=PATIENCE)
        expect(code == 0, f"exit code {code}:\n{(self.folder / 'ray.log').read_text()[-3000:]}")
        run("simsearch", "export", "--quiet", "--feature-dir", str(self.single), "--output", str(self.folder / "single.parquet"))
        subprocess.run([str(self.python), "-c", SAME_ROWS, str(output), str(self.folder / "single.parquet")], check=True)
        print(f"Ray, {PARTS} parts: the bytes of a single run, {time.monotonic() - begun:.0f} s", flush=True)

    def kubernetes(self):
        subprocess.run([str(self.python), "-c", VALIDATE, str(PROJECT / "deploy/kubernetes/extract.yaml")], check=True)
        print("Kubernetes: the schema holds; nothing was run", flush=True)


SAME_ROWS = """
import sys
import pyarrow.parquet
rows = []
for path in sys.argv[1:]:
    table = pyarrow.parquet.read_table(path).select(["object_id", "feature"]).sort_by("object_id").combine_chunks()
    values = table["feature"].combine_chunks().flatten()
    rows.append((table["object_id"].to_pylist(), values.to_numpy().tobytes()))
assert rows[0] == rows[1], "the rows of Ray are not those of a single run"
"""

VALIDATE = """
import sys
import kubernetes_validate, yaml
for document in yaml.safe_load_all(open(sys.argv[1])):
    kubernetes_validate.validate(document, "1.30", strict=True)
"""


def scenes(folder, program, runtime, python):
    """In the namespaces."""
    # The pictures are there for those only who have them.
    shared = Path(os.environ.get("SIMSEARCH_SHARED", PROJECT / "../shared"))
    if not (shared / "media").is_dir():
        print(f"skipped: {shared} has no pictures")
        return 0
    cluster = Cluster(folder, Path(program).resolve(), Path(runtime).resolve(), Path(python).absolute())
    if lacking := missing(["munged", "slurmctld", "slurmd", "sbatch"]):
        print(f"skipped: Slurm, which needs {' '.join(lacking)}")
    else:
        cluster.slurm()
    if lacking := missing([str(cluster.python)]):
        print(f"skipped: Ray and Kubernetes, which need {' '.join(lacking)}")
    else:
        cluster.ray()
        cluster.kubernetes()
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    namespaces.main(scenes, sys.argv[1:])
