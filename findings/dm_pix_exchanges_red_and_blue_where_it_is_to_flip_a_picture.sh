#!/usr/bin/env bash
# dm-pix: a picture of [channels, height, width] that is to be turned upside down gets red as blue.
#
# Guess: `random_flip_up_down`, `random_flip_left_right` and `rotate`, whose arguments are "either ...HWC or ...CHW" and
# "either HWC or CHW" by their documentation, do the same to a picture in either order; and the functions that have a
# `channel_axis` give their result with the channels there.
#
# Seen with dm-pix 0.4.5 and JAX 0.10.2, without a word, for channels first:
# - `random_flip_up_down` flips the channels: red and blue are exchanged, and nothing is upside down.
# - `random_flip_left_right` turns the picture upside down.
# - `rotate` turns channels into rows: a half turn exchanges red and blue and turns the rows, and not the columns, and
#   other angles mix colours of different places.
# - `rgb_to_hsl` and `hsl_to_rgb` with `channel_axis=-3` take the channels from the front and put them at the end, so
#   that the axes have another meaning than before, also when it goes there and back. `rgb_to_hsv` is right.
# `flip_up_down` and `flip_left_right` with `channel_axis=-3` are right; the random ones call them without it. With the
# channels last all is right. Networks that are trained on such pictures learn that red is blue. (Issues 111 and 117 of
# the project miss the argument only, which came after this release; pull request 125 mends HSL. None names `rotate`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 dm-pix==0.4.5
JAX_PLATFORMS=cpu PYTHONPATH="$work/packages" python3 - <<'END'
from importlib.metadata import version

import dm_pix
import jax
import numpy as np

key = jax.random.key(0)
last = np.random.default_rng(0).uniform(size=(5, 4, 3)).astype(np.float32)
first = last.transpose(2, 0, 1)


def same(found, expected):
    return found.shape == expected.shape and np.allclose(found, expected, atol=1e-5)


print("dm-pix", version("dm-pix"), "JAX", jax.__version__)
turned = {
    "random_flip_up_down": (lambda picture: dm_pix.random_flip_up_down(key, picture, probability=1.0),
                            last[::-1], first[::-1]),
    "random_flip_left_right": (lambda picture: dm_pix.random_flip_left_right(key, picture, probability=1.0),
                               last[:, ::-1], first[:, ::-1]),
    "rotate by a half turn": (lambda picture: dm_pix.rotate(picture, np.pi), last[::-1, ::-1], first[::-1, ::-1]),
}
for name, (function, expected, seen) in turned.items():
    right, wrong = np.asarray(function(last)), np.asarray(function(first))
    print(f"{name}: channels last right: {same(right, expected)}; channels first right:",
          f"{same(wrong, expected.transpose(2, 0, 1))}")
    assert same(right, expected), name
    assert same(wrong, seen) and not same(wrong, expected.transpose(2, 0, 1)), name
exchanged = np.asarray(turned["random_flip_up_down"][0](first))
print(f"the red before {first[0, 0].round(2)}, the blue after random_flip_up_down {exchanged[2, 0].round(2)}")
assert np.array_equal(exchanged[2], first[0])
assert same(np.asarray(dm_pix.flip_up_down(first, channel_axis=-3)), first[:, ::-1])

for name in ("rgb_to_hsv", "rgb_to_hsl", "hsl_to_rgb"):
    found = np.asarray(getattr(dm_pix, name)(first, channel_axis=-3))
    expected = np.asarray(getattr(dm_pix, name)(last))
    print(f"{name} of {first.shape}: {found.shape}")
    assert same(found, expected.transpose(2, 0, 1)) == (name == "rgb_to_hsv"), name
    assert same(found, expected) == (name != "rgb_to_hsv"), name
END
