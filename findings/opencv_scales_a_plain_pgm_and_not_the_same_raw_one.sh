#!/bin/sh
# OpenCV: how bright a PGM is depends on whether its numbers are written as text or as bytes.
#
# Guess: the largest value in the header of a PGM or PPM (100, say) is white, and one picture has the same pixels whether it is
# written as text (P2, P3) or as bytes (P5, P6).
#
# Seen with OpenCV 5.0.0: as text, values up to 255 are scaled so that the largest is 255. As bytes they are taken as they are,
# so that white of 100 comes out as 100 and the picture is dark. Of 16 bits nothing is scaled, and of a picture of 8 bits the
# upper byte is kept: white of 1000 is 3. Pillow gives 0, 128 and 255 for all of them. (`PxMDecoder::readData` in
# `grfmt_pxm.cpp` makes a table for the scale, and looks into it for text alone.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 opencv-python-headless==5.0.0.93 pillow==13.0.0
PYTHONPATH="$work/packages" python3 - <<'END'
import io

import cv2
import numpy as np
from PIL import Image


def files(largest):
    """A row of black, grey and white in the four formats."""
    values = [0, largest // 2, largest]
    for kind, channels in ((2, 1), (3, 3), (5, 1), (6, 3)):
        header = f"P{kind}\n3 1\n{largest}\n".encode()
        samples = [value for value in values for _ in range(channels)]
        if kind < 5:
            yield f"P{kind}", header + " ".join(map(str, samples)).encode() + b"\n"
        else:
            yield f"P{kind}", header + np.array(samples, ">u2" if largest > 255 else "u1").tobytes()


print("OpenCV", cv2.__version__)
found = {}
for largest in (255, 100, 15, 1000):
    for kind, data in files(largest):
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[0, :, 0].tolist()
        pillow = Image.open(io.BytesIO(data)).convert("RGB" if kind in ("P3", "P6") else None)
        pillow = np.asarray(pillow).reshape(3, -1)[:, 0] // (257 if pillow.mode == "I" else 1)
        found[largest, kind] = read
        print(f"{kind} to {largest}: OpenCV {read}, Pillow {pillow.tolist()}")
        assert abs(pillow - np.array([0, 127, 255])).max() <= 8, pillow
        if kind in ("P2", "P3") and largest < 256:
            assert abs(np.array(read) - pillow).max() <= 1, read
for kind in ("P5", "P6"):
    assert found[255, kind] == [0, 127, 255], found
    assert found[100, kind] == [0, 50, 100], found
    assert found[15, kind] == [0, 7, 15], found
    assert found[1000, kind] == [0, 1, 3], found
END
