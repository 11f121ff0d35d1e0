#!/usr/bin/env bash
# BlazeDiff: its fast SSIM gives 1, "identical", to black and white, to a picture and its negative, and to a darker
# copy.
#
# Guess: `hitchhikersSSIM` gives nearly what `ssim` gives for the same two pictures, since only the windows are of
# another kind, and a number from 0 to 1, where 1 is identical, as the README says.
#
# Seen with @blazediff/ssim 1.7.1, without a word: by default ("recommended") the similarities of the windows are not
# averaged. The result is 1 less their standard deviation divided by their mean. That says how even the similarity is,
# and not how high. Where all of the picture is equally bad it is 1, also where the mean is below 0. Where two noises
# have a mean near 0 it is far below -1. A black corner is worse than the negative. With `covPooling: false` the
# numbers are near those of `ssim`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund @blazediff/ssim@1.7.1
cat >similar.mjs <<'END_OF_PROGRAM'
import assert from 'node:assert';
import fs from 'node:fs';
import { ssim } from '@blazediff/ssim/ssim';
import { hitchhikersSSIM } from '@blazediff/ssim/hitchhikers-ssim';

console.log('@blazediff/ssim', JSON.parse(fs.readFileSync('node_modules/@blazediff/ssim/package.json')).version);
const size = 220; // 20 windows of 11 pixels
let state = 1;
const random = () => (state = (state * 16807) % 2147483647) / 2147483647;
const picture = (grey) => {
    const pixels = new Uint8ClampedArray(size * size * 4);
    for (let i = 0; i < size * size; i++) {
        pixels.fill(grey(i % size, Math.floor(i / size), i), 4 * i, 4 * i + 3);
        pixels[4 * i + 3] = 255;
    }
    return pixels;
};
const noise = picture(() => 255 * random());
const other = picture(() => 255 * random());
const cases = [
    // the name, the two pictures, and whether what is seen is as described
    ['a noise and itself', noise, noise, (seen) => seen === 1],
    ['black and white', picture(() => 0), picture(() => 255), (seen) => seen === 1],
    ['a noise and its negative', noise, picture((x, y, i) => 255 - noise[4 * i]), (seen) => seen === 1],
    ['a noise and its darker copy', noise, picture((x, y, i) => 0.3 * noise[4 * i]), (seen) => seen > 0.99],
    ['a noise and one with a black corner', noise, picture((x, y, i) => (x < 110 && y < 110 ? 0 : noise[4 * i])),
        (seen) => seen < 0.6],
    ['two noises', noise, other, (seen) => seen < -1],
];
for (const [name, one, two, described] of cases) {
    const standard = ssim(one, two, undefined, size, size);
    const seen = hitchhikersSSIM(one, two, undefined, size, size);
    const mean = hitchhikersSSIM(one, two, undefined, size, size, { covPooling: false });
    const [a, b, c] = [standard, seen, mean].map((value) => value.toFixed(3));
    console.log(`${name}: ssim ${a}, hitchhikersSSIM ${b}, by the mean ${c}`);
    assert(described(seen), name);
    assert(Math.abs(mean - standard) < 0.05, name);
}
END_OF_PROGRAM
node similar.mjs
