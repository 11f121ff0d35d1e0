#!/usr/bin/env python3
"""Draws the pictures of the demo: make_pictures.py MEDIA_DIR

Twenty scenes, each as drawn and in five versions that a person would call the same picture: 120 JPEG files below
MEDIA_DIR/object, the same bytes every time.
"""
import pathlib
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

WIDTH, HEIGHT = 480, 360
VERSIONS = {
    "as-drawn": lambda picture: picture,
    "half-size": lambda picture: picture.resize((WIDTH // 2, HEIGHT // 2)),
    "cropped": lambda picture: picture.crop((WIDTH // 10, HEIGHT // 10, WIDTH * 9 // 10, HEIGHT * 9 // 10)),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.3),
    "mirrored": ImageOps.mirror,
    "low-quality": lambda picture: picture,
}


def sky(random, picture):
    """A vertical gradient between two colours."""
    top, bottom = random.integers(0, 256, (2, 3))
    share = np.linspace(0, 1, HEIGHT)[:, None, None]
    rows = top * (1 - share) + bottom * share
    picture.paste(Image.fromarray(np.broadcast_to(rows, (HEIGHT, WIDTH, 3)).astype(np.uint8)))


def hills(random, draw):
    for layer in range(3):
        waves = random.uniform(0.5, 3, 3)
        heights = HEIGHT * (0.45 + 0.17 * layer) + sum(
            random.uniform(8, 30) * np.sin(np.arange(WIDTH + 1) / WIDTH * wave * 6 + random.uniform(0, 6))
            for wave in waves
        )
        draw.polygon([(0, HEIGHT), *enumerate(heights.tolist()), (WIDTH, HEIGHT)], fill=colour(random))


def houses(random, draw):
    left = -20
    while left < WIDTH:
        width, height = int(random.integers(30, 90)), int(random.integers(60, 300))
        draw.rectangle((left, HEIGHT - height, left + width, HEIGHT), fill=colour(random))
        for y in range(HEIGHT - height + 10, HEIGHT - 15, 22):
            for x in range(left + 8, left + width - 10, 18):
                if random.random() < 0.6:
                    draw.rectangle((x, y, x + 8, y + 11), fill=(250, 240, 170))
        left += width + int(random.integers(0, 15))


def discs(random, draw):
    for _ in range(int(random.integers(6, 22))):
        x, y, radius = random.uniform(0, WIDTH), random.uniform(0, HEIGHT), random.uniform(10, 90)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour(random))


def stripes(random, draw):
    slope, step = random.uniform(-300, 300), int(random.integers(14, 60))
    colours = [colour(random) for _ in range(int(random.integers(2, 5)))]
    for index, x in enumerate(range(-400, WIDTH + 400, step)):
        draw.line((x, 0, x + slope, HEIGHT), fill=colours[index % len(colours)], width=step // 2)


def petals(random, draw):
    x, y, count = random.uniform(150, 330), random.uniform(120, 240), int(random.integers(5, 14))
    fill = colour(random)
    for index in range(count):
        angle = 2 * np.pi * index / count
        tip = x + 110 * np.cos(angle), y + 110 * np.sin(angle)
        side = 34 * np.cos(angle + np.pi / 2), 34 * np.sin(angle + np.pi / 2)
        middle = x + 60 * np.cos(angle), y + 60 * np.sin(angle)
        corners = [(x, y), (middle[0] + side[0], middle[1] + side[1]), tip, (middle[0] - side[0], middle[1] - side[1])]
        draw.polygon(corners, fill=fill)
    draw.ellipse((x - 30, y - 30, x + 30, y + 30), fill=colour(random))


def colour(random):
    return tuple(int(level) for level in random.integers(0, 256, 3))


def scene(number):
    random = np.random.default_rng(number)
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    sky(random, picture)
    draw = ImageDraw.Draw(picture)
    (hills, houses, discs, stripes, petals)[number % 5](random, draw)
    grain = random.normal(0, 6, (HEIGHT, WIDTH, 1))
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.8)), dtype=np.float32) + grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def main():
    media_dir = pathlib.Path(sys.argv[1])
    for number in range(20):
        picture = scene(number)
        for name, change in VERSIONS.items():
            path = media_dir / "object" / f"{number:02d}" / f"scene{number:02d}-{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            change(picture).save(path, quality=25 if name == "low-quality" else 90)
    print(f"drew {20 * len(VERSIONS)} pictures in {media_dir}")


if __name__ == "__main__":
    main()
