#!/usr/bin/env bash
# pygame-ce (SDL_image): a JPEG with four inks comes out with red and blue exchanged, and its black ink as alpha.
#
# Guess: a JPEG of cyan, magenta, yellow and black, as programs for print write it, comes out as RGB, or is refused,
# since a Surface has no inks.
#
# Seen with pygame-ce 2.5.8 (the newest, with SDL_image 2.8.12): the four numbers become blue, green, red and alpha.
# Red of 200, 0, 0 comes out as a blue of 0, 0, 200, and where black ink is used the picture is brighter than it is and
# partly transparent. There is no error. Pillow writes the files here; it and Skia read them right. (SDL_image's issue
# 410; mended for SDL_image 3. pygame-ce still brings SDL_image 2.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 pygame-ce==2.5.8 skia-python==144.1
cd "$work"
PYGAME_HIDE_SUPPORT_PROMPT=1 PYTHONPATH="$work/packages" python3 - <<'END_OF_PYTHON'
import pygame
import skia
from PIL import Image

print("pygame-ce", pygame.version.ver, "SDL_image", ".".join(map(str, pygame.image.get_sdl_image_version())))


def near(one, two):
    return all(abs(first - second) < 8 for first, second in zip(one, two, strict=True))


# Inks from 0 (none) to 255, and the colour that they make.
for inks, colour in (
    ((55, 255, 255, 0), (200, 0, 0)),
    ((0, 0, 0, 155), (100, 100, 100)),
    ((0, 128, 255, 51), (204, 102, 0)),
):
    Image.new("CMYK", (16, 16), inks).save("print.jpg", quality=95)
    adobe = open("print.jpg", "rb").read().find(b"Adobe")
    assert adobe > 0
    assert near(Image.open("print.jpg").convert("RGB").getpixel((8, 8)), colour)
    other = skia.Image.open("print.jpg").toarray(colorType=skia.kRGBA_8888_ColorType)
    assert near(other[8, 8].tolist(), (*colour, 255))
    seen = tuple(pygame.image.load("print.jpg").get_at((8, 8)))
    without_black = [255 - ink for ink in inks]
    print(f"inks {inks}: expected {(*colour, 255)}, seen {seen}")
    assert near(seen, (without_black[2], without_black[1], without_black[0], without_black[3])), seen
    assert not near(seen, (*colour, 255))
END_OF_PYTHON
