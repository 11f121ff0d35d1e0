#!/usr/bin/env bash
# libvips (here in pyvips and sharp): of a TIFF with gray and alpha in two planes each row but the first comes from
# the wrong place.
#
# Guess: PlanarConfiguration 2 (all gray samples, then all alpha samples) gives the same picture as
# PlanarConfiguration 1, as it does for red, green and blue.
#
# Seen with libvips 8.18.7 (pyvips 3.2.0) and sharp 0.35.5: the rows of the two planes come out shuffled into each
# other: row 1 of gray is row 0 of alpha, row 2 of gray is row 1 of gray, and the lower half of both planes is never
# shown. There is no error. It is so with 8 and 16 bits and with floats; of halves (float16) RGB is wrong, too. With
# PlanarConfiguration 1 gray and alpha are right, and so is RGB in three planes. tifffile writes such files when it is
# given an array of shape (2, height, width).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 tifffile==2026.3.3 pyvips==3.2.0 "pyvips-binary==8.18.7"
npm install --silent --ignore-scripts --no-audit --no-fund sharp@0.35.5
cat >read.mjs <<'END'
import sharp from 'sharp';

const { data, info } = await sharp(process.argv[2]).raw().toBuffer({ resolveWithObject: true });
console.log(JSON.stringify([Array.from(data), info.channels, sharp.versions.vips, sharp.versions.sharp]));
END
PYTHONPATH="$work/packages" python3 -W ignore - <<'END'
import json
import subprocess

import numpy as np
import pyvips
import tifffile

HEIGHT, WIDTH = 4, 3
print("libvips", *(pyvips.version(part) for part in range(3)), "in pyvips", pyvips.__version__)
right = {}
for dtype in ("uint8", "uint16", "float16", "float32"):
    for channels, photometric, extra in ((2, "minisblack", ["unassalpha"]), (3, "rgb", None)):
        # Row y of plane c holds 100 c + y + 1.
        values = np.arange(channels)[:, None, None] * 100 + np.arange(1, HEIGHT + 1)[:, None]
        planes = np.repeat(values, WIDTH, 2).astype(dtype)
        for planar in ("contig", "separate"):
            array = planes if planar == "separate" else np.ascontiguousarray(np.moveaxis(planes, 0, 2))
            path = f"{dtype}-{channels}-{planar}.tif"
            tifffile.imwrite(path, array, photometric=photometric, planarconfig=planar, extrasamples=extra)
            assert np.array_equal(tifffile.imread(path), array)
            found = np.moveaxis(pyvips.Image.new_from_file(path).numpy(), 2, 0)
            name = f"{channels} channels of {dtype}, {planar}"
            right[name] = bool(np.array_equal(found, planes))
            if dtype == "uint8":
                data, bands, vips, version = json.loads(
                    subprocess.run(["node", "read.mjs", path], check=True, capture_output=True).stdout)
                sharp = np.array(data).reshape(HEIGHT, WIDTH, bands)
                # Of gray and alpha sharp makes RGB and alpha.
                assert np.array_equal(sharp[..., 0], found[0]) and np.array_equal(sharp[..., -1], found[-1])
                name += f" (sharp {version} with libvips {vips} the same)"
            print(f"{name}: rows of gray or red, expected {planes[0, :, 0].tolist()}, seen {found[0, :, 0].tolist()}")
wrong = {name for name, as_it_is in right.items() if not as_it_is}
assert wrong == {"2 channels of uint8, separate", "2 channels of uint16, separate", "2 channels of float16, separate",
                 "2 channels of float32, separate", "3 channels of float16, separate"}, wrong
END
