#!/usr/bin/env bash
# geotiff (for JavaScript): a big-endian TIFF of 16 or 32 bits that was compressed with a predictor comes out with
# wrong values.
#
# Guess: the byte order of a TIFF makes no difference to its pixels, however it is compressed.
#
# Seen with geotiff 3.0.5 (the newest): with Predictor 2 (each sample less the one before) a big-endian file of more
# than 8 bits comes out wrong wherever a sum is carried from one byte into the next, and there is no error. The same
# picture in a little-endian file, without a predictor, or with 8 bits is right. GDAL writes the files here; it and
# tifffile read them. (`applyPredictor` in `predictor.js` adds up the samples through a `Uint16Array`, which has the
# byte order of the machine, before anything looks at that of the file.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 rasterio==1.4.4 tifffile==2026.3.3 imagecodecs==2026.3.6
npm install --silent --ignore-scripts --no-audit --no-fund geotiff@3.0.5
PYTHONPATH="$work/packages" python3 -W ignore - <<'END'
import numpy as np
import rasterio
import tifffile

print("GDAL", rasterio.__gdal_version__)
for bits in (8, 16, 32):
    samples = (np.arange(48, dtype=np.uint64).reshape(6, 8) * (2**bits // 48)).astype(f"uint{bits}")
    for order in ("LITTLE", "BIG"):
        for predictor in (1, 2):
            name = f"{bits}-{order}-{predictor}.tif"
            with rasterio.open(name, "w", driver="GTiff", width=8, height=6, count=1, dtype=samples.dtype,
                               compress="deflate", predictor=predictor, ENDIANNESS=order) as file:
                file.write(samples, 1)
            assert open(name, "rb").read(2) == (b"II" if order == "LITTLE" else b"MM")
            assert np.array_equal(rasterio.open(name).read(1), samples)
            assert np.array_equal(tifffile.imread(name), samples)
END
cat >read.mjs <<'END'
import assert from 'node:assert';
import fs from 'node:fs';
import { fromArrayBuffer } from 'geotiff';

console.log('geotiff', JSON.parse(fs.readFileSync('node_modules/geotiff/package.json')).version);
const wrong = [];
for (const bits of [8, 16, 32]) {
    for (const order of ['LITTLE', 'BIG']) {
        for (const predictor of [1, 2]) {
            const bytes = new Uint8Array(fs.readFileSync(`${bits}-${order}-${predictor}.tif`));
            const image = await (await fromArrayBuffer(bytes.buffer)).getImage();
            const seen = Array.from((await image.readRasters())[0]);
            const expected = Array.from({ length: 48 }, (_, at) => at * Math.floor(2 ** bits / 48));
            const name = `${bits} bits, ${order.toLowerCase()} endian, predictor ${predictor}`;
            console.log(`${name}: expected ${expected.slice(0, 5).join(' ')}, seen ${seen.slice(0, 5).join(' ')}`);
            if (seen.some((value, at) => value !== expected[at])) wrong.push(name);
        }
    }
}
assert.deepEqual(wrong, ['16 bits, big endian, predictor 2', '32 bits, big endian, predictor 2']);
END
node read.mjs
