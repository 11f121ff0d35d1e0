#!/usr/bin/env bash
# SimpleITK: of a gray TIFF with alpha the left half is shown, twice as wide, with an alpha value after each gray one.
#
# Guess: gray with an alpha channel comes out with two components for each pixel, or without alpha, or is refused; and
# a TIFF of halves (float16) comes out as floats, or is refused.
#
# Seen with SimpleITK 2.5.7: the image has the right size and one component, and each row is the first bytes of the
# row in the file: gray, alpha, gray, alpha. The right half of the picture is gone. So it is with 8 and 16 bits, as
# Pillow saves mode LA. Halves come out as the whole numbers that their bits are: 1.0 is 15360. There is no error and
# no warning. A PNG of gray with alpha is refused; RGB with alpha in a TIFF and floats of 32 bits are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 simpleitk==2.5.7 pillow==13.0.0 tifffile==2026.3.3
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import numpy as np
import SimpleITK
import tifffile
from PIL import Image

print("SimpleITK", SimpleITK.__version__)
GRAY, ALPHA = np.array([[10, 20, 30, 40, 50, 60]] * 4), np.full((4, 6), 255)


def read(name):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(name))


pixels = np.dstack([GRAY, ALPHA]).astype(np.uint8)
Image.fromarray(pixels).save("gray and alpha.tif")
Image.fromarray(pixels).save("gray and alpha.png")
try:
    read("gray and alpha.png")
    raise SystemExit("the PNG was read")
except RuntimeError as error:
    print("gray and alpha.png: refused,", str(error).splitlines()[-1])
tifffile.imwrite("16 bits.tif", pixels.astype(np.uint16), photometric="minisblack", planarconfig="contig",
                 extrasamples=["unassalpha"])
Image.fromarray(np.dstack([GRAY, GRAY, GRAY, ALPHA]).astype(np.uint8)).save("colour and alpha.tif")
first = {}
for name in ("gray and alpha.tif", "16 bits.tif", "colour and alpha.tif"):
    array = read(name)
    assert array.shape[:2] == (4, 6)
    first[name] = (array.reshape(4, 6, -1)[0, :, 0].tolist(), array.ndim)
    print(f"{name}: shape {array.shape}, first row expected {GRAY[0].tolist()}, seen {first[name][0]}")
for dtype in ("float32", "float16"):
    tifffile.imwrite(f"{dtype}.tif", np.array([[0, 0.5, 1, 2]] * 3, dtype), photometric="minisblack")
    array = read(f"{dtype}.tif")
    first[dtype] = (array[0].tolist(), str(array.dtype))
    print(f"{dtype}: expected [0.0, 0.5, 1.0, 2.0], seen {array[0].tolist()}")
halves = ([10, 255, 20, 255, 30, 255], 2)
assert first == {"gray and alpha.tif": halves, "16 bits.tif": halves,
                 "colour and alpha.tif": (GRAY[0].tolist(), 3),
                 "float32": ([0, 0.5, 1, 2], "float32"), "float16": ([0, 14336, 15360, 16384], "uint16")}, first
END
