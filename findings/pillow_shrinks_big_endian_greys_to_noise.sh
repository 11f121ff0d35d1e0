#!/usr/bin/env bash
# Pillow: a gray picture of 16 bits from a big-endian TIFF turns to noise when it is resized or saved as JPEG 2000.
#
# Guess: `resize`, `thumbnail` and `save` give the same for a picture whether its TIFF is little- or big-endian: they
# know the two modes, `I;16` and `I;16B`, apart.
#
# Seen with Pillow 13.0.0: with every filter but NEAREST the samples of mode `I;16B` are taken in the wrong byte
# order, weighted, and written in the wrong byte order again, so that a smooth ramp becomes noise. JPEG 2000 gets the
# two bytes of each sample swapped. There is no error. `numpy.asarray`, NEAREST, rotation by quarter turns, PNG and
# TIFF are right. So it is with resize in 11.3.0 (10.4.0 refuses: "image has wrong mode"), and with JPEG 2000 in
# 9.5.0 already.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 tifffile==2026.3.3
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import io

import numpy as np
import PIL
import tifffile
from PIL import Image

# Samples that rise by one along the rows, from 1000 to 1063.
samples = np.tile(np.arange(1000, 1064, dtype=np.uint16), (64, 1))
print("Pillow", PIL.__version__)


def saved(image, format):
    file = io.BytesIO()
    image.save(file, format)
    return Image.open(file)


ways = {f"resize, {name}": lambda image, filter=filter: image.resize((8, 8), filter)
        for name, filter in Image.Resampling.__members__.items()}
ways["thumbnail"] = lambda image: image.thumbnail((8, 8), reducing_gap=None) or image
ways |= {format: lambda image, format=format: saved(image, format) for format in ("JPEG2000", "PNG", "TIFF")}
wrong = set()
for way, function in ways.items():
    found = {}
    for order in "<>":
        tifffile.imwrite("picture.tif", samples, byteorder=order, photometric="minisblack")
        image = Image.open("picture.tif")
        assert image.mode == {"<": "I;16", ">": "I;16B"}[order], image.mode
        assert np.array_equal(np.asarray(image), samples)
        found[order] = np.asarray(function(image)).astype(int)
    assert found["<"].min() >= 999 and found["<"].max() <= 1064
    print(f"{way}: little-endian {found['<'][0, :4].tolist()}, big-endian {found['>'][0, :4].tolist()}")
    if not np.array_equal(found["<"], found[">"]):
        assert abs(found[">"] - found["<"]).mean() > 1000, way
        wrong.add(way)
assert wrong == {way for way in ways if way not in ("resize, NEAREST", "PNG", "TIFF")}, wrong
END
