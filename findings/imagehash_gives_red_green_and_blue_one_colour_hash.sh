#!/usr/bin/env bash
# imagehash: a red, a green and a blue picture have one and the same hash of colours, that of no colour at all.
#
# Guess: `colorhash`, which counts colours by brightness, saturation and six bins of hue, tells a picture of
# (255, 85, 85) from one of (85, 85, 255). What it counts, "the fraction in 6 bins", from 0 to 7 eighths by default,
# comes out as three bits, of which the highest is 4 eighths.
#
# Seen with imagehash 4.3.2, without a word:
# - All pixels of a saturation of 170 are left out: mild colours are those below 170 and strong ones those above it.
#   Red, green and blue of it have the hash of nothing but zeros; one step more or less and they differ.
# - 4 eighths and 6 eighths have the same bits (110), and so have 5 and 7 (111): a picture that is black to 4 eighths,
#   and one that is black to 6, do not differ. (Each bit is cut out with the ones above it.)
# (`colorhash` in `imagehash/__init__.py`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --no-deps --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 imagehash==4.3.2
PYTHONPATH="$work/packages" python3 - <<'END'
from importlib.metadata import version

import imagehash
from PIL import Image

print("imagehash", version("imagehash"))
hashes = {}
for low in (84, 85, 86):
    for name, colour in (("red", (255, low, low)), ("green", (low, 255, low)), ("blue", (low, low, 255))):
        picture = Image.new("RGB", (64, 64), colour)
        saturation = picture.convert("HSV").getpixel((0, 0))[1]
        hashes[low, name] = imagehash.colorhash(picture)
        print(f"{name} {colour}, saturation {saturation}: {hashes[low, name]}")
        assert (saturation == 170) == (low == 85)
for low in (84, 86):
    assert hashes[low, "red"] - hashes[low, "blue"] > 0 and hashes[low, "red"] - hashes[low, "green"] > 0
for name in ("red", "green", "blue"):
    assert not hashes[85, name].hash.any()

bits = []
for eighths in range(8):
    picture = Image.new("RGB", (80, 80), "white")
    picture.paste("black", (0, 0, 10 * eighths, 80))
    bits.append("".join(str(int(bit)) for bit in imagehash.colorhash(picture).hash[0]))
    print(f"black to {eighths} eighths: expected {eighths:03b}, seen {bits[-1]}")
assert bits == ["000", "001", "010", "011", "110", "111", "110", "111"], bits
END
