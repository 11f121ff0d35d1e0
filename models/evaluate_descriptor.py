#!/usr/bin/env python3
"""How often does a changed picture find its original? Prints a Markdown table, a column for each model.

    python evaluate_descriptor.py MODEL.onnx [MODEL.onnx ...] MEDIA_DIR
    python evaluate_descriptor.py --limits MODEL.onnx MEDIA_DIR

Needs numpy, Pillow and onnxruntime. Every picture under MEDIA_DIR is changed in each of the ways below,
resampled as `simsearch extract` does (Pillow's bicubic to 224x224, aspect ratio ignored), and looked up by
Euclidean distance among the features of all originals. A cell is the share of pictures, in percent, whose
nearest neighbour is their own original.

With --limits, the originals and their first eight changed versions are one collection, in which `simsearch
duplicates` is to find the versions of one original. For each limit: how many of the pairs within it are of one
original (precision), and how many of the pairs of one original are within it (recall).
"""

import argparse
import io
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageEnhance, ImageOps

BATCH = 8  # pictures per model call
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


def jpeg(picture, quality):
    """The picture after a round trip through JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def half(picture):
    width, height = picture.size
    return picture.resize((max(1, width // 2), max(1, height // 2)), Image.Resampling.BICUBIC)


def crop(picture, share, x=0.5, y=0.5):
    """Keep `share` of width and height; x and y say where, from 0 (left, top) to 1 (right, bottom)."""
    width, height = (max(1, round(side * share)) for side in picture.size)
    left, top = round((picture.width - width) * x), round((picture.height - height) * y)
    return picture.crop((left, top, left + width, top + height))


def rotate(picture, degrees):
    """Same size, black corners."""
    return picture.rotate(degrees, Image.Resampling.BICUBIC)


# The eight versions that the model is asked to serve.
VERSIONS = {
    "JPEG quality 30": lambda p: jpeg(p, 30),
    "half size": half,
    "centre crop to 80 %": lambda p: crop(p, 0.8),
    "centre crop to 60 %": lambda p: crop(p, 0.6),
    "brightness x1.4": lambda p: ImageEnhance.Brightness(p).enhance(1.4),
    "saturation x0.3": lambda p: ImageEnhance.Color(p).enhance(0.3),
    "mirrored": ImageOps.mirror,
    "rotated by 5 degrees": lambda p: rotate(p, 5),
}

# Others, to show how far it carries.
FURTHER = {
    "crop to 80 %, top left": lambda p: crop(p, 0.8, 0, 0),
    "crop to 60 %, top left": lambda p: crop(p, 0.6, 0, 0),
    "crop to 60 %, bottom right": lambda p: crop(p, 0.6, 1, 1),
    "centre crop to 60 %, mirrored": lambda p: ImageOps.mirror(crop(p, 0.6)),
    "centre crop to 40 %": lambda p: crop(p, 0.4),
    "brightness x0.6": lambda p: ImageEnhance.Brightness(p).enhance(0.6),
    "contrast x1.4": lambda p: ImageEnhance.Contrast(p).enhance(1.4),
    "greyscale": lambda p: p.convert("L").convert("RGB"),
    "rotated by 10 degrees": lambda p: rotate(p, 10),
    "rotated by 90 degrees": lambda p: p.transpose(Image.Transpose.ROTATE_90),
    "upside down": ImageOps.flip,
}


def pixels(picture):
    """What the model is given: f32 `[224, 224, 3]` in [0, 1]."""
    resampled = picture.resize((224, 224), Image.Resampling.BICUBIC)
    return np.asarray(resampled, np.float32) / np.float32(255)


def open_model(path):
    """On one core, so that the time is comparable."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def features(session, pictures):
    """Features f32 `[pictures, d]`, and the median milliseconds per picture over the full batches."""
    name = session.get_inputs()[0].name
    parts, times = [], []
    for start in range(0, len(pictures), BATCH):
        batch = pictures[start : start + BATCH]
        began = time.perf_counter()
        parts.append(session.run(None, {name: batch})[0])
        if len(batch) == BATCH:
            times.append((time.perf_counter() - began) / BATCH * 1e3)
    return np.concatenate(parts), np.median(times) if times else float("nan")


def found(originals, changed):
    """For each row of `changed`, whether its nearest row of `originals` is the one of the same number."""
    originals, changed = originals.astype(np.float64), changed.astype(np.float64)
    # |a - b|^2 without |a|^2, which does not change which b is nearest.
    distances = (originals**2).sum(1) - 2 * changed @ originals.T
    return distances.argmin(1) == np.arange(len(originals))


def row(name, cells, form="{:.1f}"):
    print(f"| {name} |" + "".join(f" {form.format(cell)} |" for cell in cells), flush=True)


def print_limits(session, pictures):
    """Precision and recall of all pairs within a limit, for originals and their eight versions in one collection."""
    kinds = [np.stack([pixels(picture) for picture in pictures])]
    kinds += [np.stack([pixels(change(picture)) for picture in pictures]) for change in VERSIONS.values()]
    rows = np.concatenate([features(session, kind)[0] for kind in kinds]).astype(np.float64)
    original = np.tile(np.arange(len(pictures)), len(kinds))
    kind = np.repeat(np.arange(len(kinds)), len(pictures))
    squares = (rows**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0))
    one, other = np.triu_indices(len(rows), 1)
    distances, same = distances[one, other], original[one] == original[other]
    of_original = same & ((kind[one] == 0) | (kind[other] == 0))
    print("| within | pairs | precision, % | recall, % | of an original and its version, % | of different pictures, one in |")
    print("|---:|---:|---:|---:|---:|---:|")
    for limit in np.arange(0.05, 0.61, 0.025):
        near = distances <= limit
        wrong = (near & ~same).sum()
        print(f"| {limit:.3f} | {near.sum():,} | {100 * same[near].mean():.2f} | {100 * near[same].mean():.1f} "
              f"| {100 * near[of_original].mean():.1f} | {f'{(~same).sum() / wrong:,.0f}' if wrong else ''} |")


def main():
    parser = argparse.ArgumentParser(description="How often does a changed picture find its original?")
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.onnx")
    parser.add_argument("media_dir", type=Path, metavar="MEDIA_DIR")
    parser.add_argument("--limits", action="store_true", help="precision and recall of limits, for the first model")
    args = parser.parse_args()

    paths = sorted(path for path in args.media_dir.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        parser.error(f"no pictures under {args.media_dir}")
    pictures = [Image.open(path).convert("RGB") for path in paths]
    sessions = [open_model(path) for path in args.models]
    if args.limits:
        return print_limits(sessions[0], pictures)
    base = np.stack([pixels(picture) for picture in pictures])
    originals, times = zip(*(features(session, base) for session in sessions))

    def shares(change):
        """`[models, pictures]`: whether each changed picture found its original."""
        changed = np.stack([pixels(change(picture)) for picture in pictures])
        return np.stack([found(own, features(s, changed)[0]) for own, s in zip(originals, sessions)])

    row(f"{len(paths)} pictures", [path.stem for path in args.models], "{}")
    row("---", ["---:"] * len(sessions), "{}")
    hits = []
    for name, change in VERSIONS.items():
        hits.append(shares(change))
        row(name, 100 * hits[-1].mean(1))
    hits = np.stack(hits)
    row("**average of these eight**", 100 * hits.mean((0, 2)), "**{:.1f}**")
    row("the same, pictures 1, 3, 5, ...", 100 * hits[:, :, 0::2].mean((0, 2)))
    row("the same, pictures 2, 4, 6, ...", 100 * hits[:, :, 1::2].mean((0, 2)))
    for name, change in FURTHER.items():
        row(name, 100 * shares(change).mean(1))
    row(f"ms per picture, one core, batch {BATCH}", times, "{:.2f}")


if __name__ == "__main__":
    main()
