#!/usr/bin/env bash
# OpenImageIO and Pillow: a TIFF in which 0 is white is a negative when it has 16 bits, and right when it has 8.
#
# Guess: PhotometricInterpretation 0 (0 is white) gives the same picture as 1 with all samples inverted, whatever the
# number of bits is. Scanners of film and X-rays write such files with 12 and 16 bits.
#
# Seen with OpenImageIO 3.2.2.0 and Pillow 13.0.0 (each the newest): with 16 bits the samples are handed over as they
# are, so that black is white, and the types (`uint16`, "I;16") say nothing of it. With 8 bits both invert them.
# OpenImageIO inverts 1 and 4 bits, too, and neither 10, 12 nor 14. There is no error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 openimageio==3.2.2.0 pillow==13.0.0
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END_OF_PYTHON'
import struct

import numpy as np
import OpenImageIO as oiio
import PIL
from PIL import Image

WIDTH = 8


def tiff(bits, photometric, samples):
    """A gray TIFF of one row."""
    text = "".join(format(sample, f"0{bits}b") for sample in samples)
    row = int(text, 2).to_bytes(len(text) // 8, "big")
    if bits == 16:
        row = np.array(samples, "<u2").tobytes()
    tags = {256: WIDTH, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1, 279: len(row)}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 8 + len(row)) + row + struct.pack("<H", len(tags)) + directory + bytes(4)


print("OpenImageIO", oiio.VERSION_STRING, "Pillow", PIL.__version__)
for bits in (1, 4, 8, 10, 12, 14, 16):
    brightest = 2**bits - 1
    bright = [brightest] * 3 + [0] * 5
    for photometric in (0, 1):
        with open("gray.tif", "wb") as file:
            file.write(tiff(bits, photometric, [brightest - value if photometric == 0 else value for value in bright]))
        seen = {"OpenImageIO": oiio.ImageInput.open("gray.tif").read_image("float")[0, :, 0] > 0.5}
        if bits in (1, 8, 16):
            seen["Pillow"] = np.asarray(Image.open("gray.tif"))[0] > brightest / 2
        for name, row in seen.items():
            shown = "".join(".#"[value] for value in row.astype(int))
            print(f"{bits} bits, PhotometricInterpretation {photometric}, {name}: expected ###....., seen {shown}")
            negative = photometric == 0 and bits > 8
            assert shown == ("...#####" if negative else "###....."), (bits, name)
END_OF_PYTHON
