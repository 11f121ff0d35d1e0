#!/usr/bin/env bash
# MNN: a picture that is to be resized by areas, bicubically or by Lanczos is resized by leaving pixels out.
#
# Guess: `MNN.cv.resize` does what OpenCV's function of this name does, which its documentation says of it, with the
# `INTER_` constants that the same page lists; or it refuses those that it does not have.
#
# Seen with MNN 3.6.1, without a word: `INTER_AREA`, `INTER_CUBIC` and `INTER_LANCZOS4` give what `INTER_NEAREST`
# gives. So half of a checkerboard is black, and not gray, and an enlarged picture has steps. People who ask for areas
# do so in order not to lose pixels; the features are those of every second or third pixel. `INTER_LINEAR`, the default,
# is that of OpenCV.
# (`INTER_NEAREST` takes another pixel than OpenCV's does, which is no matter here.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 mnn==3.6.1 opencv-python-headless==5.0.0.93
PYTHONPATH="$work/packages" python3 - <<'END'
import cv2
import MNN
import MNN.cv
import numpy as np


def both(picture, width, height, name):
    """What OpenCV and MNN make of a picture of [height, width, 1]."""
    variable = MNN.expr.const(picture, list(picture.shape), MNN.expr.NHWC, MNN.numpy.uint8)
    found = MNN.cv.resize(variable, [width, height], interpolation=getattr(MNN.cv, name))
    expected = cv2.resize(picture, (width, height), interpolation=getattr(cv2, name))
    return expected.reshape(height, width), np.array(found.read()).reshape(height, width).copy()


print("MNN", MNN.version(), "and OpenCV", cv2.__version__)
board = ((np.indices((8, 8)).sum(axis=0) % 2) * 255).astype(np.uint8)[..., None]
ramp = (np.arange(8, dtype=np.uint8) * 30).reshape(1, 8, 1)
nearest = {}
for name in ("INTER_NEAREST", "INTER_LINEAR", "INTER_AREA", "INTER_CUBIC", "INTER_LANCZOS4"):
    print(name)
    right = []
    for what, picture, width, height in (("half of a checkerboard", board, 4, 4), ("half of a ramp", ramp, 4, 1),
                                         ("twice a ramp", ramp, 16, 1)):
        expected, found = both(picture, width, height, name)
        print(f"  {what}, first row: OpenCV {expected[0]}, MNN {found[0]}")
        nearest.setdefault(what, found)
        right.append(np.abs(expected.astype(int) - found).max() <= 1)
        # OpenCV enlarges by areas as it does by nearest.
        if name == "INTER_LINEAR":
            assert right[-1], (what, expected, found)
        elif name != "INTER_NEAREST":
            assert np.array_equal(found, nearest[what]), (what, found)
            assert right[-1] == (name == "INTER_AREA" and what.startswith("twice")), (what, expected, found)
    if name in ("INTER_AREA", "INTER_CUBIC"):
        expected, found = both(board, 4, 4, name)
        assert abs(expected.mean() - 127.5) < 1 and not found.any(), (expected, found)
END
