#!/usr/bin/env bash
# daikon (DICOM in JavaScript): negative numbers of 12 bits come out as large positive ones.
#
# Guess: where PixelRepresentation is 1, the numbers of a DICOM file are signed, and the highest of the BitsStored bits
# is the sign, so that 12 bits of 0xFFF are -1.
#
# Seen with daikon 1.2.46 (the newest): with BitsAllocated 16 and BitsStored 12, `getInterpretedData` gives -1 as 4095
# and -1000 as 3096: air, the darkest of a CT in Hounsfield units, becomes the brightest. Where the 4 bits that are not
# used hold something, as old files with overlays do, even positive numbers are wrong, since the bits are not taken
# away. There is no error. Unsigned numbers of 12 bits (with such bits, too), and signed ones of 16 and 8 are right.
# pydicom writes the files here and reads all of them right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 pydicom==3.0.2
npm install --silent --ignore-scripts --no-audit --no-fund daikon@1.2.46
cat >read.cjs <<'END_OF_JS'
const fs = require('node:fs');
const daikon = require('daikon');

const file = fs.readFileSync(process.argv[2]);
const image = daikon.Series.parseImage(new DataView(new Uint8Array(file).buffer));
console.log(JSON.stringify(Array.from(image.getInterpretedData().slice(0, 8))));
END_OF_JS
PYTHONPATH="$work/packages" python3 -W ignore - <<'END_OF_PYTHON'
import json
import subprocess

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

VALUES = [0, 1, 100, 127, -1, -2, -100, -128]
print("pydicom", pydicom.__version__, "daikon", json.load(open("node_modules/daikon/package.json"))["version"])


def write(name, values, allocated, stored, signed, unused=0):
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    file.Rows, file.Columns, file.SamplesPerPixel, file.PhotometricInterpretation = 2, 4, 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = allocated, stored, stored - 1, signed
    bits = np.array(values) & (1 << stored) - 1 | unused << stored
    file.PixelData = bits.astype(f"<u{allocated // 8}").tobytes()
    file["PixelData"].VR = "OW"
    file.save_as(name, enforce_file_format=True)
    assert pydicom.dcmread(name).pixel_array.ravel().tolist() == values


KINDS = ((8, 8, 1, 0), (16, 16, 1, 0), (16, 12, 0, 0), (16, 12, 0, 5), (16, 12, 1, 0), (16, 12, 1, 5))
for allocated, stored, signed, unused in KINDS:
    values = VALUES if signed else [abs(value) for value in VALUES]
    write("picture.dcm", values, allocated, stored, signed, unused)
    answer = subprocess.run(["node", "read.cjs", "picture.dcm"], check=True, capture_output=True).stdout
    seen = json.loads(answer)
    kind = "signed" if signed else "unsigned"
    print(f"{kind}, {stored} of {allocated} bits, unused bits {unused}: expected {values}, seen {seen}")
    if signed and stored < allocated:
        assert seen == [(value & 0xFFF) + (unused << 12) for value in values], seen
    else:
        assert seen == values, seen
END_OF_PYTHON
