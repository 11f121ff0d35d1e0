#!/usr/bin/env bash
# Pillow and FFmpeg (here in PyAV): a JPEG 2000 picture with a palette of fewer than 129 colours comes out in wrong
# colours, and white of 1 bit is a middle gray.
#
# Guess: pixel number 5 gets colour 5 of the palette, and the largest number of a picture without a palette is white,
# whatever the number of bits is.
#
# Seen with Pillow 13.0.0 and PyAV 18.1.0 (FFmpeg 8.1.2): samples of fewer than 8 bits are moved to the upper end of
# the byte, with zeros below. So of a palette of 100 colours (7 bits) pixel 5 gets colour 10, and of 16 colours (4
# bits) it gets colour 80, which does not exist: Pillow shows black, and FFmpeg black that is transparent. With 8 bits
# both are right. There is no error. Without a palette white is 128 with 1 bit, 192 with 2, 240 with 4, so that a
# scanned page of black and white is on gray paper. imagecodecs and Glymur, which have OpenJPEG apply the palette, are
# right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 av==18.1.0 imagecodecs==2026.3.6
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import struct

import av
import imagecodecs
import numpy as np
from PIL import Image

print("Pillow", Image.__version__, "PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info, "imagecodecs",
      imagecodecs.__version__)
HEIGHT, WIDTH = 24, 32


def box(kind, data):
    return struct.pack(">I4s", len(data) + 8, kind) + data


def jp2(numbers, bits, palette=None):
    """A JP2 file without loss, of numbers of colours or of grays."""
    code = imagecodecs.jpeg2k_encode(numbers, level=0, codecformat="j2k", reversible=True, bitspersample=bits)
    header = box(b"ihdr", struct.pack(">IIH4B", *numbers.shape, 1, bits - 1, 7, 0, 0))
    header += box(b"colr", struct.pack(">3BI", 1, 0, 0, 17 if palette is None else 16))
    if palette is not None:
        header += box(b"pclr", struct.pack(">H4B", len(palette), 3, 7, 7, 7) + palette.tobytes())
        header += box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3)))
    return (box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", header)
            + box(b"jp2c", code))


def pillow(name):
    with Image.open(name) as image:
        return np.asarray(image.convert("RGB"))


def ffmpeg(name):
    with av.open(name) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


random = np.random.default_rng(0)
for count in (2, 4, 16, 100, 128, 129, 256):
    bits = (count - 1).bit_length()
    palette = random.integers(1, 256, (count, 3), np.uint8)
    numbers = random.integers(0, count, (HEIGHT, WIDTH)).astype(np.uint8)
    expected = palette[numbers]
    with open("palette.jp2", "wb") as file:
        file.write(jp2(numbers, bits, palette))
    assert np.array_equal(imagecodecs.jpeg2k_decode(open("palette.jp2", "rb").read()), expected)
    moved = numbers.astype(int) << 8 - bits
    for name, read in (("Pillow", pillow), ("FFmpeg", ffmpeg)):
        seen = read("palette.jp2")
        wrong = (seen != expected).any(2)
        black = (seen == 0).all(2)
        print(f"{name}, {count} colours, {bits} bits: wrong pixels, expected 0 %, seen {100 * wrong.mean():.0f} %,",
              f"{100 * black.mean():.0f} % black; pixel 0 expected", *expected[0, 0], "seen", *seen[0, 0])
        inside = moved < count
        assert np.array_equal(seen[inside], palette[moved[inside]]) and black[~inside].all()
        assert wrong.any() == (bits < 8)

for bits in (1, 2, 4, 8):
    white = np.full((HEIGHT, WIDTH), 2 ** bits - 1, np.uint8)
    with open("white.jp2", "wb") as file:
        file.write(jp2(white, bits))
    for name, read in (("Pillow", pillow), ("FFmpeg", ffmpeg)):
        seen = np.unique(read("white.jp2"))
        print(f"{name}, white of {bits} bits: expected 255, seen", *seen)
        assert seen.tolist() == [2 ** bits - 1 << 8 - bits]
END
