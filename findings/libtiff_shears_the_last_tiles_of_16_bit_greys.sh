#!/usr/bin/env bash
# libtiff (here in OpenCV and SimpleITK): a gray TIFF of 16 bits in tiles comes out with its last column of tiles
# sheared, when it is read as 8 bits.
#
# Guess: `cv2.imread(path)`, which gives 8 bits for each colour, gives the upper 8 bits of each sample, whether the
# TIFF is stored in strips or in tiles.
#
# Seen with OpenCV 5.0.0 (libtiff 4.7.1) and SimpleITK 2.5.7: where the width is no multiple of the width of a tile,
# the part of each row that lies in the last tile is taken from the wrong place, further back with each row of the
# tile; the unused pixels at the end of the tile come into the picture. A picture narrower than a tile is sheared all
# over. There is no error. Strips, 8 bits, colour, and `IMREAD_UNCHANGED` are right. SimpleITK warns
# that it reads with 8 bits ("Data loss"), and not that other pixels come. (`put16bitbwtile` in `tif_getimage.c` goes
# on by `fromskew` bytes at the end of a row, where it should be as many samples of 2 bytes, so that all that calls
# `TIFFReadRGBAImage`, `TIFFReadRGBATile` and the like gets such pixels.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 opencv-python-headless==5.0.0.93 simpleitk==2.5.7 tifffile==2026.3.3
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import cv2
import numpy as np
import SimpleITK
import tifffile

print("OpenCV", cv2.__version__, [line.strip() for line in cv2.getBuildInformation().splitlines() if "TIFF:" in line])
print("SimpleITK", SimpleITK.Version.VersionString())
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
# Each row is brighter than the one above it by 1 of 255; 40 pixels wide.
rows = np.arange(48, dtype=np.uint16)
gray = np.repeat(rows[:, None] * 1280, 40, axis=1) + np.arange(40, dtype=np.uint16) * 16
upper = (gray >> 8).astype(np.uint8)
for name, tile, samples, first in (("strips", None, gray, 40), ("tiles of 16", (16, 16), gray, 32),
                                   ("tiles of 48", (48, 48), gray, 0), ("tiles of 16, 8 bits", (16, 16), upper, 40),
                                   ("tiles of 16, colour", (16, 16), np.stack([gray] * 3, -1), 40)):
    tifffile.imwrite("picture.tif", samples, tile=tile, photometric="rgb" if samples.ndim == 3 else "minisblack")
    assert np.array_equal(tifffile.imread("picture.tif"), samples)
    assert np.array_equal(cv2.imread("picture.tif", cv2.IMREAD_UNCHANGED), samples)
    readers = {"OpenCV, colour": cv2.imread("picture.tif")[..., 0],
               "OpenCV, gray": cv2.imread("picture.tif", cv2.IMREAD_GRAYSCALE)}
    if tile and samples is gray:
        readers["SimpleITK"] = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("picture.tif"))[..., 0]
    for reader, seen in readers.items():
        # A rounding by 1 is no difference.
        wrong = np.abs(seen.astype(int) - upper) > 1
        columns = np.flatnonzero(wrong.any(0))
        print(f"{name}, {reader}: {wrong.mean():.0%} of the pixels wrong; row 3, last columns: "
              f"expected {upper[3, 32:].tolist()}, seen {seen[3, 32:].tolist()}")
        assert columns.tolist() == list(range(first, 40))
END
