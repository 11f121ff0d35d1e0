#!/usr/bin/env bash
# polars: the mean of three columns of bytes that are all 200 is 29.3.
#
# Guess: a mean is between the smallest and the largest number. `mean` and `sum` of a column of bytes are right in
# polars, since it adds small integers in 64 bits; so are those across columns, and the dot product of two columns.
#
# Seen with polars 2.1.0, without a word: `sum_horizontal` and `cum_sum_horizontal` add uint8 in uint8 and wrap around
# at 256, and `mean_horizontal` divides such a sum: a row of 200, 200, 200 has the mean 29.33, so that white in columns
# r, g and b comes out darker than grey. int8, int16 and uint16 do the same. `dot` multiplies in 8 bits and adds in 64,
# so that its result is an Int64 that could hold the right number. `mean` and `sum` of a column, of a list or of an
# array are right. (The project's issue 21515 has it for `sum_horizontal`, open since 2025; its documentation of
# `mean_horizontal` and `dot` says nothing of it.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 polars==2.1.0
PYTHONPATH="$work/packages" python3 - <<'END'
import numpy as np
import polars

print("polars", polars.__version__)
found = {}
for kind, value in ((polars.UInt8, 200), (polars.Int8, 100), (polars.UInt16, 60000), (polars.Int16, 30000),
                    (polars.Float32, 200)):
    row = polars.DataFrame({name: [value] for name in "rgb"}, schema=dict.fromkeys("rgb", kind))
    column = polars.Series([value] * 3, dtype=kind)
    array = row.select(polars.concat_arr("r", "g", "b").alias("rgb"))["rgb"]
    seen = {"mean_horizontal": row.mean_horizontal()[0], "sum_horizontal": row.sum_horizontal()[0],
            "dot": column.dot(column), "mean": column.mean(), "sum": column.sum(), "arr.mean": array.arr.mean()[0],
            "arr.sum": array.arr.sum()[0],
            "cum_sum_horizontal": row.select(polars.cum_sum_horizontal("r", "g", "b").alias("s"))["s"][0]["b"]}
    expected = {name: value * (value * 3 if name == "dot" else 1 if "mean" in name else 3) for name in seen}
    wrong = {name for name in seen if not np.isclose(seen[name], expected[name])}
    found[kind] = wrong
    print(f"three times {value} as {kind}: the mean of the row is {seen['mean_horizontal']:.2f} and its sum",
          f"{seen['sum_horizontal']}; the product with itself is {seen['dot']} (expected {expected['dot']});",
          f"the mean of the same numbers in a column {seen['mean']:.2f} and their sum {seen['sum']}")
across = {"mean_horizontal", "sum_horizontal", "cum_sum_horizontal", "dot"}
assert found == {kind: set() if kind == polars.Float32 else across for kind in found}, found

dot = polars.DataFrame({"a": [200, 200]}, schema={"a": polars.UInt8}).select(polars.col("a").dot(polars.col("a")))["a"]
print("the type of a dot product of bytes:", dot.dtype)
assert dot.dtype == polars.Int64 and dot[0] == 2 * (200 * 200 % 256), dot
END
