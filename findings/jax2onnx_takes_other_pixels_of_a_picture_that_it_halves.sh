#!/usr/bin/env bash
# jax2onnx: a picture that a model halves is another one in ONNX, and one that it enlarges has another edge.
#
# Guess: `to_onnx` turns `jax.image.resize` into what gives in onnxruntime what JAX gives, but for rounding, or refuses
# it, as it does with Lanczos and with antialias.
#
# Seen with jax2onnx 0.17.1 and JAX 0.10.2, without a word:
# - "nearest" takes what lies in the middle of each new pixel, and where that is between two, JAX takes the one to the
#   right and below. The converted model takes the one to the left and above. So half of a picture has not one pixel in
#   common: it is made of the rows and columns 0, 2, 4 and not 1, 3, 5. 8 to 2 and 8 to 12 differ, too. It matters for
#   maps of labels, and in networks that halve and double.
# - "cubic", enlarging: JAX leaves out what lies outside of the picture and lets the rest count for more; the
#   converted model repeats the edge (`exclude_outside` is 0). So the first and the last pixels differ: the position
#   embeddings of a vision transformer for a larger picture, say.
# The -0.5 of the filter is handed over, "linear" is right, and so is "nearest" where no middle is between two pixels.
# (`nearest_mode` "round_prefer_floor" in `plugins/jax/image/resize.py`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 jax2onnx==0.17.1 onnx==1.23.2 onnxruntime==1.32.0
HOME=$work JAX_PLATFORMS=cpu ORT_DISABLE_TELEMETRY=1 PYTHONPATH="$work/packages" python3 - <<'END' 2>"$work/log" ||
from importlib.metadata import version

import jax
import numpy as np
import onnxruntime
from jax2onnx import to_onnx


def both(picture, height, width, method):
    """What JAX makes of a picture of [height, width], and the converted model."""

    def resize(values):
        return jax.image.resize(values, (1, height, width, 1), method, antialias=False)

    values = np.asarray(picture, np.float32)[None, ..., None]
    model = to_onnx(resize, [jax.ShapeDtypeStruct(values.shape, values.dtype)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: values})[0]
    return np.asarray(resize(jax.numpy.asarray(values)))[0, ..., 0], found[0, ..., 0]


print("jax2onnx", version("jax2onnx"), "JAX", jax.__version__, "onnxruntime", onnxruntime.__version__)
row = [list(range(0, 80, 10))]
for width, middle, seen in ((4, [10, 30, 50, 70], [0, 20, 40, 60]), (2, [20, 60], [10, 50]),
                            (12, None, [0, 0, 10, 20, 20, 30, 40, 40, 50, 60, 60, 70]),
                            (16, None, [number for number in row[0] for _ in range(2)])):
    expected, found = both(row, 1, width, "nearest")
    print(f"nearest, 8 to {width}: JAX {expected[0].tolist()}, converted {found[0].tolist()}")
    assert found[0].tolist() == seen, found
    assert middle is None or expected[0].tolist() == middle, expected
    assert np.array_equal(expected, found) == (width == 16)
picture = np.arange(16).reshape(4, 4) * 10
expected, found = both(picture, 2, 2, "nearest")
print(f"nearest, 4x4 to 2x2: JAX {expected.tolist()}, converted {found.tolist()}")
assert not (expected == found).any()

expected, found = both(picture, 8, 8, "cubic")
print(f"cubic, 4x4 to 8x8, first row: JAX {expected[0].round(2)}, converted {found[0].round(2)}")
assert np.abs(expected - found).max() > 0.5 and np.abs(expected - found)[3:5, 3:5].max() < 1e-3
expected, found = both(picture, 8, 8, "linear")
assert np.allclose(expected, found, atol=1e-3), found
END
    { cat "$work/log"; exit 1; }
