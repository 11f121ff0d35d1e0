#!/usr/bin/env python3
"""What int8 would cost and bring, on real weights: the figures for which it was left out of simsearch.

    .python/python benches/int8.py [--model PATH]...

Needs the Python package `onnx`; ONNX_PACKAGES names a folder that holds it where .python does not. The quantizer is
onnxruntime's own: static (QDQ, weights per channel, calibrated on 40 of the shared pictures) and dynamic. Time is for
the model alone on one thread, the least of the rounds, which alternate between the models. The other 150 pictures tell
the cosine to the features of fp32, and how many keep their nearest neighbour among all 190.
"""
import argparse
import contextlib
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
import onnxruntime
import PIL.Image

from common import shared_folder

if "ONNX_PACKAGES" in os.environ:
    # Behind the others, so that numpy and onnxruntime stay those of the project.
    sys.path.append(os.environ["ONNX_PACKAGES"])
try:
    import onnx  # noqa: F401
except ImportError:
    sys.exit("int8: the Python package onnx is missing; ONNX_PACKAGES names a folder that holds it")
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization import quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

CALIBRATED_ON = 40
BATCHES = [1, 8]
MODELS = ["mobilenet_v3_large_minimalistic_fv.onnx", "mobilenet_v2_fv.onnx"]


class Pictures(CalibrationDataReader):
    """Gives the quantizer one picture after the other."""

    def __init__(self, name, pixels):
        self.feeds = iter([{name: picture[np.newaxis]} for picture in pixels])

    def get_next(self):
        return next(self.feeds, None)


def open_session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def quantized(model, pixels, folder):
    """The model in fp32 and in every kind of int8: name -> session."""
    prepared = folder / "prepared.onnx"
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    name = open_session(model).get_inputs()[0].name
    static = {"static, min-max": CalibrationMethod.MinMax, "static, percentile": CalibrationMethod.Percentile}
    sessions = {"fp32": open_session(model)}
    for label, method in static.items():
        path = folder / f"{label}.onnx"
        quantize_static(
            prepared,
            path,
            Pictures(name, pixels),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            calibrate_method=method,
        )
        sessions[label] = open_session(path)
    path = folder / "dynamic.onnx"
    # ConvInteger runs with unsigned weights only, and the quantizer gives it one scale for all channels.
    quantize_dynamic(prepared, path, weight_type=QuantType.QUInt8)
    sessions["dynamic"] = open_session(path)
    return sessions


def milliseconds(sessions, pixels, batch, rounds):
    """Least time a picture, for each session."""
    least = dict.fromkeys(sessions, float("inf"))
    for _ in range(rounds):
        for label, session in sessions.items():
            name = session.get_inputs()[0].name
            session.run(None, {name: pixels[:batch]})
            started = time.perf_counter()
            for first in range(0, 5 * batch, batch):
                session.run(None, {name: pixels[first : first + batch]})
            least[label] = min(least[label], (time.perf_counter() - started) * 1000 / (5 * batch))
    return least


def normalized_features(session, pixels):
    name = session.get_inputs()[0].name
    features = np.concatenate([session.run(None, {name: picture[np.newaxis]})[0] for picture in pixels])
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def nearest(features):
    cosine = features @ features.T
    np.fill_diagonal(cosine, -1)
    return cosine.argmax(axis=1)


def measure(model, pixels, rounds):
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(sys.stderr):
            sessions = quantized(model, pixels[:CALIBRATED_ON], pathlib.Path(folder))
        times = {batch: milliseconds(sessions, pixels, batch, rounds) for batch in BATCHES}
        reference = normalized_features(sessions["fp32"], pixels)
        others = slice(CALIBRATED_ON, None)
        for label, session in sessions.items():
            features = normalized_features(session, pixels)
            cosine = (features * reference).sum(axis=1)[others]
            kept = (nearest(features) == nearest(reference))[others]
            print(
                f"| {model.stem} | {label} | {times[1][label]:.2f} | {times[8][label]:.2f} "
                f"| {cosine.min():.4f} | {cosine.mean():.4f} | {kept.sum()} of {kept.size} |",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, action="append", help="default: both real ones that are shared")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    shared = shared_folder()
    paths = sorted((shared / "media" / "object").glob("*/*/*.jpg"))
    # In an order that has nothing to do with the names, and is the same every time.
    paths = [paths[index] for index in np.random.default_rng(0).permutation(len(paths))]
    pictures = [PIL.Image.open(path).convert("RGB").resize((224, 224)) for path in paths]
    pixels = np.array(pictures, dtype=np.float32) / 255
    print("| model | kind | ms a picture, batch 1 | batch 8 | cosine, least | mean | same nearest neighbour |")
    print("|---|---|---|---|---|---|---|")
    for model in arguments.model or [shared / "models" / name for name in MODELS]:
        measure(model, pixels, arguments.rounds)


if __name__ == "__main__":
    main()
