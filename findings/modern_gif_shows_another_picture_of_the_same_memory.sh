#!/usr/bin/env bash
# modern-gif: a GIF in a part of a larger buffer is not looked at; the picture at the start of that buffer comes out.
#
# Guess: `decode` and `decodeFrames` take a `BufferSource`, as their types say, and so the bytes that a `Uint8Array`
# shows, as omggif does.
#
# Seen with modern-gif 2.1.0 (the newest): they take the whole memory behind the `Uint8Array` and start at its first
# byte. Of two GIFs in one buffer (an archive in memory, a message, an answer of a database) either view gives the
# first picture, with its width, height and pixels, and there is no error. Node itself puts small files and buffers
# side by side in the same memory, so that what comes out of `decode(fs.readFileSync(name))` depends on what was read
# before. A copy (`slice`) is right. (The reader is made from `source.buffer` alone, without `byteOffset`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund modern-gif@2.1.0 omggif@1.0.10
cat >read.mjs <<'END_OF_JS'
import assert from 'node:assert';
import fs from 'node:fs';
import { decode, decodeFrames } from 'modern-gif';
import omggif from 'omggif';

/** A GIF of one colour. */
function gif(width, height, red, green, blue) {
    const file = Buffer.alloc(1000);
    const writer = new omggif.GifWriter(file, width, height, { palette: [0, (red << 16) | (green << 8) | blue] });
    writer.addFrame(0, 0, width, height, new Uint8Array(width * height).fill(1));
    return file.subarray(0, writer.end());
}

const first = gif(3, 2, 255, 0, 0);
const second = gif(5, 4, 0, 0, 255);
const memory = new Uint8Array(first.length + second.length);
memory.set(first);
memory.set(second, first.length);
const view = memory.subarray(first.length);
assert.deepEqual(Buffer.from(view), second);

const wanted = [5, 4, 0, 0, 255, 255];
const other = new omggif.GifReader(view);
const pixels = new Uint8Array(5 * 4 * 4);
other.decodeAndBlitFrameRGBA(0, pixels);
assert.deepEqual([other.width, other.height, ...pixels.slice(0, 4)], wanted);

console.log('modern-gif', JSON.parse(fs.readFileSync('node_modules/modern-gif/package.json')).version);
for (const [name, bytes, expected] of [['a copy', view.slice(), wanted], ['a view', view, [3, 2, 255, 0, 0, 255]]]) {
    const picture = decode(bytes);
    const [frame] = decodeFrames(bytes);
    const seen = [picture.width, picture.height, ...frame.data.slice(0, 4)];
    assert.deepEqual([frame.width, frame.height], seen.slice(0, 2));
    console.log(`${name} of the second GIF (width, height, colour): expected ${wanted}, seen ${seen}`);
    assert.deepEqual(seen, expected);
}
END_OF_JS
node read.mjs
