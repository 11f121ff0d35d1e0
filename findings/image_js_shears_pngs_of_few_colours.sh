#!/usr/bin/env bash
# image-js: a PNG with less than 8 bits for a pixel comes out sheared, or black, for most widths.
#
# Guess: `decode` gives the pixels of a PNG whatever its bit depth is. Each row of a PNG begins with a new byte.
#
# Seen with image-js 1.7.0 (the newest): of a palette with 1, 2 or 4 bits the rows are read as if they followed each
# other without the unused bits at their ends, so that each row of a width that does not fill its last byte begins
# some pixels later than the one before: straight lines become slanted ones. Black and white (1 bit, no palette) comes
# out right for no width of 8 or more: where it is a multiple of 8, the first 8 pixels of each row are left out and
# all others move to the front; else only the first `width % 8` pixels of the first byte are kept. A picture 8 pixels
# wide is black. There is no error. Pillow writes such files by itself for any picture of 16 colours or fewer.
# (`loadPalettePng` and `decodeBinary` in `lib/load/decodePng.js`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund image-js@1.7.0 pngjs@7.0.0
cat >read.mjs <<'END'
import assert from 'node:assert';
import fs from 'node:fs';
import zlib from 'node:zlib';
import { decode } from 'image-js';
import { PNG } from 'pngjs';

/** A PNG in which the first `width / 2` pixels of each row are white (index 1), with or without a palette. */
function png(width, height, depth, palette) {
    const chunk = (name, data) => {
        const body = Buffer.concat([Buffer.from(name, 'latin1'), data]);
        const out = Buffer.alloc(body.length + 8);
        out.writeUInt32BE(data.length, 0);
        body.copy(out, 4);
        out.writeUInt32BE(zlib.crc32(body), body.length + 4);
        return out;
    };
    const header = Buffer.alloc(13);
    header.writeUInt32BE(width, 0);
    header.writeUInt32BE(height, 4);
    header[8] = depth;
    header[9] = palette ? 3 : 0;
    const row = Buffer.alloc(1 + Math.ceil((width * depth) / 8));
    for (let x = 0; x < Math.floor(width / 2); x++) {
        row[1 + Math.floor((x * depth) / 8)] |= 1 << (8 - depth - ((x * depth) % 8));
    }
    const rows = Buffer.concat(Array(height).fill(row));
    return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), chunk('IHDR', header),
        ...(palette ? [chunk('PLTE', Buffer.from([0, 0, 0, 255, 255, 255]))] : []),
        chunk('IDAT', zlib.deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}

const show = (data, width, channels) => [0, 1, 2].map((y) => Array.from({ length: width },
    (_, x) => (data[(y * width + x) * channels] ? '#' : '.')).join(''));

console.log('image-js', JSON.parse(fs.readFileSync('node_modules/image-js/package.json')).version);
const right = {};
for (const [depth, palette] of [[1, false], [1, true], [2, true], [4, true]]) {
    for (const width of [8, 11, 16]) {
        const file = png(width, 3, depth, palette);
        const found = decode(file).getRawImage();
        const rows = show(found.data, width, found.channels);
        const other = PNG.sync.read(file);
        const expected = show(other.data, width, 4);
        assert.deepEqual(expected, Array(3).fill('#'.repeat(Math.floor(width / 2)).padEnd(width, '.')));
        const name = `${palette ? 'palette' : 'gray'} of ${depth} bits, ${width} wide`;
        right[name] = JSON.stringify(rows) === JSON.stringify(expected);
        console.log(`${name}: expected ${expected.join(' ')}, seen ${rows.join(' ')}`);
    }
}
for (const [name, value] of Object.entries(right)) {
    assert.equal(value, name.startsWith('palette') && !name.endsWith('11 wide'), name);
}
END
node read.mjs
