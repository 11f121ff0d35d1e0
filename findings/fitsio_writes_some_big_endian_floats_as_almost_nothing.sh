#!/usr/bin/env bash
# fitsio: of a big-endian array of floats some pixels of a FITS picture are written as numbers near 0.
#
# Guess: an array of the type '>f4' is written with the values that it has, as one of '<f4' and as any type of whole
# numbers is. It is what astropy gives for each picture of floats that it reads, since FITS is big-endian itself.
#
# Seen with fitsio 1.4.2 on little-endian machines: one of about 250 floats of 32 bits, and one of about 4,000 of 64
# bits, becomes 4.6e-41 or 3.0e-319 in the file. These are the numbers whose bytes, read from the wrong end, are not a
# number (NaN): such a NaN is replaced on the way by another value, and what is then turned round is no longer the
# number that was there. So it depends on the last bytes of a number only, and looks like dead pixels strewn over the
# picture. There is no error. Little-endian arrays, whole numbers and the columns of tables are right. A test of the
# project (`test_image_compression_gzip_subnormal_cast_to_zero`) uses the effect with a compressed picture. To be
# safe, `array.astype(array.dtype.newbyteorder("="))` before `fitsio.write`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 astropy==8.0.2 fitsio==1.4.2
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import sys

import astropy
import fitsio
import numpy as np
from astropy.io import fits

assert sys.byteorder == "little"
print("fitsio", fitsio.__version__, "astropy", astropy.__version__)
unit = np.random.default_rng(0).random((400, 500))
for kind in ("<f4", ">f4", "<f8", ">f8", ">i4", ">i2"):
    picture = (unit * (1 if "f" in kind else 30000)).astype(kind)
    fitsio.write("picture.fits", picture, clobber=True)
    seen = fits.getdata("picture.fits")
    assert np.array_equal(seen, fitsio.read("picture.fits"))
    wrong = seen != picture
    print(f"{kind}: wrong pixels, expected 0, seen {wrong.sum()} of {wrong.size};",
          "for example expected", *picture[wrong][:2], "seen", *seen[wrong][:2])
    if kind[0] == ">" and "f" in kind:
        not_a_number = np.isnan(picture.view(picture.dtype.newbyteorder("<")))
        assert np.array_equal(wrong, not_a_number)
        assert wrong.sum() == {">f4": 799, ">f8": 46}[kind] and seen[wrong].max() < 1e-40
    else:
        assert not wrong.any()

# From astropy's hands to fitsio's.
fits.writeto("sky.fits", unit.astype(np.float32))
sky = fits.getdata("sky.fits")
fitsio.write("copy.fits", sky, clobber=True)
changed = fits.getdata("copy.fits") != sky
print(f"astropy read a picture ({sky.dtype.str}), fitsio wrote it: changed pixels, expected 0, seen {changed.sum()}")
assert sky.dtype.byteorder == ">" and changed.sum() == 799
fitsio.write("copy.fits", sky.astype(np.float32), clobber=True)
assert np.array_equal(fits.getdata("copy.fits"), sky)
END
