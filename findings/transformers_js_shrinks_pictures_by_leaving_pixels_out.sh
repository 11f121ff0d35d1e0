#!/bin/sh
# transformers.js: the same processor of pictures, from the same file, gives a model another picture than in Python.
#
# Guess: `preprocessor_config.json` says a size and a filter (`resample`: 3, bicubic), and transformers.js makes of a picture
# what transformers makes in Python, but for rounding.
#
# Seen with @huggingface/transformers 4.3.2 and transformers 5.24.0: bilinear and bicubic are an affine transform of sharp,
# whose filter is 2 or 4 pixels wide however much smaller the picture gets. Shrunk to a quarter, bicubic takes one pixel of
# sixteen as it is; a fine pattern comes out as black, white or false stripes, where Pillow gives its mean. The picture that
# the model gets is far away, and its features with it. Lanczos (`resample`: 1) has a wide filter and is close.
# (`RawImage.resize` in `utils/image.js`, where a comment says that it matches Pillow.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 tokenizers==0.23.2 transformers==5.24.0
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund @huggingface/transformers@4.3.2
cat >small.mjs <<'END'
import fs from 'fs';
import { AutoImageProcessor, RawImage, env } from '@huggingface/transformers';

env.allowRemoteModels = false;
env.localModelPath = process.cwd();
for (const name of ['fine', 'smooth'])
    for (const resample of [1, 2, 3]) {
        const processor = await AutoImageProcessor.from_pretrained(`model${resample}`);
        const { pixel_values } = await processor(new RawImage(new Uint8Array(fs.readFileSync(`${name}.rgb`)), 256, 256, 3));
        fs.writeFileSync(`${name}${resample}.f32`, Float32Array.from(pixel_values.data));
    }
END
PYTHONPATH="$work/packages" TRANSFORMERS_VERBOSITY=error python3 - <<'END'
import subprocess

import numpy as np
import transformers
from PIL import Image
from transformers import CLIPImageProcessorPil

side = {"height": 64, "width": 64}
y, x = np.mgrid[:256, :256]
pictures = {"fine": np.where((x // 2 + y // 2) % 2, 255, 0), "smooth": (x + y) // 2}
processors = {}
for resample in (1, 2, 3):
    processors[resample] = CLIPImageProcessorPil(
        size={"shortest_edge": 64}, crop_size=side, resample=resample, image_mean=[0, 0, 0], image_std=[1, 1, 1])
    processors[resample].save_pretrained(f"model{resample}")
for name, values in pictures.items():
    pictures[name] = np.repeat(values.astype(np.uint8)[..., None], 3, 2)
    pictures[name].tofile(f"{name}.rgb")
subprocess.run(["node", "small.mjs"], check=True)

print("transformers", transformers.__version__, "and @huggingface/transformers 4.3.2")
away = {}
for name, pixels in pictures.items():
    for resample, filter in ((1, "lanczos"), (2, "bilinear"), (3, "bicubic")):
        python = processors[resample](Image.fromarray(pixels), return_tensors="np")["pixel_values"] * 255
        js = np.fromfile(f"{name}{resample}.f32", np.float32).reshape(python.shape) * 255
        away[name, filter] = float(np.abs(js - python)[..., 4:-4, 4:-4].max())
        print(f"{name}, {filter}: Python {python[0, 0, 30, 30:36].round()}, JavaScript {js[0, 0, 30, 30:36].round()},",
              f"at most {away[name, filter]:.0f} of 255 apart")
assert all(away["smooth", filter] < 4 for filter in ("lanczos", "bilinear", "bicubic")), away
assert away["fine", "lanczos"] < 4 and away["fine", "bilinear"] > 100 and away["fine", "bicubic"] > 100, away
END
