#!/usr/bin/env bash
# OpenImageIO: a PFM comes out upside down, unless it is opened with a configuration, which may be empty.
#
# Guess: a PFM, whose rows go from the bottom of the picture to its top, comes out with the top row first. The release
# notes say that this is done automatically, and that a hint (`pnm:pfmflip` of 0) turns it off.
#
# Seen with OpenImageIO 3.2.2.0 (the newest): whether it is done depends on how the file is opened. With an empty
# `ImageSpec()` as configuration the picture is right. With `ImageInput.open(name)` and `ImageBuf(name)` the bottom row
# comes first, so that what OpenImageIO itself has written comes back upside down. There is no error. Pillow reads the
# same file right. Gray and colour, little-endian and big-endian are alike.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 openimageio==3.2.2.0 pillow==13.0.0
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END_OF_PYTHON'
import numpy as np
import OpenImageIO as oiio
from PIL import Image

print("OpenImageIO", oiio.VERSION_STRING)
for channels in (1, 3):
    for order, scale in (("<", -1), (">", 1)):
        picture = np.repeat(np.arange(4, dtype=np.float32), 3 * channels).reshape(4, 3, channels)
        with open("rows.pfm", "wb") as file:
            file.write(b"P%c\n3 4\n%d.0\n" % (b"fF"[channels == 3], scale))
            file.write(picture[::-1].astype(order + "f4").tobytes())
        if channels == 1:
            assert np.array_equal(np.asarray(Image.open("rows.pfm")), picture[..., 0])
        seen = {
            "with an empty configuration": oiio.ImageInput.open("rows.pfm", oiio.ImageSpec()).read_image("float"),
            "without one": oiio.ImageInput.open("rows.pfm").read_image("float"),
            "ImageBuf": oiio.ImageBuf("rows.pfm").get_pixels("float"),
        }
        for name, pixels in seen.items():
            rows = pixels[:, 0, 0].astype(int)
            print(f"{channels} channels, {order}f4, {name}: expected rows of 0 1 2 3, seen", *rows)
            right = name == "with an empty configuration"
            assert np.array_equal(pixels, picture if right else picture[::-1]), name

written = oiio.ImageBuf(np.repeat(np.arange(4, dtype=np.float32), 3).reshape(4, 3, 1))
assert written.write("written.pfm"), written.geterror()
assert np.asarray(Image.open("written.pfm"))[:, 0].tolist() == [0, 1, 2, 3]
back = oiio.ImageBuf("written.pfm").get_pixels("float")[:, 0, 0]
print("written by OpenImageIO with rows of 0 1 2 3, read by it:", *back.astype(int))
assert back.tolist() == [3, 2, 1, 0]
END_OF_PYTHON
