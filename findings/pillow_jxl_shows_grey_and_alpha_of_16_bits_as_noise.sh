#!/usr/bin/env bash
# pillow-jxl-plugin: a JPEG XL picture of gray and alpha with more than 8 bits, or with floats, comes out as noise.
#
# Guess: Pillow has no mode for gray and alpha of 16 bits, so that the picture comes out with 8 bits, as RGB and RGBA
# of 16 bits do, or is refused.
#
# Seen with pillow-jxl-plugin 1.3.8: the mode is LA, and the bytes of the samples are taken for samples of 8 bits: of
# each pair of pixels the first one gets the low byte of its gray value as gray and the high byte as alpha, and the
# second one the two bytes of the alpha value. So the gray is noise, the upper half of the picture fills the whole,
# each of its rows cut in two, and the lower half is not there. There is no error. It is so with 12 and 16 bits and
# with floats of 32 bits. Gray alone (I;16, F), RGB, RGBA and gray with alpha of 8 bits are right. imagecodecs decodes
# all of them right. A PNG of gray and alpha with 16 bits that was put into JPEG XL without loss is such a file.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 pillow-jxl-plugin==1.3.8 imagecodecs==2026.3.6
cd "$work"
PYTHONPATH="$work/packages" python3 -W ignore - <<'END'
import io
from importlib.metadata import version

import imagecodecs
import numpy as np
import pillow_jxl  # noqa: F401, it makes Pillow read JPEG XL.
from PIL import Image

print("pillow-jxl-plugin", version("pillow-jxl-plugin"), "Pillow", Image.__version__, "imagecodecs",
      imagecodecs.__version__)
HEIGHT, WIDTH = 32, 48
y, x = np.mgrid[:HEIGHT, :WIDTH] / [[[HEIGHT]], [[WIDTH]]]
# Darker from left to right and from top to bottom, with an alpha that falls from top to bottom.
samples = np.stack([1 - (x + y) / 2, 1 - x, 1 - y, 1 - y / 2], 2)

for bits in (8, 12, 16, 32):
    for kind in ("L", "LA", "RGB", "RGBA"):
        shown = samples[..., [0, 3]] if kind == "LA" else samples[..., :len(kind)]
        if bits == 32:
            stored = np.squeeze(shown.astype(np.float32))
        else:
            stored = np.squeeze(np.rint(shown * (2 ** bits - 1)).astype(np.uint8 if bits == 8 else np.uint16))
        data = imagecodecs.jpegxl_encode(stored, lossless=True, bitspersample=bits)
        assert np.array_equal(imagecodecs.jpegxl_decode(data), stored)
        with Image.open(io.BytesIO(data)) as image:
            mode, pixels = image.mode, np.asarray(image)
        largest = {"I;16": 65535, "F": 1}.get(mode, 255)
        expected = np.squeeze(shown) * largest
        wrong = float((np.abs(pixels - expected) > largest / 100).mean())
        print(f"{kind} of {bits} bits: mode {mode}, wrong samples: expected 0.0, seen {wrong:.3f};",
              "in the middle expected", *np.round(expected[16, 24:26].ravel(), 2), "seen",
              *np.round(pixels[16, 24:26].ravel(), 2))
        if kind == "LA" and bits > 8:
            assert mode == "LA" and wrong > 0.5
            if bits == 16:
                # The file's memory, from its beginning, as bytes.
                assert pixels.tobytes() == stored.astype("<u2").tobytes()[:pixels.size]
        else:
            assert wrong == 0
END
