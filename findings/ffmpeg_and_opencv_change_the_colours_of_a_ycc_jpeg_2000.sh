#!/usr/bin/env bash
# FFmpeg (here in PyAV) raises the contrast of a JPEG 2000 picture that is stored as luma and chroma, and OpenCV shows
# its colours too pale or too strong.
#
# Guess: a JP2 file whose colour space is sYCC (number 18) comes out in the colours of JPEG, which stores the same:
# luma from 0 to 255, and red is luma + 1.402 (Cr - 128). So the standard of sYCC (IEC 61966-2-1, amendment 1) has it.
#
# Seen with PyAV 18.1.0 (FFmpeg 8.1.2): luma 16 becomes black and 235 white, as in television, so that everything
# darker and brighter is lost, and grays change by up to 20. The decoder leaves the range of the frame unsaid, which
# stands for that of television. Seen with OpenCV 5.0.0: grays are right; of colours the red is luma + 1.14 (Cr - 128)
# and the blue luma + 2.03 (Cb - 128), which are the numbers for YUV: red is too weak, and blue too strong. There is
# no error. Pillow and imagecodecs are right to 2 levels. JP2 files with fewer samples for chroma than for luma are
# stored so. (In issue 1335 of OpenJPEG somebody holds sYCC for one of television; its own converter does not.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 av==18.1.0 imagecodecs==2026.3.6 opencv-python-headless==5.0.0.93
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import struct

import av
import cv2
import imagecodecs
import numpy as np
from PIL import Image

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info, "OpenCV", cv2.__version__, "Pillow", Image.__version__,
      "imagecodecs", imagecodecs.__version__)


def box(kind, data):
    return struct.pack(">I4s", len(data) + 8, kind) + data


def jp2(samples):
    """A JP2 file without loss, of luma, Cb and Cr."""
    code = imagecodecs.jpeg2k_encode(samples, level=0, codecformat="j2k", reversible=True, mct=False, planar=False)
    header = box(b"ihdr", struct.pack(">IIH4B", *samples.shape, 7, 7, 0, 0))
    header += box(b"colr", struct.pack(">3BI", 1, 0, 0, 18))
    return (box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", header)
            + box(b"jp2c", code))


def ffmpeg(name):
    with av.open(name) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def colours(luma, blue, red, k_red, k_green_blue, k_green_red, k_blue):
    """RGB by these four factors, cut off at 0 and 255."""
    pixels = [luma + k_red * red, luma - k_green_blue * blue - k_green_red * red, luma + k_blue * blue]
    return np.clip(np.stack(pixels, 2), 0, 255)


ramp = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
for cb, cr in ((128, 128), (110, 170), (170, 110)):
    samples = np.dstack([ramp, np.full_like(ramp, cb), np.full_like(ramp, cr)])
    with open("ycc.jp2", "wb") as file:
        file.write(jp2(samples))
    luma, blue, red = ramp.astype(float), np.full(ramp.shape, cb - 128.0), np.full(ramp.shape, cr - 128.0)
    expected = colours(luma, blue, red, 1.402, 0.344136, 0.714136, 1.772)
    television = colours((luma - 16) * 255 / 219, blue * 255 / 224, red * 255 / 224, 1.402, 0.344136, 0.714136, 1.772)
    yuv = colours(luma, blue, red, 1.14, 0.395, 0.581, 2.032)
    with Image.open("ycc.jp2") as image:
        pillow = np.asarray(image.convert("RGB"))
    openjpeg = imagecodecs.jpeg2k_decode(open("ycc.jp2", "rb").read())
    assert np.abs(pillow - expected).max() <= 2 and np.abs(openjpeg - expected).max() <= 2
    for name, seen, explained in (("FFmpeg", ffmpeg("ycc.jp2"), television),
                                  ("OpenCV", cv2.imread("ycc.jp2", cv2.IMREAD_COLOR)[..., ::-1], yuv)):
        far = np.abs(seen - expected).max()
        for place in (10, 48, 128, 240):
            print(f"{name}, luma {place}, Cb {cb}, Cr {cr}: expected",
                  *np.rint(expected[8, place]).astype(int).tolist(),
                  "seen", *seen[8, place].tolist())
        assert np.abs(seen - explained).max() <= 3
        assert far <= 1 if name == "OpenCV" and cb == cr else far >= 10
END
