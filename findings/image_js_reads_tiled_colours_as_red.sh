#!/usr/bin/env bash
# image-js: a colour TIFF in tiles comes out in stripes of red, and one in tiles with a predictor comes out too bright.
#
# Guess: a TIFF in tiles, as whole-slide scanners and mapping tools write it, comes out as one in strips, or is refused.
#
# Seen with image-js 1.7.0 (the newest, with tiff 7.1.3): of each tile as many samples are taken as it has pixels, and
# each is put where the red of a pixel belongs, so that red holds red, green and blue in turn, of the left third of
# the tile. Green and blue are 0. Gray is right, unless it was compressed with a predictor (each sample less the
# one to its left): the differences are added up along the whole row of the picture, and not along that of each tile, so
# that each tile begins with the last value of the one before it. There is no error. Strips are right with and without
# a predictor. (`readTileData` and `applyPredictor` in `tiff_decoder.js`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund image-js@1.7.0 tiff@7.1.3
cat >read.mjs <<'END_OF_JS'
import assert from 'node:assert';
import fs from 'node:fs';
import zlib from 'node:zlib';
import { decode } from 'image-js';

const WIDTH = 32;
const HEIGHT = 16;

/** A TIFF of 32 by 16 pixels, in two tiles of 16 by 16 or in one strip, of the colour that `at` gives for a column. */
function tiff({ tiled, channels, predictor, at }) {
    const parts = [];
    const width = tiled ? 16 : WIDTH;
    for (let left = 0; left < WIDTH; left += width) {
        const row = [];
        for (let x = left; x < left + width; x++) row.push(...at(x));
        const written = row.map((value, n) => (predictor === 2 && n >= channels ? value - row[n - channels] : value));
        const bytes = Buffer.from(Array(HEIGHT).fill(written.map((value) => value & 255)).flat());
        parts.push(predictor === 2 ? zlib.deflateSync(bytes) : bytes);
    }
    const tags = [[256, [WIDTH]], [257, [HEIGHT]], [258, Array(channels).fill(8)], [259, [predictor === 2 ? 8 : 1]],
        [262, [channels === 3 ? 2 : 1]], [277, [channels]], [317, [predictor]]];
    const starts = parts.map((_, n) => 8 + parts.slice(0, n).reduce((sum, part) => sum + part.length, 0));
    const sizes = parts.map((part) => part.length);
    tags.push(...(tiled ? [[322, [16]], [323, [16]], [324, starts], [325, sizes]]
        : [[273, starts], [278, [HEIGHT]], [279, sizes]]));
    tags.sort((one, two) => one[0] - two[0]);
    let data = Buffer.concat(parts);
    if (data.length % 2) data = Buffer.concat([data, Buffer.alloc(1)]);
    const directory = Buffer.alloc(2 + 12 * tags.length + 4);
    directory.writeUInt16LE(tags.length, 0);
    let more = Buffer.alloc(0);
    tags.forEach(([tag, values], n) => {
        directory.writeUInt16LE(tag, 2 + 12 * n);
        directory.writeUInt16LE(4, 4 + 12 * n);
        directory.writeUInt32LE(values.length, 6 + 12 * n);
        const list = Buffer.alloc(4 * values.length);
        values.forEach((value, m) => list.writeUInt32LE(value, 4 * m));
        if (values.length === 1) list.copy(directory, 10 + 12 * n);
        else directory.writeUInt32LE(8 + data.length + directory.length + more.length, 10 + 12 * n);
        if (values.length > 1) more = Buffer.concat([more, list]);
    });
    const head = Buffer.from([73, 73, 42, 0, 0, 0, 0, 0]);
    head.writeUInt32LE(8 + data.length, 4);
    return Buffer.concat([head, data, directory, more]);
}

for (const name of ['image-js', 'tiff']) {
    console.log(name, JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version);
}
for (const tiled of [false, true]) {
    for (const [channels, predictor] of [[1, 1], [1, 2], [3, 1]]) {
        const at = channels === 3 ? () => [200, 100, 50] : (x) => [5 * x];
        const image = decode(tiff({ tiled, channels, predictor, at }));
        const { data, width, height } = image.getRawImage();
        assert.deepEqual([width, height, data.length], [WIDTH, HEIGHT, WIDTH * HEIGHT * channels]);
        const from = channels === 3 ? 0 : 14;
        const columns = [0, 1, 2, 3].map((n) => from + n);
        const seen = columns.map((x) => Array.from(data.slice(x * channels, (x + 1) * channels)));
        const expected = columns.map(at);
        const what = `${tiled ? 'tiles' : 'strips'}, ${channels} channels, predictor ${predictor}`;
        console.log(`${what}: expected ${JSON.stringify(expected)}, seen ${JSON.stringify(seen)}`);
        if (!tiled || (channels === 1 && predictor === 1)) assert.deepEqual(seen, expected);
        else if (channels === 3) assert.deepEqual(seen, [[200, 0, 0], [100, 0, 0], [50, 0, 0], [200, 0, 0]]);
        else assert.deepEqual(seen, [[70], [75], [155], [160]]);
    }
}
END_OF_JS
node read.mjs
