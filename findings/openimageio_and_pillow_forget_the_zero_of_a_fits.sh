#!/usr/bin/env bash
# OpenImageIO and Pillow: a FITS of 16 unsigned bits, as cameras on telescopes write it, has its dark and its bright
# halves exchanged, or loses one of them.
#
# Guess: FITS has no unsigned numbers of 16 bits; the header says `BZERO = 32768`, which is to be added to each of the
# signed numbers in the file. A reader of pictures adds it, as astropy does, or refuses the file.
#
# Seen with OpenImageIO 3.2.2.0 and Pillow 13.0.0 (each the newest): neither adds it. Pillow takes the signed bits for
# unsigned ones (mode "I;16"): 0 comes out as 32768, 32767 as 65535, and 32768 as 0, so that the sky becomes brighter
# than the stars. OpenImageIO gives signed numbers 32768 too low, and where unsigned ones are asked for, all below the
# middle are 0. `BSCALE` is forgotten, too. There is no error. astropy writes the files here by itself for an
# array of uint16.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 openimageio==3.2.2.0 pillow==13.0.0 astropy==8.0.2
cd "$work"
PYTHONPATH="$work/packages" python3 -W ignore - <<'END_OF_PYTHON'
import numpy as np
import OpenImageIO as oiio
import PIL
from astropy import __version__ as astropy_version
from astropy.io import fits
from PIL import Image

VALUES = [0, 1000, 32767, 32768, 40000, 65535]
picture = np.array([VALUES, VALUES], np.uint16)
fits.PrimaryHDU(picture).writeto("sky.fits")
header = fits.getheader("sky.fits")
print("astropy", astropy_version, "BITPIX", header["BITPIX"], "BZERO", header["BZERO"])
assert (header["BITPIX"], header["BZERO"]) == (16, 32768)
assert np.array_equal(fits.getdata("sky.fits"), picture)


def openimageio(name, kind):
    return oiio.ImageInput.open(name).read_image(kind)[0, :, 0]


image = Image.open("sky.fits")
pillow = np.asarray(image)[0]
signed, unsigned, floats = (openimageio("sky.fits", kind) for kind in ("int16", "uint16", "float"))
print("expected", VALUES)
print("Pillow", PIL.__version__, image.mode, pillow.tolist())
print("OpenImageIO", oiio.VERSION_STRING, "int16", signed.tolist(), "uint16", unsigned.tolist())
print("OpenImageIO float", floats.round(3).tolist())
assert pillow.tolist() == [value ^ 0x8000 for value in VALUES]
assert signed.tolist() == [value - 32768 for value in VALUES]
assert unsigned[:4].tolist() == [0, 0, 0, 0] and (unsigned[4:] > 0).all()
assert (floats[:3] < 0).all() and round(float(floats[0]), 3) == -1

scaled = fits.PrimaryHDU(np.array([[0.0, 0.5, 1.0]] * 2))
scaled.scale("int16", bscale=1 / 128)
scaled.writeto("scaled.fits")
assert fits.getdata("scaled.fits")[0].tolist() == [0, 0.5, 1]
found = np.asarray(Image.open("scaled.fits"))[0].tolist()
other = openimageio("scaled.fits", "int16").tolist()
print("BSCALE 1/128: expected", [0, 0.5, 1], "Pillow", found, "OpenImageIO", other)
assert found == other == [0, 64, 128]
END_OF_PYTHON
