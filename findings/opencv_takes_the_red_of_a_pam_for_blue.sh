#!/usr/bin/env bash
# OpenCV: red and blue of a PAM come out exchanged.
#
# Guess: `cv2.imread` gives blue, green, red for a PAM (P7) whose header says `TUPLTYPE RGB`, as it does for every
# other format.
#
# Seen with OpenCV 5.0.0: it gives red, green, blue, with 8 and 16 bits, with `IMREAD_UNCHANGED` and with
# `IMREAD_COLOR`, so that what FFmpeg (PyAV) writes has red and blue exchanged. With alpha (`RGB_ALPHA`) it depends on
# the flag: `IMREAD_COLOR` is right and `IMREAD_UNCHANGED` is not. There is no error. The same picture as PPM is
# right. (The decoder in `grfmt_pam.cpp` copies the samples where their number stays. The encoder writes blue first,
# so that a test of both together passes.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 opencv-python-headless==5.0.0.93 av==18.1.0
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
from fractions import Fraction

import av
import cv2
import numpy as np

ORANGE = [250, 120, 10]


def pam(pixels, largest, kind):
    header = (f"P7\nWIDTH {pixels.shape[1]}\nHEIGHT {pixels.shape[0]}\nDEPTH {pixels.shape[2]}\nMAXVAL {largest}\n"
              f"TUPLTYPE {kind}\nENDHDR\n")
    return header.encode() + pixels.astype("u1" if largest < 256 else ">u2").tobytes()


def written_by_ffmpeg(pixels):
    encoder = av.CodecContext.create("pam", "w")
    encoder.height, encoder.width = pixels.shape[:2]
    encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1)
    return b"".join(bytes(packet) for packet in encoder.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))


def red_green_blue(file, flag):
    picture = cv2.imdecode(np.frombuffer(file, np.uint8), flag)
    return (picture[0, 0, 2::-1] // (257 if picture.dtype == np.uint16 else 1)).tolist()


colour = np.full((3, 5, 3), ORANGE, np.uint8)
alpha = np.dstack([colour, np.full((3, 5), 255, np.uint8)])
files = {"RGB": pam(colour, 255, "RGB"), "RGB_ALPHA": pam(alpha, 255, "RGB_ALPHA"),
         "RGB, 16 bits": pam(colour.astype(int) * 257, 65535, "RGB"), "RGB of FFmpeg": written_by_ffmpeg(colour)}
print("OpenCV", cv2.__version__, "PyAV", av.__version__)
assert b"TUPLTYPE RGB\n" in files["RGB of FFmpeg"]
seen = {}
for name, file in files.items():
    for flag in ("IMREAD_UNCHANGED", "IMREAD_COLOR"):
        seen[name, flag] = red_green_blue(file, getattr(cv2, flag))
        print(f"PAM, {name}, {flag}: red, green, blue expected {ORANGE}, seen {seen[name, flag]}")
ppm = bytes(cv2.imencode(".ppm", np.ascontiguousarray(colour[..., ::-1]))[1])
print(f"PPM: red, green, blue expected {ORANGE}, seen {red_green_blue(ppm, cv2.IMREAD_COLOR)}")
assert red_green_blue(ppm, cv2.IMREAD_COLOR) == ORANGE
for (name, flag), value in seen.items():
    right = (name, flag) == ("RGB_ALPHA", "IMREAD_COLOR")
    assert value == (ORANGE if right else ORANGE[::-1]), (name, flag, value)
END
