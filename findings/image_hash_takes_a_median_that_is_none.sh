#!/usr/bin/env bash
# image-hash (for JavaScript): the block hash of a picture is not the one that others make of the same pixels.
#
# Guess: image-hash makes the block hash of the paper and of the programs by its authors ("blockhash"), so that hashes
# of the same pixels are the same, and can be compared with those that other programs stored. Half of the blocks of
# each of its four bands are above their median, and so half of all bits are 1.
#
# Seen with image-hash 7.0.1 and blockhash-core 0.1.0, the authors' own: of 16 sorted blocks of a band the median is
# taken between the 9th and the 10th, not between the 8th and the 9th. So with 8 bits a side 28 bits of 64 are 1 where
# there should be 32, and with 4 a side only 4 of 16, the brightest block of each band. The two hashes of one picture
# are 4 bits apart. (`median` in `block-hash.ts` counts from 1.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund image-hash@7.0.1 blockhash-core@0.1.0 pngjs@7.0.0
cat >hash.mjs <<'END'
import assert from 'node:assert';
import fs from 'node:fs';
import { promisify } from 'node:util';
import blockhash from 'blockhash-core';
import { imageHash } from 'image-hash';
import { PNG } from 'pngjs';

for (const name of ['image-hash', 'blockhash-core'])
    console.log(name, JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version);
const hash = promisify(imageHash);
const bitsOf = (hex) => [...hex].map((digit) => parseInt(digit, 16).toString(2).padStart(4, '0')).join('');
let state = 1;
const random = () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
for (const [width, height] of [[64, 64], [150, 99]]) {
    const picture = new PNG({ width, height });
    for (let at = 0; at < picture.data.length; at++)
        picture.data[at] = at % 4 === 3 ? 255 : Math.floor(random() * 256);
    const file = PNG.sync.write(picture);
    assert(PNG.sync.read(file).data.equals(picture.data));
    for (const side of [4, 8, 16]) {
        const expected = bitsOf(blockhash.bmvbhash(picture, side));
        const seen = bitsOf(await hash({ data: file, ext: 'image/png' }, side, true));
        const ones = (bits) => [...bits].filter((bit) => bit === '1').length;
        const apart = [...seen].filter((bit, at) => bit !== expected[at]).length;
        console.log(`${width} by ${height}, ${side} bits a side: expected ${ones(expected)} ones, seen ${ones(seen)}; `
            + `${apart} bits differ`);
        assert.equal(ones(expected), side * side / 2);
        assert.equal(ones(seen), side * side / 2 - 4);
        assert.equal(apart, 4);
    }
}
END
node hash.mjs
