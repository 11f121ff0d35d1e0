#!/usr/bin/env bash
# image-similarity-measures: a picture is at an angle of 90 degrees from itself, and most of its edges are none.
#
# Guess: `evaluation` reads two files and gives their measures. The angle ("sam") between a file and itself is 0, and
# the likeness of features ("fsim") of two pictures is the same after both are turned around.
#
# Seen with image-similarity-measures 0.3.6, which reads files as bytes, with no word of it:
# - "sam" multiplies bytes by bytes, which wraps around at 256, and divides by the lengths, which are right: 89.7
#   degrees between a file and itself, and as much between any two. With floats in place of bytes it is 0.
# - "fsim" takes its edges as unsigned 16 bits. All that gets darker to the right or downwards is no edge, and the
#   squares of the others wrap around: a step by 255 counts as much as one by 1, and a step by 32 or by 160 as none. So
#   the likeness of two pictures changes when both are turned by 180 degrees, which with edges as floats it does not.
# (`sam` and `_gradient_magnitude` in `quality_metrics.py`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Without the packages that these ask for besides: their OpenCV needs a display's libraries.
python3 -m pip --disable-pip-version-check install --quiet --no-compile --no-deps --target "$work/packages" \
    image-similarity-measures==0.3.6 phasepack==1.5 numpy==1.26.4 scipy==1.11.4 scikit-image==0.20.0 \
    opencv-python-headless==4.11.0.86 lazy_loader==0.4 packaging==24.2 pillow==11.3.0 imageio==2.37.0 networkx==3.4.2 \
    tifffile==2024.8.30 pywavelets==1.8.0
PYTHONPATH="$work/packages" WORK="$work" python3 -W ignore - <<'END'
import os
from importlib.metadata import version

import cv2
import numpy as np
from image_similarity_measures import quality_metrics
from image_similarity_measures.evaluate import evaluation

print("image-similarity-measures", version("image-similarity-measures"))
noise = np.random.default_rng(0).normal(size=(96, 96, 3))
picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
blurred = cv2.GaussianBlur(picture, (0, 0), 3)
paths = {}
for name, pixels in (("picture", picture), ("blurred", blurred)):
    for turn in (0, 180):
        paths[name, turn] = os.path.join(os.environ["WORK"], f"{name}-{turn}.png")
        cv2.imwrite(paths[name, turn], np.rot90(pixels, turn // 90))

angle = {}
for name, other in (("itself", "picture"), ("its blurred copy", "blurred")):
    angle[name] = evaluation(paths["picture", 0], paths[other, 0], ["sam"])["sam"]
    pixels = [cv2.imread(paths[which, 0]).astype(float) for which in ("picture", other)]
    floats = quality_metrics.sam(*pixels)
    print(f"sam of a picture and {name}: as files {angle[name]:.2f} degrees, as floats {floats:.2f}")
    assert 85 < angle[name] < 95 and floats < 40
    assert name != "itself" or floats < 0.001

for step in (1, 15, 16, 20, 32, 160, 255):
    edge = np.zeros((9, 9), np.uint8)
    edge[:, 4:] = step
    both = edge, edge[:, ::-1].copy()
    seen = [int(quality_metrics._gradient_magnitude(pixels, cv2.CV_16U).max()) for pixels in both]
    print(f"a step by {step}: expected {16 * step} either way, seen {seen[0]} rising and {seen[1]} falling")
    assert seen == [round(((16 * step) ** 2 % 65536) ** 0.5), 0], seen

bare = quality_metrics._gradient_magnitude
likeness = {}
for edges in ("as they are", "as floats"):
    if edges == "as floats":
        quality_metrics._gradient_magnitude = lambda pixels, depth: bare(pixels.astype(np.float32), cv2.CV_32F)
    likeness[edges] = [evaluation(paths["picture", turn], paths["blurred", turn], ["fsim"])["fsim"]
                       for turn in (0, 180)]
    print("fsim, edges {}: {:.4f}, both turned {:.4f}".format(edges, *likeness[edges]))
assert abs(np.diff(likeness["as floats"])) < 1e-4 < 1e-3 < abs(np.diff(likeness["as they are"]))
END
