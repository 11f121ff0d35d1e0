#!/usr/bin/env bash
# Keras on OpenVINO: a picture of bytes is black once it is grey.
#
# Guess: `keras.ops.image.rgb_to_grayscale` gives the same on each of Keras's back ends, within one of 255, for pictures
# of bytes, which is what a decoder gives, as for pictures of floats.
#
# Seen with Keras 3.15.1 on its back end "openvino" (OpenVINO 2026.4.1), without a word: each pixel of a picture of
# uint8, int32 or another type of whole numbers is 0. The weights 0.2989, 0.587 and 0.114 are made constants of the
# picture's own type, which cuts them all to 0. Pictures of floats are right, and so is the back end "numpy". A picture
# that is grey already (one channel), which the function takes, raises an UnboundLocalError.
# (`rgb_to_grayscale` in `keras/src/backend/openvino/image.py`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 scipy==1.17.1 keras==3.15.1 openvino==2026.4.1
HOME=$work KERAS_BACKEND=openvino PYTHONPATH="$work/packages" python3 - <<'END'
from importlib.metadata import version

import keras
import numpy as np

print("Keras", version("keras"), "on", keras.backend.backend(), version("openvino"))
colours = np.array([[[255, 255, 255], [200, 100, 50], [0, 255, 0], [10, 20, 30]]])
expected = colours @ [0.2989, 0.587, 0.114]
print("expected, within 1:", expected.round(1))
for dtype in ("float32", "float16", "uint8", "int32"):
    grey = keras.ops.image.rgb_to_grayscale(colours.astype(dtype))
    found = np.asarray(keras.ops.convert_to_numpy(grey))
    print(f"of {dtype}: {found.ravel()}")
    assert found.dtype == dtype and found.shape == (1, 4, 1), found
    if dtype.startswith("float"):
        assert np.allclose(found[..., 0], expected, rtol=2e-3), found
    else:
        assert not found.any(), found
try:
    keras.ops.image.rgb_to_grayscale(colours[..., :1].astype("float32"))
except UnboundLocalError as error:
    print("of one channel:", type(error).__name__, error)
else:
    raise SystemExit("a picture of one channel is converted now")
END
