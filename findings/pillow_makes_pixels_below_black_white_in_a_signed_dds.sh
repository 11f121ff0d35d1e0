#!/usr/bin/env bash
# Pillow: in a DDS picture of signed floats (BC6H_SF16) pixels that are darker than black come out white.
#
# Guess: Pillow makes 8 bits of such a picture by cutting off at 0 and 1, so that every number below 0 becomes 0, as
# OpenImageIO does.
#
# Seen with Pillow 13.0.0: in a block whose second colour is stored as a difference from the first one, which holds
# for 12 of the 14 kinds of blocks, a second colour below 0 is taken for a very large one, and the pixels towards that
# end come out as 255, be the number only -0.0001. Where the two colours are stored as they are, 0 is right. So dark
# parts of renderings and light probes, where filters leave numbers just below 0, get white pixels in red, green or
# blue. There is no error. Blocks without a number below 0 are right. OpenImageIO and imagecodecs (bcdec) read all of
# them right. (`decode_bc6_block` in `BcnDecode.c` cuts the sum of colour and difference to its number of bits, and
# does not give it its sign again.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 OpenImageIO==3.2.2.0 imagecodecs==2026.3.6
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import struct

import imagecodecs
import numpy as np
import OpenImageIO
from PIL import Image

print("Pillow", Image.__version__, "OpenImageIO", OpenImageIO.__version__, "imagecodecs", imagecodecs.__version__)


def block(first, second, as_difference):
    """Two gray colours, and 16 pixels from the one (on the left) to the other (on the right)."""
    bits, place = (0b00111 if as_difference else 0b00011), 5

    def put(number, size):
        nonlocal bits, place
        bits |= (number & (1 << size) - 1) << place
        place += size

    for _ in range(3):
        put(first, 10)
    for _ in range(3):
        # 9 bits of the difference, and then the 11th bit of the first colour; or 10 bits of the second colour.
        put(second - first if as_difference else second, 9 if as_difference else 10)
        if as_difference:
            put(first >> 10, 1)
    for pixel in range(16):
        put(pixel % 4 * 5, 3 if pixel == 0 else 4)
    assert place == 128
    return bits.to_bytes(16, "little")


def dds(blocks):
    size = struct.pack("<7I", 124, 0x81007, 4, 4 * len(blocks), 16 * len(blocks), 0, 1)
    kind = struct.pack("<II4s5I", 32, 4, b"DX10", 0, 0, 0, 0, 0)
    return (b"DDS " + size + bytes(44) + kind + struct.pack("<5I", 0x1000, 0, 0, 0, 0)
            + struct.pack("<5I", 96, 3, 0, 1, 0) + b"".join(blocks))


for as_difference in (False, True):
    # With 11 bits a number stands for the same float as half of it does with 10.
    scale = 2 if as_difference else 1
    pairs = [(40, 120), (120, 10), (30, -1), (30, -10), (100, -20), (0, -100), (-20, -100), (-100, -20), (-20, 100)]
    with open("probe.dds", "wb") as file:
        file.write(dds([block(scale * first, scale * second, as_difference) for first, second in pairs]))
    floats = imagecodecs.dds_decode(open("probe.dds", "rb").read()).astype(float)
    expected = np.rint(np.clip(floats, 0, 1) * 255).astype(int)
    other = OpenImageIO.ImageInput.open("probe.dds").read_image("uint8")
    assert np.abs(other - expected).max() <= 1
    with Image.open("probe.dds") as image:
        assert image.mode == "RGB"
        seen = np.asarray(image).astype(int)
    wrong = np.abs(seen - expected) > 1
    for place, pair in enumerate(pairs):
        row = np.s_[0, 4 * place:4 * place + 4, 0]
        print("second colour as a", "difference" if as_difference else "number",
              [float(f"{f:.2g}") for f in floats[row]], "expected", *expected[row], "seen", *seen[row])
        assert wrong[row].any() == (as_difference and pair[1] < 0), pair
    assert (floats[wrong] <= 0.1).all() and wrong.any() == as_difference
    if as_difference:
        # All pixels that are nothing but the second colour, below 0.
        assert (seen[:, 3::4][floats[:, 3::4] < 0] == 255).all()
END
