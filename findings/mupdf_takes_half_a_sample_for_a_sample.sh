#!/usr/bin/env bash
# MuPDF (here in PyMuPDF): a TIFF of floats or of 32 bits is noise, and so is one of 16 bits with a predictor.
#
# Guess: `pymupdf.Pixmap("picture.tif")` gives the picture with 8 bits, as it does for TIFFs of 8 and 16 bits, or
# refuses it.
#
# Seen with PyMuPDF 2.0 (MuPDF 1.28.5): samples of 32 bits are read as twice as many of 16 bits, so that every second
# pixel is half of a number, the picture is twice as wide, and its right half is gone; floats are read as whole
# numbers at that. Of 16 bits with Predictor 2 the differences are added up byte by byte, without what is carried
# over, so that a smooth ramp is too dark and has steps. There is no error. 8 bits are right with and without a
# predictor, and 16 bits without.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pymupdf==2.0 tifffile==2026.3.3 imagecodecs==2026.3.6
cd "$work"
PYTHONPATH="$work/packages" python3 -W ignore - <<'END'
from importlib.metadata import version

import numpy as np
import pymupdf
import tifffile

print("PyMuPDF", version("pymupdf"), "MuPDF", pymupdf.mupdf_version)
# A ramp from black to nearly white, 0 to 63000 of 65535, as each type holds it.
steps = np.tile(np.arange(0, 64_000, 1000), (8, 1))
ramp = steps // 256
right = {}
for dtype, array in (("uint8", ramp), ("uint16", steps), ("uint32", steps * 65537), ("float32", steps / 65535)):
    for compression, predictor in ((None, None), ("zlib", None), ("zlib", 3 if dtype == "float32" else 2)):
        tifffile.imwrite("ramp.tif", array.astype(dtype), photometric="minisblack", compression=compression,
                         predictor=predictor)
        assert np.allclose(tifffile.imread("ramp.tif"), array)
        pixmap = pymupdf.Pixmap("ramp.tif")
        assert (pixmap.width, pixmap.height, pixmap.n) == (64, 8, 1)
        row = np.frombuffer(pixmap.samples, np.uint8)[:64].astype(int)
        name = f"{dtype}, {compression}, predictor {predictor}"
        right[name] = abs(row - ramp[0]).max() <= 1
        print(f"{name}: expected {ramp[0, 20:26].tolist()}, seen {row[20:26].tolist()}")
for name, as_it_is in right.items():
    assert as_it_is == (name.startswith(("uint8", "uint16")) and name != "uint16, zlib, predictor 2"), right
END
