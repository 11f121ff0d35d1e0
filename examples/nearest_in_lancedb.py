#!/usr/bin/env python3
"""Loads the Parquet files that `simsearch export` writes into LanceDB, and asks for the ten objects nearest to one of them.

    simsearch export --feature-dir features --output parts/ --rows-per-file 1000000
    python3 examples/nearest_in_lancedb.py database parts/*.parquet scene07-as-drawn.jpg

Looks at all features. Where there are millions, make an index once (`add_index`), and ask with exact=False. Needs lancedb and pyarrow.
"""
import sys

import lancedb
import pyarrow.parquet


def load(path, files):
    """The objects of all files, in a table below this path; one that is there is replaced. Takes the memory of a row group."""

    def batches():
        for file in files:
            yield from pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=10_000)

    schema = pyarrow.parquet.read_schema(files[0])
    return lancedb.connect(path).create_table("objects", batches(), schema=schema, mode="overwrite")


def add_index(table, partitions):
    """As many partitions as the square root of the rows is a good start. All numbers of a feature are kept: no quantisation."""
    table.create_index(metric="l2", vector_column_name="feature", index_type="IVF_FLAT", num_partitions=partitions)


def nearest(table, object_id, count=10, exact=True, partitions=20):
    """Object ids and Euclidean distances, nearest first; without `exact` by the index, of which so many partitions are read."""
    quoted = object_id.replace("'", "''")
    rows = table.search().where(f"object_id = '{quoted}'").limit(1).to_list()
    if not rows:
        sys.exit(f"{object_id} is not in {table.name}")
    query = table.search(rows[0]["feature"], vector_column_name="feature").distance_type("l2").limit(count)
    query = query.bypass_vector_index() if exact else query.nprobes(partitions)
    found = query.select(["object_id", "_distance"]).to_list()
    # LanceDB gives the square of the distance.
    return [(row["object_id"], row["_distance"] ** 0.5) for row in found]


if __name__ == "__main__":
    database, *files, query = sys.argv[1:]
    for object_id, distance in nearest(load(database, files), query):
        print(object_id, distance)
