#!/bin/sh
# datasets (of Hugging Face): the same number is another one when its whole column is asked for.
#
# Guess: `with_format("numpy")` gives the stored numbers in their stored type, and row 1 of a column is the number that row 1
# has.
#
# Seen with datasets 5.2.0: a column of float64 comes as float32, without a word: 16777217 is 16777216. The same number in a
# row that is asked for by itself is float64 and right. Of a row's list of float64, as features are stored, the numbers are
# float32 too. A column of float16 comes as float32, and one of uint8 or int32 as int64, while their rows keep the type. pandas
# and Arrow get the stored types. (`np_formatter.py` asks for float32 and int64 wherever an array is made; the project's issue
# 5517, open since 2023. `with_format("numpy", dtype=numpy.float64)` is the way out.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# An environment and not a folder of packages: dill, which datasets uses, tells packages by where they are.
python3 -m venv "$work/python"
"$work/python/bin/python" -m pip --disable-pip-version-check install --quiet numpy==2.4.6 datasets==5.2.0
HF_HUB_OFFLINE=1 HF_HOME="$work/home" "$work/python/bin/python" - <<'END'
import datasets
import numpy as np

columns = {
    "float64": np.array([0.1, 16777217.0, 2]),
    "float16": np.array([0.1, 2, 3], np.float16),
    "uint8": np.array([1, 2, 255], np.uint8),
    "lists of float64": [np.array([0.1, 16777217.0])] * 3,
}
stored = datasets.Dataset.from_dict(columns)
numpy = stored.with_format("numpy")
wide = stored.with_format("numpy", dtype=np.float64)
print("datasets", datasets.__version__)
types = {}
for name, written in columns.items():
    column, cell = numpy[:][name], numpy[1][name]
    types[name] = str(column.dtype), str(cell.dtype)
    print(f"{name}: stored {written[1]}, in the column {column[1]} ({column.dtype}), in the row {cell} ({cell.dtype})")
assert types == {"float64": ("float32", "float64"), "float16": ("float32", "float16"), "uint8": ("int64", "uint8"),
                 "lists of float64": ("float32", "float32")}, types
assert numpy[:]["float64"].tolist() == [float(np.float32(0.1)), 16777216.0, 2.0], numpy[:]["float64"]
assert numpy[1]["float64"] == 16777217
assert stored.with_format("arrow")[:]["float64"].to_pylist() == columns["float64"].tolist()
assert wide[:]["float64"].tolist() == columns["float64"].tolist()
END
