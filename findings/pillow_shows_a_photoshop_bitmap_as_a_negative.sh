#!/usr/bin/env bash
# Pillow: a Photoshop file in black and white (1 bit) comes out as a negative.
#
# Guess: black is black. In a PSD of the mode Bitmap a bit of 1 is black, and in Pillow's mode "1" it is white, so
# that the bits have to be turned over, as Pillow does for PBM.
#
# Seen with Pillow 13.0.0 (the newest): they are not turned over: white paper with black letters comes out as
# black with white ones. It is so with and without compression (PackBits). There is no error. OpenImageIO and ag-psd
# (JavaScript) read the same files right. (`MODES` in `PsdImagePlugin.py` names raw mode "1", not "1;I".)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 openimageio==3.2.2.0 pillow==13.0.0
npm install --silent --ignore-scripts --no-audit --no-fund ag-psd@31.0.2
cat >read.mjs <<'END_OF_JS'
import fs from 'node:fs';
import { initializeCanvas, readPsd } from 'ag-psd';

const none = () => { throw new Error('no canvas'); };
initializeCanvas(none, (width, height) => ({ width, height, data: new Uint8ClampedArray(4 * width * height) }));
const { data } = readPsd(fs.readFileSync(process.argv[2]), { useImageData: true }).imageData;
console.log(JSON.stringify(Array.from(data).filter((_, at) => at % 4 === 0)));
END_OF_JS
PYTHONPATH="$work/packages" python3 - <<'END_OF_PYTHON'
import json
import struct
import subprocess

import OpenImageIO as oiio
import PIL
from PIL import Image

ROW = [0, 0, 0, 1, 1, 0, 0, 0, 0, 0]  # black where 1
BITS = bytes([0b00011000, 0b00000000])
print("Pillow", PIL.__version__, "OpenImageIO", oiio.VERSION_STRING)
for compression in (0, 1):
    with open("letters.psd", "wb") as file:
        file.write(b"8BPS" + struct.pack(">H6xHIIHH", 1, 1, 2, len(ROW), 1, 0))  # 1 channel, 2 rows, 1 bit, Bitmap
        file.write(bytes(12) + struct.pack(">H", compression))  # no colours, no resources, no layers
        if compression == 0:
            file.write(BITS * 2)
        else:
            file.write(struct.pack(">2H", 3, 3) + (b"\1" + BITS) * 2)
    image = Image.open("letters.psd")
    answer = subprocess.run(["node", "read.mjs", "letters.psd"], check=True, capture_output=True).stdout
    seen = {
        f"Pillow ({image.mode})": [value > 127 for value in image.convert("L").tobytes()[: len(ROW)]],
        "OpenImageIO": [value > 0.5 for value in oiio.ImageInput.open("letters.psd").read_image("float")[0, :, 0]],
        "ag-psd": [value > 127 for value in json.loads(answer)[: len(ROW)]],
    }
    for name, white in seen.items():
        shown = "".join("#."[int(value)] for value in white)
        print(f"compression {compression}, {name}: expected black at ...##....., seen {shown}")
        assert shown == ("###..#####" if name.startswith("Pillow") else "...##....."), name
END_OF_PYTHON
