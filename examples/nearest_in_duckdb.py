#!/usr/bin/env python3
"""Loads the Parquet file that `simsearch export` writes into DuckDB, and asks for the ten objects nearest to one of them.

    simsearch export --feature-dir features --output features.parquet
    python3 examples/nearest_in_duckdb.py features.parquet scene07-as-drawn.jpg

Needs duckdb.
"""
import sys

import duckdb

file, query = sys.argv[1:]
database = duckdb.connect()  # in memory; a path would keep the table
(dimension,) = database.execute("SELECT len(feature) FROM read_parquet(?) LIMIT 1", [file]).fetchone()
# DuckDB reads the column as lists of any length; its functions of distance need arrays of one length.
database.execute(
    f"CREATE TABLE objects AS SELECT object_id, feature::FLOAT[{dimension}] AS feature FROM read_parquet(?)", [file]
)
nearest = database.execute(
    """
    SELECT other.object_id, array_distance(other.feature, query.feature) AS distance
    FROM objects AS other, objects AS query
    WHERE query.object_id = ?
    ORDER BY distance, other.object_id
    LIMIT 10
    """,
    [query],
).fetchall()
if not nearest:
    sys.exit(f"{query} is not in {file}")
for object_id, distance in nearest:
    print(object_id, distance)
