#!/bin/sh
# Pillow: the order of bits in a TIFF (tag FillOrder) counts, unless an uncompressed picture has its colours in planes.
#
# Guess: FillOrder 2 turns the bits of every byte of the picture data, so that the same picture comes out however the samples
# are laid out: libtiff does so for all of them.
#
# Seen with Pillow 13.0.0: RGB with one sample after the other (PlanarConfiguration 1) comes out right, and so do planes
# (PlanarConfiguration 2) that are compressed. Planes that are not compressed, which Pillow reads without libtiff, come out with
# their bits still turned, without a word: 1 becomes 128.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" pillow==13.0.0
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import io
import struct
import zlib

import PIL
from PIL import Image

WIDTH, HEIGHT = 4, 2
PIXELS = [(1, 2 * at, 200 + at) for at in range(WIDTH * HEIGHT)]


def turned(data):
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)


def tiff(planar, compression):
    if planar == 1:
        parts = [bytes(value for pixel in PIXELS for value in pixel)]
    else:
        parts = [bytes(pixel[channel] for pixel in PIXELS) for channel in range(3)]
    parts = [turned(zlib.compress(part) if compression == 8 else part) for part in parts]
    tags = [(256, WIDTH), (257, HEIGHT), (258, [8, 8, 8]), (259, compression), (262, 2), (266, 2), (273, None), (277, 3),
            (278, HEIGHT), (279, [len(part) for part in parts]), (284, planar)]
    end = 8 + 2 + 12 * len(tags) + 4
    offsets = [end + 100 + sum(map(len, parts[:number])) for number in range(len(parts))]
    entries, extra = b"", b""
    for tag, value in tags:
        values = offsets if value is None else value if isinstance(value, list) else [value]
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            packed, extra = struct.pack("<I", end + len(extra)), extra + packed
        entries += struct.pack("<HHI", tag, 4, len(values)) + packed
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8) + directory + extra.ljust(100, b"\0") + b"".join(parts)


print("Pillow", PIL.__version__)
right = {}
for planar in (1, 2):
    for compression in (1, 8):
        image = Image.open(io.BytesIO(tiff(planar, compression)))
        found = list(zip(*[iter(image.tobytes())] * 3))
        right[planar, compression] = found == PIXELS
        print(f"PlanarConfiguration {planar}, Compression {compression}: first pixel {found[0]}, written {PIXELS[0]}")
assert right == {(1, 1): True, (1, 8): True, (2, 1): False, (2, 8): True}, right
END
