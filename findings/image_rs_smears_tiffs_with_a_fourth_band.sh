#!/usr/bin/env bash
# image-tiff (Rust; here in kornia-rs and @napi-rs/image): a TIFF of red, green, blue and a fourth band that is
# compressed with a predictor comes out with its colours mixed up.
#
# Guess: the fourth sample of a pixel (ExtraSamples 0, such as near infrared) is left out, and red, green and blue are
# right.
#
# Seen with kornia-rs 0.2.0 and @napi-rs/image 1.15.0 (both with the crate `tiff` 0.11.3): without compression, and
# with compression alone, the colours are right. With LZW or Deflate and Predictor 2, as large pictures are often
# written, the first pixel of a row is right and the rest is not. There is no error. Pillow and GDAL read the same
# files right. (`expand_chunk` in `decoder/image.rs` leaves the fourth samples out first, and then adds up the
# differences of what is left, with a step of 4 samples.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 rasterio==1.4.4 pillow==13.0.0 kornia-rs==0.2.0
npm install --silent --ignore-scripts --no-audit --no-fund @napi-rs/image@1.15.0
cat >read.mjs <<'END'
import fs from 'node:fs';
import { Transformer } from '@napi-rs/image';

const picture = new Transformer(fs.readFileSync(process.argv[2]));
fs.writeFileSync(process.argv[3], picture.rawPixelsSync());
END
PYTHONPATH="$work/packages" python3 -W ignore - <<'END'
import json
import subprocess

import kornia_rs
import numpy as np
import rasterio
from PIL import Image
from importlib.metadata import version

pixels = np.empty((6, 8, 4), np.uint8)
pixels[:] = [200, 100, 50, 150]
print("kornia-rs", version("kornia-rs"), "@napi-rs/image",
      json.load(open("node_modules/@napi-rs/image/package.json"))["version"], "GDAL", rasterio.__gdal_version__)
right = {}
for compression, predictor in (("none", 1), ("lzw", 1), ("lzw", 2), ("deflate", 2)):
    with rasterio.open("bands.tif", "w", driver="GTiff", width=8, height=6, count=4, dtype="uint8", photometric="rgb",
                       alpha="no", compress=compression, predictor=predictor) as file:
        file.write(np.moveaxis(pixels, 2, 0))
    assert np.array_equal(np.asarray(Image.open("bands.tif").convert("RGB")), pixels[..., :3])
    assert np.array_equal(np.moveaxis(rasterio.open("bands.tif").read(), 0, 2), pixels)
    subprocess.run(["node", "read.mjs", "bands.tif", "bands.raw"], check=True)
    seen = {"kornia-rs": np.asarray(kornia_rs.read_image("bands.tif")),
            "@napi-rs/image": np.frombuffer(open("bands.raw", "rb").read(), np.uint8).reshape(6, 8, -1)}
    for name, picture in seen.items():
        right[name, compression, predictor] = np.array_equal(picture, pixels[..., :3])
        print(f"{name}, {compression}, predictor {predictor}: a picture of [200, 100, 50] alone begins with "
              f"{picture[0, :4].tolist()}")
assert right == {(name, compression, predictor): predictor == 1 for name in ("kornia-rs", "@napi-rs/image")
                 for compression, predictor in (("none", 1), ("lzw", 1), ("lzw", 2), ("deflate", 2))}, right
END
