#!/usr/bin/env bash
# kornia_rs: a TIFF whose colours lie in planes comes out as a gray picture three times, and a PNG with a palette as the
# numbers of its palette.
#
# Guess: `kornia_rs.io.read_image` and `Image.open`, whose `mode` is "RGB" unless another is asked for, give the
# picture's colours, as Pillow and tifffile do, or refuse the file.
#
# Seen with kornia-rs 0.2.0, without a word:
# - Of a TIFF with PlanarConfiguration 2 (planes; scanners, microscopes and libvips write them) the array has the right
#   shape, (rows, columns, 3), and the bytes of the planes in a row: the upper third is made of red alone, three
#   neighbouring pixels to a pixel, then come green and blue. So it is with 8 and 16 bits and with floating point. The
#   same pixels one after the other are read right.
# - Of a PNG with a palette of 8 bits it gives one channel with the numbers of the colours, as if these were gray.
#   `to_rgb()` makes them gray for good; the colours are nowhere to be had. A palette of 4 bits, and palettes in TIFFs,
#   are refused.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 tifffile==2026.3.3 kornia-rs==0.2.0
cd "$work"
PYTHONPATH="$work/packages" python3 -W error - <<'END'
from importlib.metadata import version

import numpy as np
import tifffile
from kornia_rs import io
from kornia_rs.image import Image as KorniaImage
from PIL import Image

print(*(f"{name} {version(name)}" for name in ("kornia-rs", "tifffile", "pillow")))
y, x = np.mgrid[:6, :9]
colours = np.stack([10 * x, 200 + 5 * y, 100 - 3 * x], axis=-1).astype(np.uint8)
for kind in (np.uint8, np.uint16, np.float32):
    pixels = colours.astype(kind)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    tifffile.imwrite("pixels.tif", pixels, photometric="rgb")
    tifffile.imwrite("planes.tif", planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(np.asarray(io.read_image("pixels.tif")), pixels)
    seen = np.asarray(io.read_image("planes.tif"))
    print(f"planes of {np.dtype(kind)}, row 0, column 1: expected {pixels[0, 1].tolist()}, seen {seen[0, 1].tolist()}")
    assert seen.shape == pixels.shape and seen.dtype == pixels.dtype
    assert np.array_equal(seen.ravel(), planes.ravel())

Image.fromarray(colours).quantize(40).save("palette.png")
with Image.open("palette.png") as opened:
    numbers, expected = np.asarray(opened), np.asarray(opened.convert("RGB"))
    assert opened.mode == "P"
seen = np.asarray(io.read_image("palette.png"))
as_rgb = KorniaImage.open("palette.png", mode="RGB").to_rgb().numpy()
print(f"palette: expected {expected[2, 5].tolist()} at row 2, column 5, seen {seen[2, 5].tolist()},",
      f"as RGB {as_rgb[2, 5].tolist()}, the number in the palette is {numbers[2, 5]}")
assert seen.shape == (6, 9, 1) and np.array_equal(seen[..., 0], numbers)
assert np.array_equal(as_rgb, np.repeat(seen, 3, axis=2)) and not np.array_equal(as_rgb, expected)
Image.fromarray(colours).save("colours.png")
assert np.array_equal(np.asarray(io.read_image("colours.png")), colours)
END
