#!/usr/bin/env bash
# difPy: a black picture and a grey one are duplicates, and the mean squared error of two pictures is never above 255.
#
# Guess: the mean squared error of black and mid grey (128) is 128 * 128 = 16384, far above the limit of a search for
# duplicates (0) or for similar pictures (5 by default). A copy that is turned by 90 degrees is found, whichever way
# it is turned: a search rotates by default.
#
# Seen with difPy 4.2.1, without a word:
# - The pixels are subtracted and squared as bytes, which wrap around. Differences of 16, 32, 48 and so on have the
#   square 0, so that pictures of two plain greys or colours, and a picture and a brighter one, are duplicates of
#   error 0, and the one of lower quality is what `delete` deletes. All errors are those modulo 256.
# - Three of the four turns are tried. A copy that is turned to the right is found, and the same one to the left is
#   not; with the names of the two exchanged it is the other way round.
# (`_compute_mse` in `dif.py`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    difPy==4.2.1 numpy==2.4.6 pillow==13.0.0
mkdir "$work/pictures"
cat >"$work/errors.py" <<'END_OF_PROGRAM'
import contextlib
import io
import os
import shutil
import sys
from importlib.metadata import version

import difPy
import numpy as np
from PIL import Image

FOLDER = sys.argv[1]


def found(pictures, similarity):
    """The error that difPy gives for two pictures, or None where it finds no match."""
    shutil.rmtree(FOLDER)
    os.mkdir(FOLDER)
    for name, pixels in zip("ab", pictures):
        Image.fromarray(pixels).save(f"{FOLDER}/{name}.png")
    with contextlib.redirect_stdout(io.StringIO()):
        repository = difPy.build(FOLDER, show_progress=False, processes=1)
        search = difPy.search(repository, similarity=similarity, show_progress=False, processes=1)
    matches = [match[1] for matches in search.result.values() for match in matches]
    return float(matches[0]) if matches else None


def plain(*colour):
    return np.full((50, 50, 3), colour, np.uint8)


if __name__ == "__main__":
    print("difPy", version("difPy"))
    drawn = np.random.default_rng(0).integers(0, 112, (50, 50, 3), dtype=np.uint8)
    for name, one, other, seen in (
            ("black and grey (128)", plain(0), plain(128), 0),
            ("dark red and light blue", plain(128, 16, 0), plain(32, 176, 240), 0),
            ("a picture and one that is brighter by 144", drawn, drawn + np.uint8(144), 0),
            ("black and a grey of 17", plain(0), plain(17), 33)):
        true = np.square(one.astype(int) - other).mean()
        for similarity in ("duplicates", 100):
            error = found((one, other), similarity)
            print(f"{name}, limit {similarity}: expected no match, the error is {true:.0f}; seen {error}")
            assert error == (seen if seen == 0 or similarity == 100 else None)
    for name, turns, seen in (("to the left", 1, None), ("upside down", 2, 0), ("to the right", 3, 0)):
        error = found((drawn, np.rot90(drawn, turns)), "duplicates")
        print(f"a copy turned {name}: expected 0.0, seen {error}")
        assert error == seen
        assert found((np.rot90(drawn, turns), drawn), "duplicates") == {1: 0, 2: 0, 3: None}[turns]
END_OF_PROGRAM
PYTHONPATH="$work/packages" python3 "$work/errors.py" "$work/pictures"
