#!/usr/bin/env bash
# mahotas: `resize_to` and `imresize` do not interpolate: they repeat pixels, and take the next pixel instead of the
# right one.
#
# Guess: with a spline of order 3, the default, a picture that is enlarged has smooth steps; a picture that is resized
# to its own size stays as it is; a white picture stays white.
#
# Seen with mahotas 1.4.19: whatever the order is, from 0 to 5, each pixel of the result is a copy of the one pixel
# that lies on the right of the wanted place and below it. So enlarged pictures have hard steps, shrunk ones leave
# pixels out, a picture that is resized to its own size is moved by one pixel, and its last row and column are black,
# since there is no next pixel (`interpolate.zoom` takes what is beyond the border for 0). It is so with `resize_to`,
# `resize_rgb_to`, `imresize`, `interpolate.zoom` and `interpolate.shift` (by 0, too), with bytes and floats. There is
# no error. Beside that bytes are cut off, not rounded, so that a plain 255 becomes 254 or 255. scipy's `zoom`, from
# which the code comes, interpolates.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 scipy==1.17.1 mahotas==1.4.19
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import mahotas
import numpy as np
import scipy
from scipy.ndimage import zoom

print("mahotas", mahotas.__version__, "scipy", scipy.__version__)


def show(name, expected, seen):
    print(f"{name}: expected", *np.round(expected, 1).tolist(), "seen", *np.round(seen, 1).tolist())


# A ramp of ten pixels, to 19 and to 5.
ramp = np.repeat(np.arange(10.0)[None] * 10, 10, 0)
for width in (19, 5):
    places = np.arange(width) * 9 / (width - 1)
    next_pixels = np.append(ramp[0], 0)[np.floor(places + 1e-6).astype(int) + 1]
    for order in range(6):
        seen = mahotas.resize.resize_to(ramp, (10, width), order)
        expected = zoom(ramp, (1, width / 10), order=order, mode="nearest")
        assert expected.shape == seen.shape
        if order in (1, 3):
            assert np.allclose(expected[0], places * 10, atol=2)
            show(f"a ramp of 10 pixels to {width}, order {order}", expected[0], seen[0])
        assert np.allclose(seen[0], next_pixels) and not seen[-1].any()

# A picture to the size that it has.
y, x = np.mgrid[:40, :60]
picture = (2 * y + x + 20).astype(np.uint8)
assert np.array_equal(zoom(picture, 1.0, order=3, mode="constant"), picture)
same = {
    "resize_to of bytes": mahotas.resize.resize_to(picture, (40, 60)),
    "resize_to of floats": mahotas.resize.resize_to(picture.astype(np.float64), (40, 60)),
    "resize_rgb_to": mahotas.resize.resize_rgb_to(np.dstack([picture] * 3), (40, 60))[..., 1],
    "imresize to a size": mahotas.imresize(picture, (40, 60)),
    "imresize by a factor": mahotas.imresize(picture, 1.0),
    "shift by 0": mahotas.interpolate.shift(picture.astype(np.float64), [0, 0]),
}
for name, seen in same.items():
    show(f"{name}, own size, the end of row 0", picture[0, -4:], seen[0, -4:])
    assert not seen[-1].any() and not seen[:, -1].any()
    # Of bytes some are one too low, since what is below a whole number is cut off.
    assert np.abs(seen[:-1, :-1] - picture[1:, 1:].astype(float)).max() < 1.01

white = np.full((40, 60), 255, np.uint8)
for size in ((40, 60), (80, 120), (224, 224), (20, 45)):
    seen = mahotas.resize.resize_to(white, size)
    black = int((seen == 0).sum())
    print(f"white, 40 x 60 to {size[0]} x {size[1]}: black pixels, expected 0, seen {black}")
    assert black == sum(size) - 1
END
