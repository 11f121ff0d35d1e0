#!/usr/bin/env bash
# skl2onnx: a model of nearest neighbours that weighs them by distance weighs all of them alike once it is converted.
#
# Guess: `to_onnx` of a `KNeighborsRegressor` or `KNeighborsClassifier` with `weights="distance"` predicts what
# scikit-learn does, but for rounding, or refuses it as other settings are refused.
#
# Seen with skl2onnx 1.20.0, scikit-learn 1.9.1 and onnxruntime 1.32.0: the converted model gives what that of
# `weights="uniform"` gives, for both. A vector that the model was trained with, at distance 0, gets the mean of its
# five neighbours and not its own value, probabilities are multiples of a fifth, and labels differ. `uniform` is
# converted rightly. (The graph has all the steps of weighing in it. But the distances are handed on with their signs
# turned, and the maximum of each and 0.000001, which is to keep 0 from being divided by, makes them all the same:
# `onnx_nearest_neighbors_indices_k` in `nearest_neighbours.py`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 scikit-learn==1.9.1 skl2onnx==1.20.0
PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1 python3 - <<'END'
import numpy as np
import onnxruntime
import skl2onnx
import sklearn
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

random = np.random.default_rng(0)
vectors = random.normal(size=(200, 6)).astype(np.float32)
values = vectors[:, 0] + vectors[:, 1]
labels = (vectors[:, 0] > 0).astype(np.int64) + (vectors[:, 1] > 1)
queries = np.concatenate([vectors[:3], random.normal(size=(97, 6)).astype(np.float32)])


def converted(model):
    options = {"zipmap": False} if isinstance(model, KNeighborsClassifier) else None
    made = skl2onnx.to_onnx(model, vectors[:1], target_opset=18, options=options and {id(model): options})
    return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"X": queries})


print("skl2onnx", skl2onnx.__version__, "scikit-learn", sklearn.__version__, "onnxruntime", onnxruntime.__version__)
found = {}
for weights in ("uniform", "distance"):
    model = KNeighborsRegressor(5, weights=weights).fit(vectors, values)
    expected, found[weights] = model.predict(queries), converted(model)[0].ravel().astype(float)
    print(f"regressor, {weights}: scikit-learn {expected[:3].round(3)}, converted {found[weights][:3].round(3)}")
    assert np.allclose(expected, found[weights], atol=1e-4) == (weights == "uniform"), weights
    if weights == "distance":
        assert np.allclose(expected[:3], values[:3])

    model = KNeighborsClassifier(5, weights=weights).fit(vectors, labels)
    expected, (classes, found[weights, "proba"]) = model.predict_proba(queries), converted(model)
    changed = int(np.sum(classes != model.predict(queries)))
    print(f"classifier, {weights}: scikit-learn {expected[5].round(3)}, converted",
          f"{found[weights, 'proba'][5].round(3)}; other labels for {changed} of {len(queries)} vectors")
    assert np.allclose(expected, found[weights, "proba"], atol=1e-4) == (weights == "uniform"), weights
assert np.allclose(found["uniform"], found["distance"], atol=1e-6)
assert np.allclose(found["uniform", "proba"], found["distance", "proba"], atol=1e-6)
END
