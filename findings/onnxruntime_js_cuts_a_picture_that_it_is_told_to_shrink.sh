#!/usr/bin/env bash
# ONNX Runtime for JavaScript: told to shrink a picture it cuts off a corner, and the picture comes back with red as
# blue.
#
# Guess: `Tensor.fromImage` with `resizedWidth` and `resizedHeight` ("describes the resized height") makes the model's
# input of the whole picture; and `toImageData` with the same `format` and `norm` gives the picture back.
#
# Seen with onnxruntime-common 1.30.0, whose Tensor is that of onnxruntime-web, without a word:
# - Nothing is resized: a smaller size takes the corner at the top left, and a larger one adds black at the right and
# below. The features are those of a corner (issue 24050, closed by a robot as stale).
# - `toImageData` accepts the format 'BGR' and reads RGB: a picture that `fromImage` laid out as BGR comes back with
# red and blue exchanged.
# - `norm`: `fromImage` adds the bias and divides by the mean, `toImageData` takes the bias off first and multiplies
# then, which undoes it only for a bias of 0. With the usual -1 to 1 (both 127.5) all comes back white. A canvas in
# Node (@napi-rs/canvas) stands for the browser's here; the wrong lines do not depend on it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund onnxruntime-common@1.30.0 @napi-rs/canvas@1.1.1
cat >image.mjs <<'JS'
import assert from 'assert';
import fs from 'fs';
import { ImageData, createCanvas } from '@napi-rs/canvas';
import { Tensor } from 'onnxruntime-common';

// What `fromImage` and `toImageData` use of a browser.
globalThis.ImageData = ImageData;
globalThis.HTMLCanvasElement = createCanvas(1, 1).constructor;
globalThis.document = { createElement: () => createCanvas(1, 1) };

const version = (name) => JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version;
console.log('onnxruntime-common', version('onnxruntime-common'), 'and @napi-rs/canvas', version('@napi-rs/canvas'));

const [width, height] = [8, 4];
const pixels = new Uint8ClampedArray(width * height * 4);
for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) pixels.set([x * 30, y * 10, 250, 255], (y * width + x) * 4);
const picture = new ImageData(pixels, width, height);
/** The first row of the red plane, as bytes. */
const red = (tensor) => Array.from(tensor.data.slice(0, tensor.dims[3]), (value) => Math.round(value * 255));

const half = await Tensor.fromImage(picture, { resizedWidth: 4, resizedHeight: 2 });
console.log(`8 x 4 to 4 x 2: expected red near 15 75 135 195, seen ${red(half).join(' ')}`);
assert.deepStrictEqual(half.dims, [1, 3, 2, 4]);
assert.deepStrictEqual(red(half), [0, 30, 60, 90]);
const twice = await Tensor.fromImage(picture, { resizedWidth: 16, resizedHeight: 8 });
console.log(`8 x 4 to 16 x 8: expected red from 0 to 210, seen ${red(twice).join(' ')}`);
assert.deepStrictEqual(red(twice), [0, 30, 60, 90, 120, 150, 180, 210, 0, 0, 0, 0, 0, 0, 0, 0]);

for (const [format, expected] of [['RGB', [150, 0, 250, 255]], ['BGR', [250, 0, 150, 255]]]) {
    const back = (await Tensor.fromImage(picture, { tensorFormat: format })).toImageData({ format });
    const pixel = Array.from(back.data.slice(20, 24));
    console.log(`there and back as ${format}: expected 150 0 250 255, seen ${pixel.join(' ')}`);
    assert.deepStrictEqual(pixel, expected);
}
for (const [norm, expected] of [[{ mean: 255, bias: 0 }, [150, 0, 250, 255]],
    [{ mean: 127.5, bias: -127.5 }, [255, 255, 255, 255]]]) {
    const tensor = await Tensor.fromImage(picture, { norm });
    assert(Math.abs(tensor.data[5] - (150 + norm.bias) / norm.mean) < 1e-6);
    const pixel = Array.from(tensor.toImageData({ format: 'RGB', norm }).data.slice(20, 24));
    console.log(`there and back with mean ${norm.mean} and bias ${norm.bias}: expected 150 0 250 255,`,
        `seen ${pixel.join(' ')}`);
    assert.deepStrictEqual(pixel, expected);
}
JS
node image.mjs
