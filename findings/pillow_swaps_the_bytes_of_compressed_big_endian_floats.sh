#!/usr/bin/env bash
# Pillow: a big-endian TIFF of floats or signed numbers is noise when it is compressed, and right when it is not.
#
# Guess: neither the byte order of a TIFF nor its compression changes the picture.
#
# Seen with Pillow 13.0.0 (the newest): floats of 32 bits (mode "F") and signed numbers of 16 and 32 bits (mode "I")
# are right in little-endian files with and without compression, and in big-endian ones without. In big-endian ones
# with LZW, Deflate or PackBits the bytes of each sample come out in the wrong order: 1.0 becomes 4.6e-41 (black), and
# -20 in 16 bits becomes -4865. There is no error. Unsigned numbers of 16 bits are right. (libtiff has turned the bytes
# over when Pillow gets them, and for these raw modes `TiffImagePlugin.py` has Pillow turn them once more.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 tifffile==2026.3.3 imagecodecs==2026.3.6
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import numpy as np
import PIL
import tifffile
from PIL import Image

print("Pillow", PIL.__version__)
values = np.arange(48).reshape(6, 8) - 20
for dtype in ("uint16", "int16", "int32", "float32"):
    pixels = values.clip(0).astype(dtype) if dtype == "uint16" else values.astype(dtype)
    for order in "<>":
        for compression in (None, "lzw", "zlib", "packbits"):
            tifffile.imwrite("picture.tif", pixels, byteorder=order, compression=compression)
            assert np.array_equal(tifffile.imread("picture.tif"), pixels)
            with Image.open("picture.tif") as image:
                mode, seen = image.mode, np.asarray(image)
            right = np.array_equal(seen, pixels)
            print(f"{dtype} ({mode}), {'big' if order == '>' else 'little'}-endian, {compression}: "
                  f"expected {pixels[0, :3].tolist()}, seen {seen[0, :3].tolist()}")
            swapped = order == ">" and compression is not None and dtype != "uint16"
            assert right != swapped
            if swapped:
                assert np.array_equal(seen, pixels.byteswap())
END
