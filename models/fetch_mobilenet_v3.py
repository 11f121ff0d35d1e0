#!/usr/bin/env python3
"""Fetch the reference model from TensorFlow Hub and convert it to ONNX; what `make model` runs.

    python fetch_mobilenet_v3.py                       # download, convert, check
    python fetch_mobilenet_v3.py --archive FILE        # the same from an archive that you downloaded yourself
    python fetch_mobilenet_v3.py --verify FILE.onnx    # check a converted file (needs numpy, onnxruntime)

Writes `mobilenet_v3_large_100_224.onnx` beside this script, complete or not at all. TensorFlow and tf2onnx go
into a temporary virtual environment (several hundred megabytes to download, gone afterwards), so the Python
that runs this stays as it is and needs nothing but its standard library.

Written on a machine that cannot reach TensorFlow Hub. Tried there: that it fails at once without a way out,
and everything after the download with a stand-in archive of another network. Not tried: the download itself,
and the check of the six numbers below against the real model.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import venv
from pathlib import Path

HUB = "https://tfhub.dev/google/imagenet/mobilenet_v3_large_100_224/feature_vector/5"
ARCHIVE_URL = HUB + "?tf-hub-format=compressed"  # redirects to Kaggle, where the hub's files live now
TARGET = Path(__file__).resolve().with_name("mobilenet_v3_large_100_224.onnx")

PACKAGES = ["tensorflow-cpu==2.19.1", "tf2onnx==1.17.0", "onnx==1.17.0", "onnxruntime==1.22.1"]
PYTHONS = [(3, minor) for minor in (10, 11, 12)]  # those that all of PACKAGES are published for
OPSET = 13
SECONDS_TO_ANSWER = 20  # that a silent network is waited for

INPUT = ("inputs:0", [224, 224, 3])
OUTPUT = ("feature_vector", [1280])
# The first three features of a picture of zeros and of one of ones, from the model that simsearch was built
# for.
EXPECTED = {0.0: [-0.19617268, -0.32971063, 0.01838597], 1.0: [0.46933305, 0.20881261, 0.30621225]}
TOLERANCE = 1e-4  # relative


class Failure(Exception):
    """Something to tell the user in a sentence; no traceback."""


def download(path):
    """The hub's archive of the model into `path`. Comes first, so that no network is noticed at once."""
    print(f"downloading {ARCHIVE_URL}", flush=True)
    try:
        with urllib.request.urlopen(ARCHIVE_URL, timeout=SECONDS_TO_ANSWER) as answer:
            with path.open("wb") as file:
                shutil.copyfileobj(answer, file)
    except OSError as error:  # no name, no route, refused, timed out, and HTTP errors
        raise Failure(
            f"cannot download the model: {error}\n"
            f"On a machine with internet, download {ARCHIVE_URL}\n"
            "and give the file here with --archive FILE; or run this script there and copy\n"
            f"{TARGET.name} into models/. simsearch works without it, with the model that it carries."
        ) from error


def unpack(archive, folder):
    """The SavedModel in `archive`, unpacked; returns the folder that holds saved_model.pb."""
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise Failure(f"{archive} is not the archive of a model: {reason}") from error
    found = sorted(folder.rglob("saved_model.pb"))
    if not found:
        raise Failure(f"{archive} holds no saved_model.pb")
    return found[0].parent


def run(what, *command):
    """A step in a child process, its output shown."""
    print(f"{what} ...", flush=True)
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    code = subprocess.run([str(part) for part in command], env=quiet).returncode
    if code != 0:
        raise Failure(f"{what} failed with exit code {code}; its messages are above")


def fetch(archive):
    """Download unless `archive` is given, convert, check, and only then put TARGET in its place."""
    if sys.version_info[:2] not in PYTHONS or not hasattr(tarfile, "data_filter"):
        names = ", ".join(f"{major}.{minor}" for major, minor in PYTHONS)
        raise Failure(
            f"this Python is {sys.version.split()[0]}, and {PACKAGES[0]} needs an up-to-date one of {names}"
        )
    with tempfile.TemporaryDirectory(prefix="simsearch-model-") as temporary:
        work = Path(temporary)
        if archive is None:
            archive = work / "model.tar.gz"
            download(archive)
        saved_model = unpack(archive, work / "saved_model")

        venv.create(work / "venv", with_pip=True)
        python = work / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        run("installing " + ", ".join(PACKAGES), python, "-m", "pip", "install", "--quiet", *PACKAGES)
        converted = work / TARGET.name
        convert = [python, "-m", "tf2onnx.convert", "--saved-model", saved_model, "--output", converted]
        # tf2onnx may call the input plain "inputs": give both the names that the reference model has.
        names = ["--rename-inputs", INPUT[0], "--rename-outputs", OUTPUT[0]]
        run("converting", *convert, *names, "--opset", OPSET)
        run("checking", python, Path(__file__).resolve(), "--verify", converted)

        # A sibling first: a rename within one folder is all or nothing.
        sibling = TARGET.with_name(f".{TARGET.name}.{os.getpid()}.tmp")
        try:
            shutil.copyfile(converted, sibling)
            os.replace(sibling, TARGET)
        finally:
            sibling.unlink(missing_ok=True)
    print(f"wrote {TARGET.name}: {TARGET.stat().st_size} bytes")


def verify(path):
    """Raise Failure unless `path` has the reference model's signature and gives its numbers."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for kind, values, (name, shape) in (
        ("input", session.get_inputs(), INPUT),
        ("output", session.get_outputs(), OUTPUT),
    ):
        names = [value.name for value in values]
        if names != [name]:
            raise Failure(f"{path}: the {kind}s are {names}, not ['{name}']")
        batch, *rest = values[0].shape
        if rest != shape or isinstance(batch, int):
            raise Failure(f"{path}: {name} is {values[0].shape}, not ['n', {str(shape)[1:]}")
        if values[0].type != "tensor(float)":
            raise Failure(f"{path}: {name} is a {values[0].type}, not a tensor(float)")
    for level, expected in EXPECTED.items():
        picture = np.full((1, 224, 224, 3), level, np.float32)
        first = session.run(None, {INPUT[0]: picture})[0][0, : len(expected)]
        if not np.allclose(first, expected, rtol=TOLERANCE, atol=0):
            raise Failure(f"{path}: a picture of {level} gives {first.tolist()}, not {expected}")
    print(f"{path.name}: signature and features are those of the reference model")


def main():
    parser = argparse.ArgumentParser(description="Fetch and convert the reference model, or check it.")
    parser.add_argument("--archive", type=Path, help="the hub's .tar.gz, instead of downloading it")
    parser.add_argument("--verify", type=Path, metavar="FILE.onnx", help="only check this file")
    args = parser.parse_args()
    try:
        if args.verify:
            verify(args.verify)
        elif TARGET.exists():
            print(f"{TARGET.name} is there already; remove it to fetch it again")
        else:
            fetch(args.archive)
    except Failure as failure:
        sys.exit(f"fetch_mobilenet_v3.py: {failure}")


if __name__ == "__main__":
    main()
