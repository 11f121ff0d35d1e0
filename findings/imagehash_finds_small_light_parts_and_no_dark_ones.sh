#!/usr/bin/env bash
# imagehash: a light thing on a dark ground gets a hash of its own, and the same thing dark on a light ground does not.
#
# Guess: `crop_resistant_hash` parts a picture (of 300 by 300, after resizing) into light and dark regions, and hashes
# each of more than 500 pixels. A picture and its negative have as many regions.
#
# Seen with imagehash 4.3.2: a dark region of up to 1,200 pixels, a square of 34, is not found if it is the only one,
# and of several the last is lost: three dark squares of 25 give two. All light ones are found. The search for dark
# regions goes on until as many pixels are known as the picture has, and among the known ones there are the 1,200 that
# were put around the picture to begin with. So of drawings and goods on white the smaller parts have no hash, and a
# cut-out of such a part does not match its picture, while that of its negative does. (`_find_all_segments` in
# `imagehash/__init__.py`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --no-deps --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 imagehash==4.3.2
PYTHONPATH="$work/packages" python3 - <<'END'
from importlib.metadata import version

import imagehash
from PIL import Image, ImageOps

print("imagehash", version("imagehash"))
seen = {}
for side, corners in ((34, [(100, 100)]), (35, [(100, 100)]), (25, [(50, 50), (150, 150), (250, 250)])):
    dark = Image.new("L", (300, 300), 235)
    for corner in corners:
        dark.paste(20, (*corner, corner[0] + side, corner[1] + side))
    expected = 1 + len(corners)
    pictures = dark, ImageOps.invert(dark)
    seen[side] = [len(imagehash.crop_resistant_hash(picture).segment_hashes) for picture in pictures]
    print(f"{len(corners)} square(s) of {side}: expected {expected} regions, dark on light {seen[side][0]}, "
          f"light on dark {seen[side][1]}")
    assert seen[side][1] == expected
assert (seen[34][0], seen[35][0], seen[25][0]) == (1, 2, 3), seen

# A thing of its own, 33 pixels wide and high, and the picture that it was cut from.
thing = Image.radial_gradient("L").resize((33, 33)).point(lambda value: value // 3)
dark = Image.new("L", (300, 300), 235)
dark.paste(thing, (140, 100))
matches = {}
for name, picture in (("dark on light", dark), ("its negative", ImageOps.invert(dark))):
    cut = picture.crop((136, 96, 177, 137))
    matches[name] = imagehash.crop_resistant_hash(cut).matches(imagehash.crop_resistant_hash(picture))
    print(f"{name}: the cut-out matches its picture: {matches[name]}")
assert matches == {"dark on light": False, "its negative": True}
END
