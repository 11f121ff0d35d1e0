#!/usr/bin/env bash
# TensorStore: an array of numpy with the highest byte first has other numbers in it.
#
# Guess: `tensorstore.array(a)` is a view of the numbers of `a`, whatever their order in memory, or a copy where it
# cannot be one ("copied only if it cannot be referenced"). So it reads what numpy reads.
#
# Seen with tensorstore 0.1.86, without a word: of `>u2`, `>i4`, `>f4`, `>f8` and so on (of FITS, IDX, NetCDF 3, or
# `.npy` from other machines) it reads the bytes as if the lowest came first: 1.0 is 4.6e-41, 1 is 256. Writing through
# the view puts the bytes in the wrong order into the array of numpy as well. `store.write(tensorstore.array(a))` keeps
# the wrong numbers for good; `store.write(a)` and `store[...] = a` turn them right, and so does
# `tensorstore.array(a, dtype)` with another type. All other layouts (transposed, every second row, from the end) are
# right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 ml-dtypes==0.6.0 tensorstore==0.1.86
PYTHONPATH="$work/packages" python3 - <<'END'
from importlib.metadata import version

import numpy as np
import tensorstore

print("tensorstore", version("tensorstore"))


def stored(values, source):
    store = tensorstore.open({"driver": "zarr3", "kvstore": {"driver": "memory"}}, create=True,
                             dtype=tensorstore.dtype(values.dtype), shape=values.shape).result()
    store.write(source).result()
    return store.read().result()


for kind in ("<f4", ">f4", ">f8", ">f2", ">u2", ">i4", ">i8"):
    values = np.array([[1, 2, 300], [4, 5, 6]], kind)
    swapped = values.view(values.dtype.newbyteorder("="))
    right = kind == "<f4"
    seen = tensorstore.array(values).read().result()
    print(f"{kind}: expected", *values[0], " seen", *seen[0], " of type", seen.dtype)
    assert np.array_equal(seen, values) == right and np.array_equal(seen, values if right else swapped), kind
    assert np.array_equal(stored(values, tensorstore.array(values)), seen), kind
    assert np.array_equal(stored(values, values), values), kind
    wider = tensorstore.array(values, np.complex128).read().result()
    assert np.array_equal(wider, values), kind
    for layout in (values.T, values[::-1], values[:, ::2]):
        swap = layout.astype(layout.dtype) if right else layout.astype(layout.dtype).view(swapped.dtype)
        assert np.array_equal(tensorstore.array(layout).read().result(), swap), kind
    tensorstore.array(values)[0, 0] = 9
    assert (values[0, 0] == 9) == right and swapped[0, 0] == 9, kind
    print("    after 9 was written through it, numpy has", values[0, 0])
END
