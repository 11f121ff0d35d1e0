#!/usr/bin/env bash
# libvips (here in pyvips and sharp): a TIFF that holds YCbCr for each pixel is shown as if it held RGB.
#
# Guess: a TIFF with PhotometricInterpretation 6 (YCbCr) comes out as RGB, with whichever compression, as it does with
# JPEG.
#
# Seen with libvips 8.18.7 (pyvips 3.2.0) and sharp 0.35.5: uncompressed, or with LZW, Deflate or PackBits, and with
# as many samples of Cb and Cr as of Y (YCbCrSubSampling 1, 1), the three samples are handed over unchanged as red,
# green and blue: red (255, 0, 0) comes out as (76, 85, 255), and gray as greenish blue. There is no error; the image
# says that it is `srgb`. With subsampled colours (2, 2) and with JPEG the colours are right. Pillow writes the files
# here, and Pillow and GDAL read them right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 pyvips==3.2.0 "pyvips-binary==8.18.7"
npm install --silent --ignore-scripts --no-audit --no-fund sharp@0.35.5
cat >read.mjs <<'END'
import sharp from 'sharp';

const { data } = await sharp(process.argv[2]).raw().toBuffer({ resolveWithObject: true });
console.log(JSON.stringify([Array.from(data.subarray(0, 3)), sharp.versions.vips, sharp.versions.sharp]));
END
PYTHONPATH="$work/packages" python3 -W ignore - <<'END'
import json
import subprocess

import numpy as np
import pyvips
from PIL import Image

RED = [255, 0, 0]
picture = Image.fromarray(np.full((16, 16, 3), RED, np.uint8))
print("libvips", *(pyvips.version(part) for part in range(3)), "in pyvips", pyvips.__version__)
seen = {}
for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
    name = f"{compression}.tif"
    mode = picture if compression == "jpeg" else picture.convert("YCbCr")
    mode.save(name, compression=compression)
    tags = Image.open(name).tag_v2
    assert tags[262] == (2 if compression == "jpeg" else 6), tags[262]
    pillow = np.asarray(Image.open(name).convert("RGB"))[0, 0].astype(int)
    assert abs(pillow - RED).max() < 3, pillow
    vips = pyvips.Image.new_from_file(name)
    assert vips.interpretation == "srgb"
    answer = subprocess.run(["node", "read.mjs", name], check=True, capture_output=True).stdout
    sharp, vips_of_sharp, version = json.loads(answer)
    seen[compression] = (vips(0, 0), sharp)
    print(f"{compression}: Pillow {pillow.tolist()}, pyvips {vips(0, 0)}, sharp {version} ({vips_of_sharp}) {sharp}")
for compression, (vips, sharp) in seen.items():
    expected = [76, 85, 255] if compression != "jpeg" else RED
    for found in (vips, sharp):
        assert abs(np.subtract(found, expected)).max() < 3, (compression, vips, sharp)
END
