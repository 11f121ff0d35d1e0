#!/usr/bin/env bash
# jimp: a picture that is resized to the size it has is stretched, and its last row and column are lost.
#
# Guess: with every strategy a picture that is resized to its own size stays as it is, and the mirror image of a
# picture, resized, is the mirror image of the resized picture.
#
# Seen with jimp 1.6.1 (the newest), with BICUBIC, HERMITE and BEZIER: the first row and column stay, all others move
# right and down, by nearly a whole pixel at the far end, and the last ones are gone. A ramp of 0 20 40 ... 180 becomes
# 0 18 36 ... 162 (HERMITE). Samples of noise differ by more than 150 of 255. Other sizes are stretched alike. There is
# no error. Without a strategy, and with NEAREST_NEIGHBOR and BILINEAR, a picture of the same size stays as it is.
# (`_interpolate2D` in `resize2.js` goes from 0 to the last pixel in as many steps as there are pixels, one too many.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund jimp@1.6.1
cat >resize.mjs <<'END'
import assert from 'node:assert';
import fs from 'node:fs';
import { Jimp, ResizeStrategy } from 'jimp';

console.log('jimp', JSON.parse(fs.readFileSync('node_modules/jimp/package.json')).version);

function picture(width, height, gray) {
    const image = new Jimp({ width, height, color: 0xffffffff });
    for (let i = 0; i < width * height; i++) {
        image.bitmap.data.fill(gray(i % width, Math.floor(i / width)), i * 4, i * 4 + 3);
    }
    return image;
}

const row = (image) => Array.from({ length: image.bitmap.width }, (_, x) => image.bitmap.data[x * 4]);
for (const [name, mode] of [['none', undefined], ...Object.entries(ResizeStrategy)]) {
    const stays = ['none', 'NEAREST_NEIGHBOR', 'BILINEAR'].includes(name);
    const ramp = row(picture(10, 4, (x) => x * 20).resize({ w: 10, h: 4, mode }));
    const mirrored = row(picture(10, 4, (x) => 180 - x * 20).resize({ w: 10, h: 4, mode })).reverse();
    const before = picture(20, 15, (x, y) => (x * 97 + y * 57 + x * y * 31) % 256);
    const after = before.clone().resize({ w: 20, h: 15, mode });
    const most = Math.max(...before.bitmap.data.map((sample, i) => Math.abs(sample - after.bitmap.data[i])));
    console.log(`${name}: ramp ${ramp.join(' ')}, the mirror image's ${mirrored.join(' ')}; noise differs by ${most}`);
    const same = Array.from({ length: 10 }, (_, x) => x * 20);
    if (stays) {
        assert.deepEqual(ramp, same);
        assert.equal(most, 0);
    } else {
        assert.ok(most > 150 && ramp[9] < 170 && ramp[0] === 0 && mirrored[0] > 10 && mirrored[9] === 180);
    }
}
END
node resize.mjs
