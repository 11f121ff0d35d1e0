#!/usr/bin/env bash
# TensorFlow.js: of a batch of pictures `tf.image.transform` moves the first one and makes all others blank.
#
# Guess: `tf.image.transform` takes pictures of [batch, height, width, channels] and one transform, or one for each
# picture, and gives for each picture what it gives for this picture alone.
#
# Seen with @tensorflow/tfjs-backend-cpu 4.22.0, the back end of plain JavaScript, without a word: only the first
# picture is transformed. All others are full of the fill value (0 if none is given), with the right shape and type,
# whatever their transforms are. So the features of all but one picture of a batch are those of a blank picture. Each
# picture alone is right. (The kernel returns within its loop over the batch; that of WebAssembly is right. No issue
# names it; 6657 was about another size of the output.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund @tensorflow/tfjs-core@4.22.0 \
    @tensorflow/tfjs-backend-cpu@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0
cat >transform.js <<'JS'
const assert = require('assert');
const path = require('path');
const tf = require('@tensorflow/tfjs-core');
require('@tensorflow/tfjs-backend-cpu');
const { setWasmPaths } = require('@tensorflow/tfjs-backend-wasm');

setWasmPaths(path.join(path.dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist', path.sep));

(async () => {
    console.log(`tfjs-core ${tf.version_core}`);
    const [same, left] = [[1, 0, 0, 0, 1, 0, 0, 0], [1, 0, 1, 0, 1, 0, 0, 0]]; // nothing; by one pixel to the left
    const batch = [10, 20, 30].map((first) => [[0, 1, 2, 3].map((column) => [first + column])]);
    for (const backend of ['cpu', 'wasm']) {
        await tf.setBackend(backend);
        for (const transforms of [[same], [left], [same, left, left]]) {
            const move = (pictures, matrices) =>
                tf.image.transform(tf.tensor4d(pictures), tf.tensor2d(matrices), 'nearest', 'nearest', 7).arraySync();
            const together = move(batch, transforms);
            const alone = batch.map((picture, index) => move([picture], [transforms[index] ?? transforms[0]])[0]);
            const text = (pictures) => pictures.map((picture) => picture.flat(2).join(' ')).join(' | ');
            console.log(`${backend}, ${transforms.length} transform(s): expected ${text(alone)},`,
                `seen ${text(together)}`);
            if (backend === 'wasm') {
                assert.deepStrictEqual(together, alone);
                continue;
            }
            assert.deepStrictEqual(together[0], alone[0]);
            assert(together.slice(1).flat(3).every((value) => value === 7));
            assert(alone.flat(3).every((value) => value >= 10));
        }
    }
})();
JS
node transform.js
