#!/usr/bin/env bash
# parse-exr: an OpenEXR whose blocks are stored from the bottom comes out some rows too low, with its last rows lost.
#
# Guess: the attribute lineOrder says in which order the blocks of rows lie in the file, for programs that render from
# the bottom. Each block names its first row, so that the picture is the same.
#
# Seen with parse-exr 1.0.2 (the newest): with DECREASING_Y and a compression that packs several rows into a block (ZIP
# and PIZ here), a picture of 37 rows comes out 4 rows too low: 4 rows of white (1.0) are above it, and its last 4 rows
# are gone. There is no error. Without compression, with RLE and ZIPS (1 row for a block) and with INCREASING_Y the
# picture is right. three (EXRLoader) and OpenEXR read all of the files here right. (The blocks are taken in the
# order of the file, and `scanOrder` turns their rows over as if all of them had the same number of rows.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 openexr==3.5.3
npm install --silent --ignore-scripts --no-audit --no-fund parse-exr@1.0.2 three@0.187.0
PYTHONPATH="$work/packages" python3 - <<'END_OF_PYTHON'
import numpy as np
import OpenEXR

print("OpenEXR", OpenEXR.__version__)
rows = np.repeat(np.arange(37, dtype=np.float32), 8).reshape(37, 8)
for order in ("INCREASING_Y", "DECREASING_Y"):
    for compression in ("NO", "RLE", "ZIPS", "ZIP", "PIZ"):
        header = {"compression": getattr(OpenEXR, compression + "_COMPRESSION"), "type": OpenEXR.scanlineimage,
                  "lineOrder": getattr(OpenEXR, order)}
        name = f"{order} {compression}.exr"
        with OpenEXR.File(header, {channel: rows for channel in "RGB"}) as file:
            file.write(name)
        with OpenEXR.File(name) as file:
            assert np.array_equal(file.channels()["RGB"].pixels[..., 0], rows)
END_OF_PYTHON
cat >read.mjs <<'END_OF_JS'
import assert from 'node:assert';
import fs from 'node:fs';
import parseExr from 'parse-exr';
import { FloatType } from 'three';
import { EXRLoader } from 'three/examples/jsm/loaders/EXRLoader.js';

console.log('parse-exr', JSON.parse(fs.readFileSync('node_modules/parse-exr/package.json')).version);
const expected = Array.from({ length: 37 }, (_, y) => y);

/** The red of each row of what a reader gives, which begins with the lowest row. */
function rows({ width, height, data }) {
    const channels = data.length / width / height;
    return expected.map((y) => data[(height - 1 - y) * width * channels]);
}

for (const file of fs.readdirSync('.').filter((name) => name.endsWith('.exr')).sort()) {
    const bytes = new Uint8Array(fs.readFileSync(file)).buffer;
    assert.deepEqual(rows(new EXRLoader().setDataType(FloatType).parse(bytes.slice())), expected, file);
    const seen = rows(parseExr(bytes, FloatType));
    console.log(`${file}: rows ${seen.join(' ')}`);
    if (/^DECREASING.*(ZIP|PIZ)\.exr$/.test(file)) assert.deepEqual(seen, [1, 1, 1, 1, ...expected.slice(0, 33)], file);
    else assert.deepEqual(seen, expected, file);
}
END_OF_JS
node read.mjs
