#!/usr/bin/env bash
# Keras on OpenVINO: a picture that is resized to its own size gets paler, and a smaller one has other pixels.
#
# Guess: `keras.ops.image.resize` gives the same on each of Keras's back ends, but for rounding; and resized to its own
# size, a picture stays what it was.
#
# Seen with Keras 3.15.1 on its back end "openvino" (OpenVINO 2026.4.1), without a word:
# - Bicubic, of bytes: 1 is added to each dark pixel of the result (1 to 127) and taken from each bright one (128 to
#   254), to be, as a comment there says, nearer to TensorFlow. Resized to its own size a picture of 100 is one of 101,
#   after ten times one of 110, and so on until all is 127 or 128.
# - Nearest, to a smaller size: not the pixel in the middle is taken but the next one, to the right and below, so that
#   the picture moves, and masks of labels do. 9 pixels to 3 are the third, sixth and ninth and not the second, fifth
#   and eighth. (OpenVINO's `nearest_mode` "simple" rounds up where it shrinks.)
# The back end "numpy" is right in both, and bilinear is right on both. (`resize` in `backend/openvino/image.py`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 scipy==1.17.1 keras==3.15.1 openvino==2026.4.1
HOME=$work KERAS_BACKEND=openvino PYTHONPATH="$work/packages" python3 - <<'END'
from importlib.metadata import version

import keras
import numpy as np


def resized(row, width, interpolation, dtype):
    """A picture of one row, resized to another width."""
    picture = np.array(row, dtype).reshape(1, -1, 1)
    found = keras.ops.image.resize(picture, (1, width), interpolation=interpolation)
    return [round(float(number), 3) for number in keras.ops.convert_to_numpy(found).ravel()]


def show(what, expected, found, seen):
    print(f"{what}: expected {expected}, seen {found}")
    assert found == seen, found


print("Keras", version("keras"), "on", keras.backend.backend(), version("openvino"))
row = [0, 1, 100, 200, 255]
show("bicubic, floats, to its own size", row, resized(row, 5, "bicubic", "float32"), row)
show("bilinear, bytes, to its own size", row, resized(row, 5, "bilinear", "uint8"), row)
show("bicubic, bytes, to its own size", row, resized(row, 5, "bicubic", "uint8"), [0, 2, 101, 199, 255])
show("bicubic, bytes, nine of 100 to four", [100] * 4, resized([100] * 9, 4, "bicubic", "uint8"), [101] * 4)
again = start = [100, 100, 100, 200]
for _ in range(10):
    again = resized(again, 4, "bicubic", "uint8")
show("bicubic, bytes, ten times to its own size", start, again, [110, 110, 110, 190])
row = list(range(0, 90, 10))
show("nearest, 9 to 3", [10, 40, 70], resized(row, 3, "nearest", "float32"), [20, 50, 80])
show("nearest, 9 to 4", [10, 30, 50, 70], resized(row, 4, "nearest", "float32"), [20, 40, 60, 80])
show("nearest, 9 to 18", sorted(row * 2), resized(row, 18, "nearest", "float32"), sorted(row * 2))
END
