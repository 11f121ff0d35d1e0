#!/usr/bin/env bash
# jax2onnx: a model that normalises the rows and columns of a picture normalises its channels in ONNX.
#
# Guess: `to_onnx` turns the layers of Flax that it lists into what gives in onnxruntime what Flax gives, with all
# of their arguments, or refuses those that it does not know.
#
# Seen with jax2onnx 0.17.1 and Flax 0.12.8, without a word:
# - `nnx.RMSNorm` with `reduction_axes` other than the last one: the converted model takes the mean over the last axis,
#   the channels, whatever the layer says.
# - `nnx.LinearGeneral` over axes that are not the last ones, as (1, 3) of [n, h, w, c]: the numbers are taken in the
#   order of memory, as if the axes were at the end. The shape is right and the numbers are not.
# The same layers over the last axes are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 jax2onnx==0.17.1 onnx==1.23.2 onnxruntime==1.32.0
HOME=$work JAX_PLATFORMS=cpu ORT_DISABLE_TELEMETRY=1 PYTHONPATH="$work/packages" python3 - <<'END' 2>"$work/log" ||
from importlib.metadata import version

import jax
import numpy as np
import onnxruntime
from flax import nnx
from jax2onnx import to_onnx

pictures = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)


def both(layer):
    """What Flax and the converted model give."""
    model = to_onnx(layer, [jax.ShapeDtypeStruct(pictures.shape, pictures.dtype)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: pictures})[0]
    return np.asarray(layer(jax.numpy.asarray(pictures))), found


def normalised(axes):
    return pictures / np.sqrt((pictures ** 2).mean(axis=axes, keepdims=True) + 1e-6)


print("jax2onnx", version("jax2onnx"), "Flax", version("flax"), "onnxruntime", onnxruntime.__version__)
for axes in (-1, (1, 2)):
    expected, found = both(nnx.RMSNorm(3, reduction_axes=axes, rngs=nnx.Rngs(0)))
    print(f"RMSNorm over {axes}: Flax {expected[0, 0, 0].round(3)}, converted {found[0, 0, 0].round(3)}")
    assert np.allclose(expected, normalised(axes), atol=1e-4), expected
    assert np.allclose(found, normalised(-1), atol=1e-4), found

for axes, inputs in (((-2, -1), (6, 3)), ((1, 3), (5, 3))):
    layer = nnx.LinearGeneral(inputs, 4, axis=axes, rngs=nnx.Rngs(0))
    kernel = np.asarray(layer.kernel[...]).reshape(-1, 4)
    expected, found = both(layer)
    other = [axis for axis in range(4) if axis not in [axis % 4 for axis in axes]]
    right = pictures.transpose(*other, *[axis % 4 for axis in axes]).reshape(*[pictures.shape[a] for a in other], -1)
    print(f"LinearGeneral over {axes}: Flax {expected[0, 0].round(3)}, converted {found[0, 0].round(3)}")
    assert np.allclose(expected, right @ kernel, atol=1e-4), expected
    assert expected.shape == found.shape
    as_it_lies = pictures.reshape(*right.shape) @ kernel
    assert np.allclose(found, as_it_lies, atol=1e-4), found
    assert np.allclose(expected, found, atol=1e-4) == (axes == (-2, -1))
END
    { cat "$work/log"; exit 1; }
