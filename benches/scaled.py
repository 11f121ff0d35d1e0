#!/usr/bin/env python3
"""What --scaled-decode is worth: speed, and cosine to the exact features, on photographs of 12 megapixels.

    .python/python benches/scaled.py [--pictures N]

The photographs are the shared ones, enlarged to 4000 pixels on the longer side, at JPEG quality 90: the amount of data
of a camera's, though less detail. Prints Markdown to stdout.
"""
import argparse
import json
import pathlib
import subprocess

import numpy as np
import PIL.Image

import common

MODEL = "mobilenet_v3_large_minimalistic_fv"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=60)
    arguments = parser.parse_args()
    shared = common.shared_folder()
    with common.work_folder("scaled") as folder:
        folder = pathlib.Path(folder)
        media = folder / "media"
        media.mkdir()
        photographs = sorted((shared / "media" / "object").glob("*/*/*.jpg"))[: arguments.pictures]
        megapixels = 0.0
        for path in photographs:
            picture = PIL.Image.open(path).convert("RGB")
            scale = 4000 / max(picture.size)
            picture = picture.resize([round(side * scale) for side in picture.size])
            picture.save(media / path.name, quality=90)
            megapixels += picture.width * picture.height / 1e6 / len(photographs)
        (media / "objects.txt").write_text("".join(f"{path.name}\n" for path in photographs))
        rates, features = {}, {}
        for turn in range(3):
            for option in ("exact pixels", "--scaled-decode"):
                place = folder / f"{option}{turn}"
                command = [common.PROGRAM, "extract", "--quiet", "--json", "--media-dir", media, "--feature-dir", place]
                command += ["--model", shared / "models" / f"{MODEL}.onnx"]
                command += [option] if option.startswith("--") else []
                output = subprocess.run(command, check=True, capture_output=True, env=common.environment()).stdout
                rates.setdefault(option, []).append(json.loads(output)["images_per_second"])
                files = sorted(place.glob("*/*/*/*.npy"), key=lambda path: path.name)
                features[option] = np.array([np.load(path) for path in files])
        plain, scaled = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True) for matrix in features.values())
        cosines = (plain * scaled).sum(axis=1)
        before, after = (sorted(rate)[1] for rate in rates.values())
        print(f"{len(photographs)} photographs of {megapixels:.1f} megapixels, {MODEL}: {before:.1f} pictures/s, with")
        print(f"`--scaled-decode` {after:.1f} pictures/s, {after / before:.2f} times as many;")
        few = (cosines < 0.999).sum()
        print(f"cosine to the exact features at least {cosines.min():.5f}, {cosines.mean():.5f} in the mean, {few} below 0.999.")


if __name__ == "__main__":
    main()
