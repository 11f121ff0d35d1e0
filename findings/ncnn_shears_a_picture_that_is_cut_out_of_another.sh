#!/usr/bin/env bash
# ncnn: a part of a picture is taken from other places of it.
#
# Guess: `ncnn.Mat.from_pixels`, which copies the pixels of a NumPy array and is told their width and height, copies
# those that the array has, or refuses an array whose rows do not follow each other in memory.
#
# Seen with ncnn 1.0.20261020, without a word: it goes on in memory behind the first pixel of the array. A part that
# is cut out by `picture[top:bottom, left:right]`, as each detected object or face is, begins rightly and then runs on
# over the rest of the row that it was cut out of: it is sheared, and shows things beside it. A picture that is turned
# by `transpose` has its pixels in the old order. `from_pixels_resize` does the same, and so does `ncnn.Mat(array)` for
# floats: of every second column it takes each one. `from_pixels_roi`, which is told the part, is right, and so is all
# after `numpy.ascontiguousarray`. (The project's issue 3082 of 2021, still open, asks about `ncnn.Mat` and a transposed
# array, and was answered with this function. Of `from_pixels` and parts of a picture none was found.)
# Its other requirements are for its own collection of models and are not used here.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" --no-deps \
    numpy==2.4.6 ncnn==1.0.20261020
PYTHONPATH="$work/packages" python3 - <<'END'
from importlib.metadata import version

import ncnn
import numpy as np

rgb = ncnn.Mat.PixelType.PIXEL_RGB
# The red of each pixel is its row, the green its column.
picture = np.stack([*np.indices((8, 10)), np.full((8, 10), 200)], axis=-1).astype(np.uint8)


def show(what, expected, found, as_it_lies):
    """All three are [channels, height, width]."""
    print(f"{what}: expected column numbers {expected[1, :2].astype(int).tolist()},",
          f"seen {found[1, :2].astype(int).tolist()}")
    assert found.shape == expected.shape and np.array_equal(found, as_it_lies), found


def planes(pixels):
    return pixels.transpose(2, 0, 1).astype(np.float32)


def on_in_memory(part, first):
    """What lies in memory from the part's first pixel on, in its shape."""
    return picture.ravel()[first:first + part.size].reshape(part.shape)


print("ncnn", version("ncnn"))
for what, part, first in (("cut out", picture[2:5, 3:7], (2 * 10 + 3) * 3),
                          ("transposed", picture.transpose(1, 0, 2), 0)):
    height, width = part.shape[:2]
    lies = planes(on_in_memory(part, first))
    show(what, planes(part), np.array(ncnn.Mat.from_pixels(part, rgb, width, height)), lies)
    show(what + ", to the same size", planes(part),
         np.array(ncnn.Mat.from_pixels_resize(part, rgb, width, height, width, height)), lies)
    copied = np.ascontiguousarray(part)
    show(what + " and copied", planes(part), np.array(ncnn.Mat.from_pixels(copied, rgb, width, height)), planes(part))
    assert not np.array_equal(lies, planes(part))
part = planes(picture[2:5, 3:7])
show("from_pixels_roi", part, np.array(ncnn.Mat.from_pixels_roi(picture, rgb, 10, 8, 3, 2, 4, 3)), part)

values = np.ascontiguousarray(planes(picture))
halved = values[:, :, ::2]
lies = values.ravel()[:halved.size].reshape(halved.shape)
show("every second column of floats", halved, np.array(ncnn.Mat(halved).clone()), lies)
assert not np.array_equal(lies, halved)
END
