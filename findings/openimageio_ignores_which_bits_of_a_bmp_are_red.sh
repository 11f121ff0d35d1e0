#!/usr/bin/env bash
# OpenImageIO: a BMP of 32 bits whose header says which bits are red has red and blue exchanged, or is noise, and is
# transparent all over where it has no alpha.
#
# Guess: the masks of a BMP with BI_BITFIELDS say where red, green and blue are in the 32 bits of a pixel, and a BMP
# without a mask for alpha is opaque.
#
# Seen with OpenImageIO 3.2.2.0 (the newest): the masks are read for 16 bits only. With 32 bits the bytes are always
# taken for blue, green, red and alpha, so that a file in the order red, green, blue comes out blue where it is red,
# and 10 bits for each colour give noise. The byte that no mask names, mostly 0, becomes alpha: the picture is
# wholly transparent. So it is without masks (BI_RGB), too, where that byte means nothing. There is no error.
# Skia, with which Chrome draws, reads all of them right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 openimageio==3.2.2.0 skia-python==144.1
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END_OF_PYTHON'
import struct

import OpenImageIO as oiio
import skia

COLOUR = (200 / 255, 100 / 255, 50 / 255)
print("OpenImageIO", oiio.VERSION_STRING, "skia-python", skia.__version__)


def bmp(bits, masks):
    """A BMP of 4 by 2 pixels of one colour, whose masks are those given, or that has none."""
    pixel = 0
    for value, mask in zip(COLOUR, masks or (0xFF0000, 0xFF00, 0xFF)):
        lowest = mask & -mask
        pixel |= round(value * (mask // lowest)) * lowest
    pixels = pixel.to_bytes(bits // 8, "little") * 8
    fields = struct.pack("<3I", *masks) if masks else b""
    header = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, bits, 3 if masks else 0, len(pixels), 2835, 2835, 0, 0)
    start = 14 + len(header) + len(fields)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + fields + pixels


WRONG = {"32 bits, red first": (50, 100, 200, 0), "32 bits, 10 for a colour": (38, 68, 201, 50),
         "32 bits, blue first": (200, 100, 50, 0), "32 bits, no masks": (200, 100, 50, 0)}
for name, bits, masks in (
    ("16 bits, red first", 16, (0x001F, 0x07E0, 0xF800)),
    ("16 bits, blue first", 16, (0xF800, 0x07E0, 0x001F)),
    ("32 bits, blue first", 32, (0xFF0000, 0xFF00, 0xFF)),
    ("32 bits, no masks", 32, None),
    ("32 bits, red first", 32, (0xFF, 0xFF00, 0xFF0000)),
    ("32 bits, 10 for a colour", 32, (0x3FF00000, 0xFFC00, 0x3FF)),
):
    with open("colour.bmp", "wb") as file:
        file.write(bmp(bits, masks))
    other = skia.Image.open("colour.bmp").toarray(colorType=skia.kRGBA_8888_ColorType)[0, 0].tolist()
    assert all(abs(found - wanted) < 6 for found, wanted in zip(other, (200, 100, 50, 255))), other
    reader = oiio.ImageInput.open("colour.bmp")
    channels = "".join(reader.spec().channelnames)
    found = tuple(reader.read_image("uint8")[0, 0].tolist())
    print(f"{name}: expected 200 100 50 without alpha, Skia {other}, OpenImageIO {channels} {found}")
    if name in WRONG:
        assert channels == "RGBA" and found == WRONG[name], found
    else:
        assert channels == "RGB" and all(abs(one - two) < 6 for one, two in zip(found, (200, 100, 50))), found
END_OF_PYTHON
