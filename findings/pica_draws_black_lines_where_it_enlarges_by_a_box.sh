#!/usr/bin/env bash
# pica: a picture that is enlarged with the filter "box" gets black lines.
#
# Guess: a picture of one colour stays one of that colour, whatever its new size and the filter are.
#
# Seen with pica 10.0.3 (the newest), with `filter: 'box'` and with `quality: 0`, which is the same: wherever a pixel of
# the result lies just between two of the original, it is black. 100 pixels made 150 have every third column black,
# and 100 made 110 every eleventh; so it is with rows. There is no error. 100 made 224 and 100 made 50 have no black
# columns, and the other filters are right. ("box" is 1 for distances below half a pixel and 0 at half a pixel, so that
# no pixel has any weight. Pillow had the same fault, its issue 4258, of 2019.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund pica@10.0.3
cat >enlarge.mjs <<'END'
import assert from 'node:assert';
import fs from 'node:fs';
import Pica from 'pica';

console.log('pica', JSON.parse(fs.readFileSync('node_modules/pica/package.json')).version);
const colour = [200, 100, 3, 255];

/** The columns and rows of the result that are not of the colour, and how many pixels are black. */
async function resize(width, toWidth, options, features) {
    const height = 20;
    const toHeight = features.includes('wasm') ? 30 : height;
    const src = new Uint8Array(width * height * 4).map((_, i) => colour[i % 4]);
    const out = await new Pica({ features }).resizeBuffer({ src, width, height, toWidth, toHeight, ...options });
    const columns = new Set();
    let black = 0;
    for (let i = 0; i < out.length; i += 4) {
        const pixel = [...out.slice(i, i + 4)];
        if (pixel.some((sample, channel) => Math.abs(sample - colour[channel]) > 1)) {
            assert.deepEqual(pixel.slice(0, 3), [0, 0, 0]);
            black++;
            if (i / 4 < toWidth) columns.add(i / 4);
        }
    }
    return { columns: [...columns], black, pixels: toWidth * toHeight };
}

// Rows, too, are enlarged with 'wasm': by a half.
for (const features of [['js'], ['js', 'wasm']]) {
    for (const [width, toWidth, every] of [[100, 150, 3], [100, 110, 11], [100, 224, 0], [100, 50, 0]]) {
        for (const options of [{ filter: 'box' }, { quality: 0 }, { filter: 'hamming' }, { filter: 'lanczos3' }]) {
            const { columns, black, pixels } = await resize(width, toWidth, options, features);
            const name = `${features}, ${width} made ${toWidth}, ${JSON.stringify(options)}`;
            console.log(`${name}: ${black} of ${pixels} pixels black, columns ${columns.slice(0, 6)}`);
            if (!('quality' in options) && options.filter !== 'box') assert.equal(black, 0, name);
            else if (every) assert.equal(columns.length, toWidth / every, name);
            else assert.equal(columns.length, 0, name);
        }
    }
}
END
node enlarge.mjs
