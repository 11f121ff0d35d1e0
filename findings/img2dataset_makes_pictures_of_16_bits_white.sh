#!/bin/sh
# img2dataset: pictures of 16 bits become white sheets, and are counted as successes.
#
# Guess: a picture that img2dataset fetches and encodes anew (its default) looks as before, smaller or as JPEG.
# `resize_mode="no"` changes nothing but the format.
#
# Seen with img2dataset 1.47.0 and OpenCV 4.14.0: what a PNG of 16 bits holds above 255 is white, in gray and in colour, so that
# nearly all of it is. The status is "success", and the width and height are right. (The picture is read with
# `IMREAD_UNCHANGED`, which keeps 16 bits, and handed to OpenCV's encoder of JPEG, which cuts off at 255; with alpha it is cut
# off before: `Resizer.__call__` in `resizer.py`.) With `disable_all_reencoding` all is kept. And `resize_mode="no"` does encode
# a JPEG anew: only `skip_reencode` keeps its bytes.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-compile --target "$work/packages" \
    img2dataset==1.47.0 imagecodecs==2026.3.6 numpy==2.4.6 opencv-python-headless==4.14.0.94 pillow==13.0.0
rm "$work/packages/dataclasses.py" # for Python 3.6; it would stand before that of a newer Python
cd "$work"
mkdir web
# A file and not standard input, since img2dataset starts processes that read it again.
cat >white.py <<'END'
import functools
import glob
import http.server
import importlib.metadata
import io
import json
import os
import pathlib
import threading

import imagecodecs
import img2dataset
import numpy as np
from PIL import Image


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def fetch(folder, **options):
    """The status, the mean of the left half and whether the bytes are the same, for each picture."""
    img2dataset.download(url_list="list.txt", output_folder=folder, processes_count=1, thread_count=1, resize_mode="no",
                         retries=0, **options)
    found = {}
    for path in glob.glob(f"{folder}/*/*.json"):
        told = json.loads(pathlib.Path(path).read_text())
        name = os.path.basename(told["url"])
        data = next(pathlib.Path(other).read_bytes() for other in glob.glob(path[:-4] + "*") if not other.endswith(".json"))
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        mean = pixels.reshape(64, 256, -1)[:, :128, 0].mean() / (257 if pixels.dtype != np.uint8 else 1)
        found[name] = told["status"], round(float(mean)), data == pathlib.Path("web", name).read_bytes()
    return found


def main():
    # A ramp from black to white, with 8 and 16 bits.
    ramp = np.repeat(np.linspace(0, 65535, 256).astype(np.uint16)[None], 64, 0)
    colour = np.stack([ramp] * 3, 2)
    pictures = {"gray8.png": (ramp // 257).astype(np.uint8), "gray16.png": ramp, "colour16.png": colour,
                "alpha16.png": np.dstack([colour, np.full_like(ramp, 65535)])}
    for name, pixels in pictures.items():
        pathlib.Path("web", name).write_bytes(imagecodecs.png_encode(pixels))
    Image.fromarray(pictures["gray8.png"]).save("web/small.jpg", quality=60)
    names = [*pictures, "small.jpg"]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory="web"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pathlib.Path("list.txt").write_text("".join(f"http://127.0.0.1:{server.server_port}/{name}\n" for name in names))
    results = {"jpg": fetch("jpg"), "kept": fetch("kept", disable_all_reencoding=True),
               "skip": fetch("skip", skip_reencode=True)}
    server.shutdown()

    print("img2dataset", importlib.metadata.version("img2dataset"), "with OpenCV",
          importlib.metadata.version("opencv-python-headless"))
    for name in names:
        status, mean, same = results["jpg"][name]
        print(f"{name}: {status}, mean of the dark half {mean}, kept as it is {results['kept'][name][1]};",
              f"the same bytes: {same}, with skip_reencode {results['skip'][name][2]}")
    assert all(result[0] == "success" for found in results.values() for result in found.values()), results
    assert all(63 <= results["kept"][name][1] <= 64 for name in names), results["kept"]
    assert 63 <= results["jpg"]["gray8.png"][1] <= 64, results["jpg"]
    assert all(results["jpg"][name][1] > 250 for name in names[1:4]), results["jpg"]
    assert not results["jpg"]["small.jpg"][2] and results["skip"]["small.jpg"][2], results


if __name__ == "__main__":
    main()
END
export PYTHONPATH="$work/packages" NO_ALBUMENTATIONS_UPDATE=1 no_proxy=127.0.0.1 PYTHONWARNINGS=ignore
python3 white.py >out.txt 2>err.txt || { tail out.txt err.txt; exit 1; }
sed -n '/^img2dataset/,$p' out.txt
