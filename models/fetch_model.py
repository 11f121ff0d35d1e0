#!/usr/bin/env python3
"""Fetches a model by name into a folder beside this script; what `make model NAME=…` runs.

    fetch_model.py NAME [--from ADDRESS] [--into FOLDER] [--table FILE]

`models.json` has, for each name, where its files are, how long they are, and their SHA-256. What was fetched before an
interruption is kept in `FOLDER/.NAME/` and not fetched again. A file that is there under its own name is complete and
has that SHA-256. `--from` names a mirror: it is used in place of the address in the table, and the checksums stay.

Needs nothing but Python's standard library.
"""
import argparse
import hashlib
import http.client
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECONDS_TO_ANSWER = 20  # that a silent network is waited for
PIECE = 1 << 20  # bytes
TRIES = 5  # without a single byte more
PAUSE = 2  # seconds between two of them


class Failure(Exception):
    """Something to tell the user in a sentence; no traceback."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        checksum = hashlib.sha256()
        while piece := file.read(PIECE):
            checksum.update(piece)
    return checksum.hexdigest()


def is_whole(path: Path, known: dict) -> bool:
    return path.is_file() and path.stat().st_size == known["bytes"] and sha256_of(path) == known["sha256"]


def show(name: str, there: int, whole: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{name}: {100 * there // max(whole, 1)} % of {whole / 1e6:.0f} MB", end="", file=sys.stderr, flush=True)


def fetch_rest(address: str, partial: Path, whole: int) -> None:
    """Adds to `partial` what is missing in it. An error may come at any byte: what was read until then is kept."""
    there = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address)
    if there > 0:
        request.add_header("Range", f"bytes={there}-")
    with urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER) as answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {there}-")
        # A server that does not know of ranges sends all of it.
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab" if goes_on else "wb") as file:
            there = there if goes_on else 0
            while there <= whole and (piece := answer.read1(PIECE)):
                file.write(piece)
                there += len(piece)
                show(partial.name, there, whole)


def fetch_file(address: str, partial: Path, known: dict) -> None:
    """Leaves all of the file in `partial`, with its checksum."""
    whole, tries = known["bytes"], 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        if before > whole:
            partial.unlink()
            before = 0
        if before == whole:
            break
        error = None
        try:
            fetch_rest(address, partial, whole)
        except urllib.error.HTTPError as answer:
            # Those of the server itself may pass; the others do not.
            if answer.code < 500:
                raise Failure(f"cannot fetch {address}: {answer}") from answer
            error = answer
        except (OSError, http.client.HTTPException) as broken:
            error = broken
        after = partial.stat().st_size if partial.exists() else 0
        if after == before:
            tries += 1
            if tries == TRIES or isinstance(getattr(error, "reason", None), OSError) and before == 0:
                kept = "What was fetched is kept, and the same command goes on. " if after > 0 else ""
                raise Failure(
                    f"cannot fetch {address}: {error or 'the server sends nothing more'}\n{kept}Without internet, copy "
                    "the folder of the model from a machine that has it, or name a mirror with FROM=ADDRESS."
                ) from error
            time.sleep(PAUSE)
        else:
            tries = 0
    if sys.stderr.isatty():
        print(file=sys.stderr)
    found = sha256_of(partial)
    if found != known["sha256"]:
        partial.unlink()
        raise Failure(
            f"{address} is another file than the one in models.json: its SHA-256 is {found},\n"
            f"and {known['sha256']} was expected. It was removed."
        )


def put(partial: Path, target: Path) -> None:
    """Puts a complete file under its name, so that it is there whole or not at all."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, target)


def fetch(name: str, model: dict, source: str, into: Path) -> None:
    folder, kept = into / name, into / f".{name}"
    for file, known in model["files"].items():
        target = folder / file
        if is_whole(target, known):
            print(f"{target}: is there", flush=True)
            continue
        partial = kept / file.replace("/", "-")
        fetch_file(source + file, partial, known)
        put(partial, target)
        print(f"{target}: {known['bytes']} bytes", flush=True)
    config = json.dumps(model["preprocessor_config"], indent=2) + "\n"
    target = folder / "preprocessor_config.json"
    if not target.exists() or target.read_text() != config:
        kept.mkdir(parents=True, exist_ok=True)
        partial = kept / target.name
        partial.write_text(config)
        put(partial, target)
    shutil.rmtree(kept, ignore_errors=True)
    print(f"{name}: {model['what']}; licence: {model['license']}\nsimsearch extract --model {folder}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch a model by name.")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--from", dest="source", metavar="ADDRESS", help="a mirror, in place of the address in the table")
    parser.add_argument("--into", type=Path, default=HERE, metavar="FOLDER", help="default: beside this script")
    parser.add_argument("--table", type=Path, default=HERE / "models.json", metavar="FILE")
    args = parser.parse_args()
    table = json.loads(args.table.read_text())
    try:
        if args.name not in table:
            raise Failure(f"there is no model {args.name!r}; known are: {', '.join(sorted(table))}")
        model = table[args.name]
        source = args.source or model["from"]
        fetch(args.name, model, source if source.endswith("/") else source + "/", args.into)
    except Failure as failure:
        sys.exit(f"fetch_model.py: {failure}")
    except OSError as error:
        sys.exit(f"fetch_model.py: {error}")
    except KeyboardInterrupt:
        sys.exit("\nfetch_model.py: stopped; what was fetched is kept, and the same command goes on")


if __name__ == "__main__":
    main()
