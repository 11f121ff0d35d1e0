#!/usr/bin/env python3
"""Puts ONNX Runtime's shared libraries into the project's folder `runtime/`.

    runtime.py [auto|cpu|cuda|openvino] [FOLDER]

The libraries come out of the wheel of the Python package `onnxruntime` (or `onnxruntime-gpu`, `onnxruntime-openvino`),
which pip downloads and checks against the version and hash in `setup/runtime-<kind>.txt`. Nothing is installed: the
Python that runs this stays as it was. `auto`, the default, means `cuda` where `nvidia-smi` answers, else what is there
already, else `cpu`. The folder is put in place in one step, complete or not at all.
"""
import hashlib
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile

PROJECT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = pathlib.Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else PROJECT / "runtime"
KINDS = ("cpu", "cuda", "openvino")
# The wheel of one Python version serves all: the libraries in it do not depend on Python.
WHEEL_FOR = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.12", "--abi=cp312"]


def answers(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def kind_there() -> str | None:
    """Which kind the folder holds, when it is the pinned version and whole."""
    try:
        kind, pins = (FOLDER / "KIND").read_text().split("\n", 1)
        sums = (FOLDER / "SHA256SUMS").read_text().splitlines()
    except (OSError, ValueError):
        return None
    names = [line.split("  ", 1)[1] for line in sums]
    whole = all((FOLDER / name).is_file() for name in names)
    return kind if whole and kind in KINDS and pins == requirements(kind).read_text() else None


def requirements(kind: str) -> pathlib.Path:
    return PROJECT / "setup" / f"runtime-{kind}.txt"


def choose(asked: str) -> str:
    if asked != "auto":
        return asked
    if answers(["nvidia-smi", "-L"]):
        return "cuda"
    return kind_there() or "cpu"


def download(kind: str, folder: pathlib.Path) -> pathlib.Path:
    machine = platform.machine()
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (28, 27)]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--require-hashes", "--dest", str(folder), *WHEEL_FOR, *platforms, "-r", str(requirements(kind))]
    if subprocess.run(command).returncode != 0:
        sys.exit(f"setup: pip cannot fetch {requirements(kind).name} for {machine}: is the package index reachable?")
    (wheel,) = folder.glob("*.whl")
    return wheel


def unpack(wheel: pathlib.Path, kind: str, folder: pathlib.Path) -> None:
    stored: dict[str, str] = {}  # checksum: file
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            name = pathlib.PurePosixPath(member).name
            if name.startswith("lib") and ".so" in name:
                content = archive.read(member)
                checksum = hashlib.sha256(content).hexdigest()
                if checksum in stored:  # a wheel holds no links: what a link should be is a copy
                    (folder / name).symlink_to(stored[checksum])
                else:
                    (folder / name).write_bytes(content)
                    stored[checksum] = name
            elif name in ("LICENSE", "ThirdPartyNotices.txt"):
                (folder / name).write_bytes(archive.read(member))
    (library,) = [path.name for path in folder.glob("libonnxruntime.so.*.*.*")]
    for link in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / link).symlink_to(library)
    (folder / "SHA256SUMS").write_text("".join(f"{checksum}  {name}\n" for checksum, name in stored.items()))
    (folder / "KIND").write_text(f"{kind}\n{requirements(kind).read_text()}")


def main() -> None:
    asked = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] else "auto"
    if asked != "auto" and asked not in KINDS:
        sys.exit(f"setup: RUNTIME={asked} is none of: auto, {', '.join(KINDS)}")
    kind = choose(asked)
    if kind_there() == kind:
        return
    print(f"setup: fetching ONNX Runtime ({kind})", flush=True)
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent, prefix=".runtime-") as scratch:
        wheel = download(kind, pathlib.Path(scratch))
        fresh = pathlib.Path(scratch) / "runtime"
        fresh.mkdir()
        unpack(wheel, kind, fresh)
        if FOLDER.exists():
            FOLDER.rename(pathlib.Path(scratch) / "old")
        fresh.rename(FOLDER)
    print(f"setup: {FOLDER.name}/ holds {', '.join(sorted(path.name for path in FOLDER.glob('*.so.*.*.*')))}")


if __name__ == "__main__":
    main()
