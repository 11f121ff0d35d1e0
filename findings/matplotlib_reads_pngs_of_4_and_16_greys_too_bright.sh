#!/usr/bin/env bash
# matplotlib: a gray PNG of 2 or 4 bits is read with values up to 85 and 17, instead of up to 1.
#
# Guess: `matplotlib.image.imread` (and `pyplot.imread`) gives "float arrays (0-1)" for a PNG, as its documentation
# says, whatever the number of bits is.
#
# Seen with matplotlib 3.11.2 and Pillow 13.0.0: 1, 8 and 16 bits of gray, and palettes of all sizes, come out from
# 0 to 1. Gray of 2 bits (4 shades) comes out from 0 to 85 and gray of 4 bits (16 shades) from 0 to 17, so that the same
# picture is 85 or 17 times as bright as from a PNG of 8 bits. There is no error. (Pillow has already stretched
# the values to 0 to 255, and matplotlib divides by 3 and by 15 (`_pil_png_to_float_array` in `image.py`). Optimisers of
# PNGs choose 2 and 4 bits by themselves.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 matplotlib==3.11.2 pillow==13.0.0
cd "$work"
PYTHONPATH="$work/packages" MPLBACKEND=agg MPLCONFIGDIR="$work/config" python3 - <<'END'
import struct
import zlib

import matplotlib
import matplotlib.image
import numpy as np
import PIL

print("matplotlib", matplotlib.__version__, "Pillow", PIL.__version__)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(shades, bits, palette):
    """A PNG of one row of 8 pixels with these shades, from 0 to 1."""
    most = 2**bits - 1
    numbers = [round(shade * most) for shade in shades]
    row = int("".join(f"{number:0{bits}b}" for number in numbers), 2).to_bytes(bits, "big")
    header = struct.pack(">IIBBBBB", 8, 1, bits, 3 if palette else 0, 0, 0, 0)
    colours = b"".join(bytes([number * 255 // most] * 3) for number in range(most + 1))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + (chunk(b"PLTE", colours) if palette else b"")
            + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b""))


for bits in (1, 2, 4, 8, 16):
    shades = np.array([0, 1, 2, 3, 3, 2, 1, 0]) / 3 if bits > 1 else np.array([0, 1] * 4)
    for palette in (False, True)[:1 if bits == 16 else 2]:
        with open("picture.png", "wb") as file:
            file.write(png(shades, bits, palette))
        seen = matplotlib.image.imread("picture.png")
        if palette:
            seen = seen[..., 0]
        print(f"{bits} bits, {'palette' if palette else 'gray'}: expected {shades.round(2).tolist()}, "
              f"seen {seen[0].round(2).tolist()}")
        factor = {2: 85, 4: 17}.get(bits, 1) if not palette else 1
        assert np.allclose(seen[0], shades * factor, atol=0.003 * factor)
END
