#!/usr/bin/env bash
# pygame-ce (SDL_image): of a PCX of 2 or 16 colours the last pixels of each row are wrong, unless the width is a
# multiple of 8.
#
# Guess: the unused bits at the end of a row make no difference to the pixels before them.
#
# Seen with pygame-ce 2.5.8 (the newest, with SDL_image 2.8.12): where the width is no multiple of 8, the last
# `width % 8` pixels of each row are taken from the wrong end of the byte: the unused bits, which are mostly 0, come
# first, and the last pixels of the picture are lost. It is so with 1 bit for a pixel in 1 and in 4 planes. There is no
# error. 8 bits (256 colours) and 24 are right, and so is every width that is a multiple of 8. Pillow reads
# all of the files here right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" pillow==13.0.0 pygame-ce==2.5.8
cd "$work"
PYGAME_HIDE_SUPPORT_PROMPT=1 PYTHONPATH="$work/packages" python3 - <<'END_OF_PYTHON'
import struct

import pygame
from PIL import Image

print("pygame-ce", pygame.version.ver, "SDL_image", ".".join(map(str, pygame.image.get_sdl_image_version())))


def pcx(row, planes):
    """A PCX of 2 rows of numbers of colours, with 1 bit for a pixel in each plane."""
    stride = (len(row) + 15) // 16 * 2
    data = b""
    palette = bytes(value for index in range(16) for value in (17 * index if planes == 4 else 255 * index % 510,) * 3)
    header = struct.pack("<4B6H48sBBHHHH54x", 10, 5, 1, 1, 0, 0, len(row) - 1, 1, 72, 72, palette, 0, planes, stride,
                         1, 0, 0)
    for plane in range(planes):
        bits = "".join(str(number >> plane & 1) for number in row).ljust(8 * stride, "0")
        for byte in int(bits, 2).to_bytes(stride, "big"):
            data += bytes([0xC1, byte])
    return header + data * 2


def pixels(name):
    surface = pygame.image.load(name)
    assert surface.get_size()[1] == 2
    return [[surface.get_at((x, y))[0] for x in range(surface.get_width())] for y in range(2)]


for width in (8, 16, 11, 13):
    for planes in (1, 4):
        row = [(5 * x * x + 3 * x + 1) % 16 for x in range(width)]
        if planes == 1:
            row = [int(x % 3 == 0) for x in range(width)]
        with open("colours.pcx", "wb") as file:
            file.write(pcx(row, planes))
        other = Image.open("colours.pcx").convert("RGB").tobytes()[::3]
        expected = [17 * number if planes == 4 else 255 * number for number in row]
        assert list(other) == expected * 2, list(other)
        seen = pixels("colours.pcx")
        print(f"{width} wide, {planes} planes: expected", *expected, "seen", *seen[0])
        assert seen[0] == seen[1]
        whole = width // 8 * 8
        assert seen[0][:whole] == expected[:whole]
        assert (seen[0] == expected) == (width % 8 == 0)
END_OF_PYTHON
