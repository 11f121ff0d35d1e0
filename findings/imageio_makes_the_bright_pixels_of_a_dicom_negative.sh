#!/usr/bin/env bash
# imageio: bright pixels of a DICOM file become negative numbers, and a colour picture becomes gray stripes.
#
# Guess: `imageio.v3.imread("picture.dcm")` gives the stored values times RescaleSlope plus RescaleIntercept, in a
# type that holds them, and an array of (rows, columns, 3) for RGB.
#
# Seen with imageio 2.38.1, which picks its own reader ("DICOM": deprecated, and still the first choice with pydicom
# installed): with a slope of 1 and an intercept of 0, as many devices write them, 200 comes out as -56 and 40,000 as
# -25,536. Of RGB the result is one gray picture, made of the first third of the bytes: red, green and blue follow
# each other as if they were neighbouring pixels, and two thirds of the picture are gone. There is no error.
# `plugin="pydicom"` is right. (`_apply_slope_and_offset` in `plugins/_dicom.py` picks int8 for values from 0 to 255
# and int16 for values from 0 to 65,535.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 imageio==2.38.1 pydicom==3.0.2
mkdir "$work/pictures"
cd "$work/pictures"
PYTHONPATH="$work/packages" python3 -W ignore - <<'END'
import contextlib
import io

import imageio
import imageio.v3 as iio
import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage


def write(name, pixels, **more):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.SeriesInstanceUID = data.StudyInstanceUID = "1.2"
    data.Modality, data.InstanceNumber = "OT", 1
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    data.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    for key, value in more.items():
        setattr(data, key, value)
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    data.save_as(name, enforce_file_format=True)


def read(name, **more):
    with contextlib.redirect_stdout(io.StringIO()):
        return np.asarray(iio.imread(name, **more))


print("imageio", imageio.__version__, "pydicom", pydicom.__version__)
for pixels, expected in ((np.array([[0, 127, 128, 200, 255]] * 2, np.uint8), [0, 127, -128, -56, -1]),
                         (np.array([[0, 32767, 32768, 40000, 65535]] * 2, np.uint16), [0, 32767, -32768, -25536, -1])):
    write("plain.dcm", pixels)
    write("slope.dcm", pixels, RescaleSlope="1", RescaleIntercept="0")
    assert np.array_equal(read("plain.dcm"), pixels)
    assert np.array_equal(read("slope.dcm", plugin="pydicom"), pixels)
    seen = read("slope.dcm")
    print(f"RescaleSlope 1, {pixels.dtype}: expected {pixels[0].tolist()}, seen {seen[0].tolist()} ({seen.dtype})")
    assert seen[0].tolist() == expected
colours = np.array([[[200, 100, 50]] * 3 + [[1, 2, 3]] * 3] * 4, np.uint8)
write("colours.dcm", colours)
assert np.array_equal(read("colours.dcm", plugin="pydicom"), colours)
seen = read("colours.dcm")
print(f"RGB: expected shape {colours.shape}, seen {seen.shape}, first row {seen[0].tolist()}")
assert seen.shape == (4, 6) and np.array_equal(seen.ravel(), colours.ravel()[:24])
END
