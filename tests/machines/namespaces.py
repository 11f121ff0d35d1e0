"""Runs the scenes of a script in namespaces of their own, which end with this process however it ends: no mount, process, host
name, or network device is left over."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
INSIDE = "--in-namespaces"
# Slurm waits half a minute for a node, and two minutes before a job that lost its node begins again.
PATIENCE = 420


def run(*command):
    subprocess.run(command, check=True)


def expect(holds, text):
    if not holds:
        sys.exit(f"UNEXPECTED: {text}")


def until(what, holds):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        expect(time.monotonic() < deadline, f"after {PATIENCE} s still not so: {what}")
        time.sleep(0.02)


def missing(programs):
    """Those of them that are neither on the PATH nor files."""
    return [name for name in programs if not (shutil.which(name) or os.path.exists(name))]


def main(scenes, arguments):
    """Ends the process with the exit code that `scenes(folder, *arguments)` returns in the namespaces. The folder is below
    target/, and is removed; with KEEP=1 it stays where something was not as it must be."""
    if arguments[:1] == [INSIDE]:
        run("mount", "-t", "tmpfs", "run", "/run")
        run("ip", "link", "set", "lo", "up")
        sys.exit(scenes(Path(arguments[1]), *arguments[2:]))
    if os.geteuid() != 0:
        print("skipped: only root may mount and have a network of its own")
        sys.exit(0)
    if lacking := missing(["unshare", "setpriv", "ip"]):
        print(f"skipped: {' '.join(lacking)} cannot be had")
        sys.exit(0)
    # A TERM ends it as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    target = PROJECT / "target"
    target.mkdir(exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f"{Path(sys.argv[0]).stem}-test-", dir=target)
    # The namespaces end with `unshare`, and that with this process.
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--uts", "--ipc", "--pid"]
    command += ["--fork", "--kill-child", "--mount-proc", sys.executable, "-B", sys.argv[0], INSIDE, folder, *arguments]
    code = 1
    process = subprocess.Popen(command)
    try:
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        if code == 0 or not os.environ.get("KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(code)
