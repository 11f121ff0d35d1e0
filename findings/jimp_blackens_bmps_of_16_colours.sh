#!/usr/bin/env bash
# jimp: a BMP of 16 colours whose width is odd is black, but for its last row.
#
# Guess: a BMP with 4 bits for a pixel and no compression comes out the same for every width. An odd width leaves 4
# bits of the last byte of a row unused.
#
# Seen with jimp 1.6.1 (the newest, with bmp-ts 1.0.9): with an odd width the last row of the picture, which a BMP
# holds first, comes out right. All rows above it are black (0, 0, 0 and opaque). There is no error. Even widths, the
# same pixels with 8 bits or with RLE4 are right. (`bit4` in bmp-ts's `decoder.js` answers `false` when it meets the
# unused 4 bits, and `scanImage` takes that as the end of the whole picture, not of the row.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund jimp@1.6.1 bmp-ts@1.0.9
cat >read.mjs <<'END'
import assert from 'node:assert';
import fs from 'node:fs';
import { Jimp } from 'jimp';

const HEIGHT = 5;

/** An uncompressed BMP in which each pixel has the colour with the number of its row, 1 to 5. */
function bmp(width, bits) {
    const stride = Math.ceil((width * bits) / 32) * 4;
    const palette = Buffer.alloc(4 << bits);
    for (let index = 0; index < 16; index++) palette.fill(10 * index, 4 * index, 4 * index + 3);
    const rows = Buffer.alloc(stride * HEIGHT);
    for (let y = 0; y < HEIGHT; y++) {
        for (let x = 0; x < width; x++) {
            const at = (HEIGHT - 1 - y) * stride + (bits === 8 ? x : x >> 1);
            rows[at] |= (y + 1) << (bits === 8 || x & 1 ? 0 : 4);
        }
    }
    const header = Buffer.alloc(54);
    header.write('BM', 'latin1');
    header.writeUInt32LE(54 + palette.length + rows.length, 2);
    header.writeUInt32LE(54 + palette.length, 10);
    [40, width, HEIGHT].forEach((value, number) => header.writeInt32LE(value, 14 + 4 * number));
    header.writeUInt16LE(1, 26);
    header.writeUInt16LE(bits, 28);
    header.writeUInt32LE(rows.length, 34);
    return Buffer.concat([header, palette, rows]);
}

for (const name of ['jimp', 'bmp-ts']) {
    console.log(name, JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version);
}
const expected = [10, 20, 30, 40, 50];
const seen = {};
for (const bits of [4, 8]) {
    for (const width of [8, 9, 10, 11, 301]) {
        const image = await Jimp.fromBuffer(bmp(width, bits));
        assert.deepEqual([image.width, image.height], [width, HEIGHT]);
        const rows = expected.map((_, y) => {
            const row = Array.from({ length: width }, (__, x) => image.bitmap.data[(y * width + x) * 4]);
            assert(row.every((value) => value === row[0]));
            return row[0];
        });
        seen[`${bits} bits, ${width} wide`] = rows;
        console.log(`${bits} bits, ${width} wide: expected rows of ${expected.join(' ')}, seen ${rows.join(' ')}`);
    }
}
for (const [name, rows] of Object.entries(seen)) {
    const odd = name.startsWith('4') && !/(8|10) wide/.test(name);
    assert.deepEqual(rows, odd ? [0, 0, 0, 0, 50] : expected, name);
}
END
node read.mjs
