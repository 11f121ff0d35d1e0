#!/usr/bin/env bash
# TensorFlow.js: a layer that is told to crop a picture squeezes it, and one that resizes takes another grid than
# Keras.
#
# Guess: the preprocessing layers of TensorFlow.js, which have the names and the arguments of those of Keras, give
# what those give: `resizing` keeps the ratio of the sides and crops where `cropToAspectRatio` is true, and
# `centerCrop` takes the middle.
#
# Seen with @tensorflow/tfjs-layers 4.22.0, without a word:
# - `resizing` hands `!cropToAspectRatio` to the resizer as `alignCorners`. So it never crops: with true it squeezes
# the whole picture into the size and moves it by half a pixel; with false, which is the default, it lays the first
# and the last pixel on the edges: 0, 23.3, 46.7, 70 instead of 5, 25, 45, 65.
# - `centerCrop`, of a picture that is one pixel wider than asked for, takes the right-hand columns where Keras takes
# the left-hand ones (of rows both take the upper ones). Of a picture with only one side that is too small it takes no
# middle: it squeezes the whole into the size, where Keras keeps the ratio. What is expected here is what Keras 3.15.1
# gives for the same layers. (tfjs pull requests 6858 and 6875 brought the layers; no issue names this.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund @tensorflow/tfjs-core@4.22.0 \
    @tensorflow/tfjs-backend-cpu@4.22.0 @tensorflow/tfjs-layers@4.22.0
cat >layers.js <<'JS'
const assert = require('assert');
const tf = require('@tensorflow/tfjs-core');
require('@tensorflow/tfjs-backend-cpu');
const { layers, version_layers } = require('@tensorflow/tfjs-layers');

// A picture of 4 rows; each is 0, 10, 20 ... 70.
const picture = tf.tile(tf.tensor4d(Array.from({ length: 8 }, (_, column) => column * 10), [1, 1, 8, 1]), [1, 4, 1, 1]);

/** The first row that the layer makes of the picture, rounded to tenths. */
function row(layer, width) {
    return Array.from(layer.apply(picture).dataSync()).slice(0, width).map((value) => Math.round(value * 10) / 10);
}

console.log(`tfjs-layers ${version_layers}`);
for (const [name, layer, keras, seen] of [
    ['resizing to 4 x 4', layers.resizing({ height: 4, width: 4 }), [5, 25, 45, 65], [0, 23.3, 46.7, 70]],
    ['resizing to 4 x 4, cropToAspectRatio', layers.resizing({ height: 4, width: 4, cropToAspectRatio: true }),
        [20, 30, 40, 50], [0, 20, 40, 60]],
    ['resizing to 4 x 4, cropToAspectRatio, nearest',
        layers.resizing({ height: 4, width: 4, interpolation: 'nearest', cropToAspectRatio: true }),
        [20, 30, 40, 50], [0, 20, 40, 60]],
    ['centerCrop to 2 x 4', layers.centerCrop({ height: 2, width: 4 }), [20, 30, 40, 50], [20, 30, 40, 50]],
    ['centerCrop to 2 x 7', layers.centerCrop({ height: 2, width: 7 }),
        [0, 10, 20, 30, 40, 50, 60], [10, 20, 30, 40, 50, 60, 70]],
    ['centerCrop to 6 x 4', layers.centerCrop({ height: 6, width: 4 }), [30, 32.5, 37.5, 40], [0, 20, 40, 60]],
]) {
    const found = row(layer, keras.length);
    console.log(`${name}: expected ${keras.join(' ')}, seen ${found.join(' ')}`);
    assert.deepStrictEqual(found, seen);
}
JS
node layers.js
