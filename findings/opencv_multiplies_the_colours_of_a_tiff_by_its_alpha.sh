#!/bin/sh
# OpenCV: a TIFF that is read `IMREAD_UNCHANGED` is changed where it is transparent; the same picture as PNG is not.
#
# Guess: `cv2.imread(path, cv2.IMREAD_UNCHANGED)` gives the samples of the file, and `IMREAD_COLOR` its colours without the
# alpha channel, whatever the format is that a picture was saved in without loss.
#
# Seen with OpenCV 5.0.0: of a TIFF with 8 bits and an ordinary alpha channel (ExtraSamples 2, as Pillow writes it) the colours
# come out multiplied by alpha, with both flags: what is transparent is black. Gray with alpha comes without its alpha. With 16
# bits, `IMREAD_UNCHANGED` is right and `IMREAD_COLOR` is not; and a TIFF whose colours were multiplied before is left as it is.
# PNG, WebP and JPEG 2000 come out as they were saved. (`TiffDecoder::readData` in `grfmt_tiff.cpp` has libtiff make RGBA of all
# that is to have 8 bits, and libtiff multiplies.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 opencv-python-headless==5.0.0.93 pillow==13.0.0 tifffile==2026.3.3
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import cv2
import numpy as np
import tifffile
from PIL import Image

COLOUR = [200, 100, 50]
pixels = np.array([[COLOUR + [alpha] for alpha in (255, 128, 64, 0)]], np.uint8)
picture = Image.fromarray(pixels)
picture.save("picture.png")
picture.save("picture.webp", lossless=True, exact=True)
picture.save("picture.jp2")
picture.save("picture.tif")
picture.save("lzw.tif", compression="tiff_lzw")
tifffile.imwrite("16 bits.tif", pixels.astype(np.uint16) * 257, photometric="rgb", extrasamples=["unassalpha"])
gray = np.stack([pixels[..., 0], pixels[..., 3]], 2)
Image.fromarray(gray, "LA").save("gray.png")
tifffile.imwrite("gray.tif", gray, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"])

print("OpenCV", cv2.__version__)
changed = {}
for name in ("picture.png", "picture.webp", "picture.jp2", "picture.tif", "lzw.tif", "16 bits.tif"):
    unchanged = cv2.cvtColor(cv2.imread(name, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
    colour = cv2.cvtColor(cv2.imread(name, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.array_equal(np.asarray(Image.open(name).convert("RGBA"))[0, :3] if "16" not in name else pixels[0, :3],
                          pixels[0, :3])
    if unchanged.dtype == np.uint16:
        unchanged = (unchanged // 257).astype(np.uint8)
    changed[name] = (not np.array_equal(unchanged, pixels), not np.array_equal(colour, pixels[..., :3]))
    print(f"{name}: alpha of a half, unchanged {unchanged[0, 1].tolist()}, colour {colour[0, 1].tolist()}")
shapes = {name: cv2.imread(name, cv2.IMREAD_UNCHANGED).shape for name in ("gray.png", "gray.tif")}
print("gray with alpha:", *(f"{name} {shape}" for name, shape in shapes.items()))
assert changed == {"picture.png": (False, False), "picture.webp": (False, False), "picture.jp2": (False, False),
                   "picture.tif": (True, True), "lzw.tif": (True, True), "16 bits.tif": (False, True)}, changed
assert shapes == {"gray.png": (1, 4, 4), "gray.tif": (1, 4)}, shapes
END
