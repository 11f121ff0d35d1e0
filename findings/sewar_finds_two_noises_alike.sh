#!/usr/bin/env bash
# sewar: two pictures of noise that have nothing in common are alike to three quarters, and a picture and its negative
# to a half.
#
# Guess: `uqi` is the "universal image quality index" of Wang and Bovik (2002): 1 for the same picture, near 0 for two
# that have nothing to do with each other, near -1 for a picture and its negative.
#
# Seen with sewar 0.4.10: 0.737 for the noises and 0.483 for the negative, where the formula of the paper gives -0.009
# and -0.99, and sewar's own `ssim`, which is of the same kind, -0.002 and -0.98. The formula is written for sums over
# the window, and `uniform_filter` gives means. So the product of the means, which is to be taken from the covariance
# and the variances, is taken once instead of as often as the window has pixels, and what is left is nearly all
# brightness: the noise and a grey have 0.85. `d_lambda`, `d_s` and `qnr` go by it. (`_uqi_single` in
# `full_ref.py`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 scipy==1.17.1 pillow==13.0.0 sewar==0.4.10
PYTHONPATH="$work/packages" python3 - <<'END'
from importlib.metadata import version

import numpy as np
import sewar
from numpy.lib.stride_tricks import sliding_window_view


def paper(first, second):
    """The index of the paper, window by window."""
    first, second = (sliding_window_view(picture.astype(float), (8, 8)).reshape(-1, 64) for picture in (first, second))
    means = first.mean(axis=1), second.mean(axis=1)
    covariance = ((first - means[0][:, None]) * (second - means[1][:, None])).sum(axis=1) / 63
    variances = first.var(axis=1, ddof=1) + second.var(axis=1, ddof=1)
    return np.mean(4 * covariance * means[0] * means[1] / (variances * (means[0] ** 2 + means[1] ** 2)))


print("sewar", version("sewar"))
picture, other = np.random.default_rng(0).integers(0, 256, (2, 64, 64)).astype(np.uint8)
# Nearly grey: an even one has no variance, of which the paper says nothing.
grey = np.where(np.indices((64, 64)).sum(axis=0) % 2, 127, 128).astype(np.uint8)
seen = {}
for name, second in (("itself", picture), ("another noise", other), ("its negative", 255 - picture), ("a grey", grey)):
    seen[name] = float(sewar.uqi(picture, second)), float(paper(picture, second)), float(sewar.ssim(picture, second)[0])
    print("noise and {}: uqi {:.3f}, by the paper {:.3f}, ssim {:.3f}".format(name, *seen[name]))
assert min(seen["itself"]) > 0.999
assert seen["another noise"][0] > 0.7 and abs(seen["another noise"][1]) < 0.02 and abs(seen["another noise"][2]) < 0.02
assert seen["its negative"][0] > 0.4 and seen["its negative"][1] < -0.95 and seen["its negative"][2] < -0.95
assert seen["a grey"][0] > 0.8 and abs(seen["a grey"][1]) < 0.02
END
