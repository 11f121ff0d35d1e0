#!/usr/bin/env bash
# libvips (here in pyvips and sharp): a picture that is enlarged lies half a pixel of the result too far to the right
# and below.
#
# Guess: the mirror image of a picture, enlarged, is the mirror image of the enlarged picture, and the centre stays
# the centre, as when it is made smaller.
#
# Seen with libvips 8.18.7 (pyvips 3.2.0) and sharp 0.35.5: what Pillow gives (OpenCV and scikit-image, too) lies half
# a pixel of the result further left. That is half a pixel of the original for a factor near 1, and a quarter for a
# factor of 2. It is so with every kernel but "nearest" at whole factors, and with `thumbnail_image` and
# `sharp.resize`. Downwards all is in order. The page of `vips_resize` says that it adds 0.5 to the input for the
# centre convention; the 0.5 that is to be taken off the output again is missing. (Issue 4841 of libvips, "Pixel shift
# when upscaling", closed as a question.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 pyvips==3.2.0 "pyvips-binary==8.18.7"
npm install --silent --ignore-scripts --no-audit --no-fund sharp@0.35.5
cat >resize.mjs <<'END'
import sharp from 'sharp';

const width = Number(process.argv[2]);
const ramp = Buffer.from(Array.from({ length: 64 * 16 }, (_, at) => 3 * (at % 64)));
const data = await sharp(ramp, { raw: { width: 64, height: 16, channels: 1 } })
    .resize(width, 16, { fit: 'fill', kernel: 'cubic' }).toColourspace('b-w').raw().toBuffer();
const row = Array.from(data.subarray(width * 8, width * 9));
console.log(JSON.stringify([row, sharp.versions.vips, sharp.versions.sharp]));
END
PYTHONPATH="$work/packages" python3 -W ignore - <<'END'
import json
import subprocess

import numpy as np
import pyvips
from PIL import Image

ramp = np.tile(np.arange(64, dtype=np.float32), (16, 1))
vips = pyvips.Image.new_from_array(ramp)


def shift(row):
    """How far the middle of a ramp lies from where it belongs, in pixels of the result. Positive is to the right."""
    size = len(row)
    belongs = (np.arange(size) + 0.5) * 64 / size - 0.5
    middle = slice(size // 4, -(size // 4))
    return float((belongs - row)[middle].mean() * size / 64)


print("libvips", *(pyvips.version(part) for part in range(3)), "in pyvips", pyvips.__version__)
seen = {}
for width in (48, 80, 96, 128, 200):
    seen["Pillow", width] = shift(np.asarray(Image.fromarray(ramp).resize((width, 16), Image.Resampling.BICUBIC))[8])
    for kernel in ("linear", "cubic", "lanczos3"):
        row = vips.resize(width / 64, vscale=1, kernel=kernel).numpy()[8]
        assert len(row) == width
        seen[f"pyvips, {kernel}", width] = shift(row)
    data, vips_of_sharp, version = json.loads(
        subprocess.run(["node", "resize.mjs", str(width)], check=True, capture_output=True).stdout)
    seen[f"sharp {version}, cubic (libvips {vips_of_sharp})", width] = shift(np.array(data) / 3)
for (name, width), value in seen.items():
    print(f"64 pixels to {width}, {name}: shifted by {value:+.2f} pixels, expected 0")
    moved = "vips" in name and width > 64
    assert abs(value - (0.5 if moved else 0)) < (0.02 if "sharp" not in name else 0.2), (name, width, value)
picture = np.random.default_rng(0).random((16, 24)).astype(np.float32)
for width in (12, 48):
    images = (pyvips.Image.new_from_array(np.ascontiguousarray(array)) for array in (picture, picture[:, ::-1]))
    there, mirrored = (image.resize(width / 24, vscale=1, kernel="cubic").numpy() for image in images)
    difference = float(abs(there - mirrored[:, ::-1]).max())
    print(f"24 pixels to {width}: a mirrored picture differs by up to {difference:.3f}, expected 0")
    assert (difference > 0.1) == (width > 24)
END
