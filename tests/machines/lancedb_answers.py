#!/usr/bin/env -S python3 -B
"""Asks LanceDB and `simsearch search` for the ten neighbours of a hundred objects, and compares them.

    target/machines/bin/python tests/machines/lancedb_answers.py PROGRAM RUNTIME

The exact search of LanceDB must find the same; of its index it is printed how many of them it finds. The objects are ten cuts of each
photograph of ../shared, or SIMSEARCH_SHARED. Runs the functions of examples/nearest_in_lancedb.py, and needs the packages of
setup/machines.sh.
"""
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CUTS = 10
QUERIES = 100
NEIGHBOURS = 10
# Both add up the squares of differences of 32 bits, in another order.
TOLERANCE = 1e-4


def cut(pictures, media):
    """Ten cuts of each picture, no two the same."""
    from PIL import Image

    (media / "object").mkdir(parents=True)
    for picture in pictures:
        with Image.open(picture) as image:
            image = image.convert("RGB")
            for number in range(CUTS):
                left, top = image.width * number // 40, image.height * (number % 3) // 20
                right, bottom = image.width - image.width * (number % 4) // 12, image.height
                small = image.crop((left, top, right, bottom)).resize((240, 200))
                small.save(media / f"object/{picture.stem}-{number}.jpg", quality=90)


def main():
    program, runtime = (str(Path(argument).resolve()) for argument in sys.argv[1:])
    shared = Path(os.environ.get("SIMSEARCH_SHARED", PROJECT / "../shared"))
    if not (shared / "media").is_dir():
        print(f"skipped: {shared} has no pictures")
        return
    try:
        sys.path.insert(0, str(PROJECT / "examples"))
        from nearest_in_lancedb import add_index, load, nearest
    except ImportError as error:
        print(f"skipped: {error}")
        return
    with tempfile.TemporaryDirectory(prefix="lancedb-test-", dir=PROJECT / "target") as folder:
        folder = Path(folder)
        cut(sorted((shared / "media").glob("object/*/*/*.jpg")), folder / "media")
        features = {"MEDIA_DIR": str(folder / "media"), "FEATURE_DIR": str(folder / "features")}
        model = str(shared / "models/mobilenet_v3_large_minimalistic_fv.onnx")
        environment = {**os.environ, **features, "ONNX_MODEL_PATH": model, "ORT_DYLIB_PATH": runtime}

        def simsearch(*arguments, **more):
            command = [program, *arguments]
            return subprocess.run(command, check=True, env=environment, text=True, stdout=subprocess.PIPE, **more).stdout

        simsearch("list", "--quiet", "--pictures")
        simsearch("extract", "--quiet", "--provider", "cpu")
        simsearch("concat", "--quiet")
        simsearch("export", "--quiet", "--output", str(folder / "parts/"), "--rows-per-file", "500")
        table = load(str(folder / "database"), sorted(map(str, (folder / "parts").glob("*.parquet"))))
        ids = sorted(path.name for path in (folder / "media/object").iterdir())
        assert table.count_rows() == len(ids), "not all objects are in the table"
        queries = ids[:: len(ids) // QUERIES][:QUERIES]
        answers = simsearch("search", "--json", "-k", str(NEIGHBOURS), "-", input="".join(f"{query}\n" for query in queries))
        ours = [[(one["object_id"], one["distance"]) for one in json.loads(line)["neighbours"]] for line in answers.splitlines()]
        assert len(ours) == len(queries)

        same = 0
        for query, expected in zip(queries, ours):
            found = nearest(table, query, NEIGHBOURS)
            # Two at the same distance but for rounding may change places.
            for (id_here, here), (id_there, there) in zip(expected, found, strict=True):
                close = abs(here - there) <= TOLERANCE * max(here, 1)
                assert close and id_there in dict(expected), f"{query}: {expected} is {found} in LanceDB"
            same += [one for one, _ in found] == [one for one, _ in expected]
        print(f"LanceDB, exact: the same {NEIGHBOURS} neighbours for {len(queries)} queries over {len(ids)} objects, {same} in the same order")

        partitions = round(len(ids) ** 0.5)
        add_index(table, partitions)
        for probed in (1, 5, 20):
            begun = time.monotonic()
            hits = 0
            for query, expected in zip(queries, ours):
                found = nearest(table, query, NEIGHBOURS, exact=False, partitions=probed)
                hits += len(dict(found).keys() & dict(expected).keys())
            share = hits / (len(queries) * NEIGHBOURS)
            each = (time.monotonic() - begun) / len(queries) * 1000
            print(f"LanceDB, IVF_FLAT, {probed} of {partitions} partitions: {share:.3f} of them, {each:.0f} ms a query")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
