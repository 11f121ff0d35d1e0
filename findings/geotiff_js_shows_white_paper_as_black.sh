#!/bin/sh
# geotiff (for JavaScript): `readRGB` of a TIFF in which 0 is white gives black for white, and the darkest grey for black.
#
# Guess: of a gray TIFF with PhotometricInterpretation 0 (WhiteIsZero, as scanners and fax write it) `readRGB` gives 255 for 0
# and 0 for 255, and every shade in order between them.
#
# Seen with geotiff 3.0.5: 0 becomes 256, and in a Uint8Array that is 0. So white paper is black, and all else is one too
# bright: 1 becomes 255, 254 becomes 2, 255 becomes 1. With 16 bits white is black too, alone of all values. Where 0 is black,
# and of CMYK, all is in order. (`fromWhiteIsZero` in `rgb.js` scales to 256 and not to 255.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund geotiff@3.0.5
cat >read.mjs <<'END'
import assert from 'node:assert';
import fs from 'node:fs';
import { fromArrayBuffer } from 'geotiff';

/** An uncompressed TIFF of one row of gray samples. */
function tiff(samples, bits, photometric) {
    const tags = [[256, samples.length], [257, 1], [258, bits], [259, 1], [262, photometric], [273, 8], [277, 1], [278, 1],
        [279, samples.length * bits / 8]];
    const data = Buffer.from(bits === 8 ? Uint8Array.from(samples).buffer : Uint16Array.from(samples).buffer);
    const directory = Buffer.alloc(2 + 12 * tags.length + 4);
    directory.writeUInt16LE(tags.length, 0);
    tags.forEach(([tag, value], number) => {
        directory.writeUInt16LE(tag, 2 + 12 * number);
        directory.writeUInt16LE(4, 4 + 12 * number);
        directory.writeUInt32LE(1, 6 + 12 * number);
        directory.writeUInt32LE(value, 10 + 12 * number);
    });
    const header = Buffer.alloc(8);
    header.write('II*\0', 'latin1');
    header.writeUInt32LE(8 + data.length, 4);
    return new Uint8Array(Buffer.concat([header, data, directory])).buffer;
}

async function red(samples, bits, photometric) {
    const image = await (await fromArrayBuffer(tiff(samples, bits, photometric))).getImage();
    assert.deepEqual(Array.from(await image.readRasters({ interleave: true })), samples);
    return Array.from(await image.readRGB({ interleave: true })).filter((_, at) => at % 3 === 0);
}

const samples = [0, 1, 127, 128, 254, 255];
const wide = samples.map((sample) => sample * 257);
console.log('geotiff', JSON.parse(fs.readFileSync('node_modules/geotiff/package.json')).version);
console.log('samples                ', ...samples);
const white = await red(samples, 8, 0);
console.log('0 is white, 8 bits     ', ...white);
const whiteWide = await red(wide, 16, 0);
console.log('0 is white, 16 bits    ', ...whiteWide);
const black = await red(samples, 8, 1);
console.log('0 is black, 8 bits     ', ...black);
assert.deepEqual(white, [0, 255, 129, 128, 2, 1]);
assert.deepEqual(whiteWide, [0, 254, 128, 127, 1, 0]);
assert.deepEqual(black, samples);
END
node read.mjs
