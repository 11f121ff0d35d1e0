#!/usr/bin/env bash
# Pillow: a TIFF of red, green and blue in three planes of 16 bits shows half of the picture, in noise.
#
# Guess: how the samples are laid out (PlanarConfiguration) makes no difference to the picture. Pillow opens RGB of
# 16 bits with the upper 8 bits of each sample.
#
# Seen with Pillow 13.0.0 (the newest): without compression each byte of a plane is taken for a sample, so that every
# second column holds the lower 8 bits, which are noise, and the right half of the picture is gone: in a row of one
# plane, 16 bits for each of 8 pixels are taken for 16 pixels, of which 8 are kept. So it is with RGB and RGBA, in
# little-endian and big-endian files. There is no error. The same planes compressed (LZW, Deflate), samples that
# follow each other for each pixel, and planes of 8 bits are right. tifffile writes planes when it is given an array of
# shape (3, height, width).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 tifffile==2026.3.3 imagecodecs==2026.3.6
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END_OF_PYTHON'
import itertools

import numpy as np
import PIL
import tifffile
from PIL import Image

print("Pillow", PIL.__version__, "tifffile", tifffile.__version__)
seen = {}
for order, kind, channels, compression, planes in itertools.product(
    "<>", (np.uint8, np.uint16), (3, 4), (None, "lzw", "deflate"), (False, True)
):
    bits = 8 * kind().itemsize
    picture = (np.full((4, 8, channels), 77) + np.arange(0, 160, 20)[:, None]).astype(kind) << (bits - 8)
    picture |= np.array(33 if bits == 16 else 0, kind)
    tifffile.imwrite("planes.tif", np.moveaxis(picture, 2, 0) if planes else picture, byteorder=order,
                     photometric="rgb", planarconfig="separate" if planes else "contig", compression=compression,
                     extrasamples=["unassalpha"] if channels == 4 else None, metadata=None)
    assert np.array_equal(tifffile.imread("planes.tif"), np.moveaxis(picture, 2, 0) if planes else picture)
    image = Image.open("planes.tif")
    found = np.asarray(image)[0, :, 0].tolist()
    name = f"{order} {image.mode} of {bits} bits, {compression}, {'planes' if planes else 'pixels'}"
    expected = (picture[0, :, 0] >> (bits - 8)).tolist()
    print(f"{name}: expected {expected}, seen {found}")
    if bits == 16 and planes and compression is None:
        halves = picture[0, :4, 0].astype(order + "u2").tobytes()
        assert found == list(halves) != expected, name
    else:
        assert found == expected, name
END_OF_PYTHON
