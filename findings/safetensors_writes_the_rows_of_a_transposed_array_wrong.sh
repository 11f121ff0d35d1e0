#!/bin/sh
# safetensors: a transposed numpy array is saved without a word, and other numbers are read back.
#
# Guess: `safetensors.numpy.save_file` writes what `numpy.save` would write: an array's values in its shape, however they lie
# in memory. Or it refuses what is not in C order, as `safetensors.torch` does.
#
# Seen with safetensors 0.8.0: the shape is written, and the bytes as they lie in memory. So an array in Fortran order (a
# transposed one, or the components that a PCA gives) comes back in the right shape with its numbers in other places.
# Big-endian arrays are turned right, those in C order are right, and `numpy.save` is right for all. (`_flatten` in
# `safetensors/numpy.py` hands over the address and the length of the array; 0.7.0 copied it with `tobytes()`. The project's
# issue 825.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 safetensors==0.8.0
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

rows = np.arange(6, dtype=np.float32).reshape(2, 3)
arrays = {
    "C order": rows,
    "big-endian": rows.astype(">f4"),
    "Fortran order": np.asfortranarray(rows),
    "transposed": np.ascontiguousarray(rows.T).T,
}
save_file(arrays, "arrays.safetensors")
read = load_file("arrays.safetensors")
print("safetensors", safetensors.__version__)
same = {}
for name, array in arrays.items():
    np.save("array.npy", array)
    same[name] = (np.array_equal(np.load("array.npy"), rows), np.array_equal(read[name], rows))
    print(f"{name}: saved {array.tolist()}, read {read[name].tolist()}")
assert all(array.shape == (2, 3) for array in read.values()), read
assert same == {
    "C order": (True, True), "big-endian": (True, True), "Fortran order": (True, False), "transposed": (True, False)}, same
END
