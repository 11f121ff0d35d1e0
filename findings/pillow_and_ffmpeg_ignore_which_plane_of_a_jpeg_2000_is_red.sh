#!/usr/bin/env bash
# Pillow shows red as blue in a JPEG 2000 picture that stores blue first, and Pillow and FFmpeg (here in PyAV) take an
# alpha plane that is stored first for a colour.
#
# Guess: a JP2 file says in its box of channel definitions ("cdef") which plane is red, which is green, which is blue
# and which is alpha, and readers that know JP2 obey it.
#
# Seen with Pillow 13.0.0 and PyAV 18.1.0 (FFmpeg 8.1.2): Pillow gives the planes in the order in which they are
# stored, in RGB, RGBA and LA. FFmpeg obeys the order of the colours and not that of alpha: where alpha comes first,
# its colours are right and its alpha is 0, so that the whole picture is transparent. There is no error. imagecodecs
# and Glymur, which have OpenJPEG decode the whole picture, obey the box in all of them; Pillow takes single tiles
# from OpenJPEG, which does not apply it to these. By issue 27 of OpenJPEG one of the standard's own test files stores
# its planes from the last to the first.
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


def jp2(pixels, order):
    """A JP2 file without loss, whose planes are stored in this order and are named in it."""
    stored = np.ascontiguousarray(pixels[..., order])
    height, width, planes = stored.shape
    code = imagecodecs.jpeg2k_encode(stored, level=0, codecformat="j2k", reversible=True, mct=False, planar=False)
    header = box(b"ihdr", struct.pack(">IIH4B", height, width, planes, 7, 7, 0, 0))
    header += box(b"colr", struct.pack(">3BI", 1, 0, 0, 17 if planes == 2 else 16))
    # For each plane its number, its type (0 a colour, 1 alpha) and which colour it is, from 1.
    is_alpha = [planes in (2, 4) and channel == planes - 1 for channel in order]
    entries = [(plane, int(alpha), 0 if alpha else channel + 1)
               for plane, (channel, alpha) in enumerate(zip(order, is_alpha))]
    header += box(b"cdef", struct.pack(">H", planes) + b"".join(struct.pack(">3H", *entry) for entry in entries))
    return (box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", header)
            + box(b"jp2c", code))


def pillow(name, channels):
    with Image.open(name) as image:
        assert len(image.mode) == channels
        return np.asarray(image)


def ffmpeg(name, channels):
    with av.open(name) as container:
        pixels = next(container.decode(video=0)).to_ndarray(format="rgba")
    return pixels[..., [0, 3]] if channels == 2 else pixels[..., :channels]


random = np.random.default_rng(0)
pillow_wrong, ffmpeg_wrong = set(), set()
for names, order in (("RGB", "RGB"), ("RGB", "BGR"), ("RGBA", "RGBA"), ("RGBA", "BGRA"), ("RGBA", "ARGB"),
                     ("LA", "LA"), ("LA", "AL")):
    pixels = random.integers(1, 256, (HEIGHT, WIDTH, len(names)), np.uint8)
    with open("planes.jp2", "wb") as file:
        file.write(jp2(pixels, [names.index(letter) for letter in order]))
    assert np.array_equal(imagecodecs.jpeg2k_decode(open("planes.jp2", "rb").read()), pixels)
    for name, read, wrong in (("Pillow", pillow, pillow_wrong), ("FFmpeg", ffmpeg, ffmpeg_wrong)):
        seen = read("planes.jp2", len(names))
        print(f"{name}, stored as {order}: pixel 0 as {names}: expected", *pixels[0, 0], "seen", *seen[0, 0])
        if not np.array_equal(seen, pixels):
            wrong.add(order)
            if name == "Pillow":
                assert np.array_equal(seen, pixels[..., [names.index(letter) for letter in order]])
            else:
                assert np.array_equal(seen[..., :-1], pixels[..., :-1]) and not seen[..., -1].any()
assert pillow_wrong == {"BGR", "BGRA", "ARGB", "AL"}, pillow_wrong
assert ffmpeg_wrong == {"ARGB", "AL"}, ffmpeg_wrong
END
