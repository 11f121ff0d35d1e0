#!/usr/bin/env python3
"""Extracts the features of a list in N parts with Ray, and writes them to a folder of Parquet files.

    deploy/ray/extract.py PARTS MEDIA_DIR OUTPUT_DIR [arguments of extract ...]

Every node needs simsearch on its PATH, and the pictures at MEDIA_DIR; the parts share nothing else. A part whose process, worker or
node ends is done again from its beginning. Without RAY_ADDRESS a cluster of this machine alone is started.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet
import ray

parts, media, output, *arguments = sys.argv[1:]
media = str(Path(media).resolve())


def extract(batch):
    part = f"{batch['id'][0]}/{parts}"
    with tempfile.TemporaryDirectory() as folder:
        features = ["--quiet", "--feature-dir", folder]
        options = ["--media-dir", media, "--part", part, "--workers", "1", "--fail-on", "none", *arguments]
        extracted = subprocess.run(["simsearch", "extract", "--json", *features, *options], check=True, stdout=subprocess.PIPE)
        # There may be none: no object of the list belongs to the part, or all of its pictures have failed.
        if json.loads(extracted.stdout)["done"] > 0:
            subprocess.run(["simsearch", "export", *features, "--output", f"{folder}/part.parquet"], check=True)
            yield pyarrow.parquet.read_table(f"{folder}/part.parquet")


numbers = ray.data.range(int(parts), override_num_blocks=int(parts))
numbers.map_batches(extract, batch_size=1, max_retries=3, retry_exceptions=True).write_parquet(output)
