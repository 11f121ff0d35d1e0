#!/usr/bin/env bash
# TensorFlow.js: on WebAssembly 300, clipped to 0 and 255, is 300, a half is false, and dark is brighter than darker.
#
# Guess: the back end of WebAssembly, which is for browsers without a GPU, gives the numbers that the one of plain
# JavaScript gives, or says that it has no kernel for them, as it does elsewhere.
#
# Seen with @tensorflow/tfjs-backend-wasm 4.22.0, without a word:
# - `tf.clipByValue` of int32, the type that `tf.browser.fromPixels` gives, compares the bits as if they were floats:
# [-20, 100, 300], clipped to 0 and 255, is [0, 100, 300]; to 2 and 3, [7, 1, 5] is three times 1073741824, the bits
# of 2.0.
# - `tf.cast` to bool keeps the lowest byte of the number without its fraction: 0.5 and 256 are false, and true is 2
# or 254, so that `tf.where` with a mask of weights takes the other side.
# - `tf.dilation2d` of negative numbers gives 1.2e-38, the least float above 0: it starts there and not at the lowest.
# - `tf.image.transform` with 'reflect' takes other pixels than those next to the edge (40 40 10 20 for 20 10 10 20).
# - `tf.image.rotateWithOffset` fills with a whole number: 0.5, the grey of pictures from 0 to 1, becomes black. (tfjs
# issues 5641, mended for other kernels, and 2590, closed without an answer, are near.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund @tensorflow/tfjs-core@4.22.0 \
    @tensorflow/tfjs-backend-cpu@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0
cat >both.js <<'JS'
const assert = require('assert');
const path = require('path');
const tf = require('@tensorflow/tfjs-core');
require('@tensorflow/tfjs-backend-cpu');
const { setWasmPaths } = require('@tensorflow/tfjs-backend-wasm');

setWasmPaths(path.join(path.dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist', path.sep));

const bits = (value) => new Int32Array(Float32Array.of(value).buffer)[0];
const left = Math.fround(2 ** -126); // the least normal float
const whole = (...values) => tf.tensor1d(values, 'int32');
const picture = () => tf.tensor4d([10, 20, 30, 40], [1, 1, 4, 1]);
// name, what is computed, what is expected, what is seen on WebAssembly
const cases = [
    ['clipByValue of int32 to 0 and 255', () => tf.clipByValue(whole(-20, 100, 300), 0, 255),
        [0, 100, 255], [0, 100, 300]],
    ['clipByValue of int32 to 2 and 3', () => tf.clipByValue(whole(7, 1, 5), 2, 3), [3, 2, 3],
        [bits(2), bits(2), bits(2)]],
    ['where a mask of 0.5, 0, 1, 256', () => tf.where(tf.cast(tf.tensor1d([0.5, 0, 1, 256]), 'bool'), tf.ones([4]),
        tf.zeros([4])), [1, 0, 1, 1], [0, 0, 1, 0]],
    ['cast of 0.5, 0, 2, -2 to bool', () => tf.cast(tf.tensor1d([0.5, 0, 2, -2]), 'bool'),
        [1, 0, 1, 1], [0, 0, 2, 254]],
    ['dilation2d of -5, -4, -3, -2', () => tf.dilation2d(tf.tensor4d([-5, -4, -3, -2], [1, 2, 2, 1]),
        tf.zeros([2, 2, 1]), 1, 'same'), [-2, -2, -2, -2], [left, left, left, left]],
    ['transform by 2 pixels, reflect', () => tf.image.transform(picture(), tf.tensor2d([[1, 0, -2, 0, 1, 0, 0, 0]]),
        'nearest', 'reflect'), [20, 10, 10, 20], [40, 40, 10, 20]],
    ['rotateWithOffset by 45 degrees, filled with 0.5', () => tf.image.rotateWithOffset(tf.ones([1, 3, 3, 1]),
        Math.PI / 4, 0.5), [0.5, 1, 0.5, 1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 1, 1, 1, 1, 1]],
    ['clipByValue of floats', () => tf.clipByValue(tf.tensor1d([-20, 100, 300]), 0, 255), [0, 100, 255], [0, 100, 255]],
];

(async () => {
    console.log(`tfjs-core ${tf.version_core}`);
    for (const [name, compute, expected, wrong] of cases) {
        const found = {};
        for (const backend of ['cpu', 'wasm']) {
            await tf.setBackend(backend);
            found[backend] = Array.from(compute().dataSync());
        }
        console.log(`${name}: cpu ${found.cpu.join(' ')}, wasm ${found.wasm.join(' ')}`);
        assert.deepStrictEqual(found.cpu, expected);
        assert.deepStrictEqual(found.wasm, wrong);
    }
})();
JS
node both.js
