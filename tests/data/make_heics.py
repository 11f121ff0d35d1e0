#!/usr/bin/env python3
"""Writes small HEIC pictures to pictures/, and what pillow-heif makes of them to heic.sha256.

    make_heics.py           needs Pillow 13.0.0, numpy and pillow-heif 1.8.1
    make_heics.py FOLDER    writes many more kinds to FOLDER instead, each FILE with a FILE.pixels beside it

Every line of heic.sha256 is `<sha256 of the RGB bytes>  <width>x<height>  <file name>`, for
`Image.open(...).convert("RGB")`. FILE.pixels is width and height, as little-endian numbers of 16 bits, and these bytes.
"""
import hashlib
import io
import itertools
import pathlib
import struct
import sys

import numpy as np
import pillow_heif
from PIL import Image

from make_pictures import HERE, PICTURES, box

pillow_heif.register_heif_opener()


def pattern(width, height, channels=3):
    """Neither square nor symmetric, smooth and noisy: [height, width, channels], 0 to 255."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * 255 // width, y * 255 // height, (x * 5 + y * 11) % 256, (x * y + 40) % 256]
    noise = np.random.default_rng(width * height).integers(0, 22, (height, width, channels))
    return (np.stack(planes[:channels], -1) + noise).clip(0, 255).astype(np.uint8)


def heic(width, height, channels=3, **options):
    pixels = pattern(width, height, channels)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "HEIF", **options)
    return file.getvalue()


def deep_heic(width, height, bits, channels=3, **options):
    """10 or 12 bits."""
    mode = {1: "L;16", 3: "RGB;16", 4: "RGBA;16"}[channels]
    pixels = pattern(width, height, channels).astype(np.uint16) * 257
    if channels == 1:
        pixels //= 100  # Pillow cuts gray off at 255
    pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    file = io.BytesIO()
    pillow_heif.from_bytes(mode, (width, height), pixels.tobytes()).save(file, **options)
    return file.getvalue()


def content(data, name):
    """Of the first box with this name."""
    at = data.index(name)
    return data[at + 4 : at - 4 + struct.unpack(">I", data[at - 4 : at])[0]]


def ispe(width, height):
    return box(b"ispe", struct.pack(">III", 0, width, height))


def frame(data, *, has_colour=True):
    """Kind, data and properties of the one picture in a file of pillow-heif."""
    names = [b"ispe", b"hvcC"] + [b"colr"] * (has_colour and b"colr" in data)
    return b"hvc1", content(data, b"mdat"), [box(name, content(data, name)) for name in names]


def container(items, references=(), primary=1):
    """A file of items, which are numbered from 1: kind, data and properties. References are a kind, a number and numbers."""
    properties = [one for _, _, own in items for one in own]
    associated, position = [], 1
    for number, (_, _, own) in enumerate(items, 1):
        associated.append(struct.pack(">HB", number, len(own)) + bytes(range(position, position + len(own))))
        position += len(own)

    def meta(start):
        places = []
        for number, (_, data, _) in enumerate(items, 1):
            places.append(struct.pack(">HHHII", number, 0, 1, start, len(data)))
            start += len(data)
        entries = [box(b"infe", struct.pack(">IHH4s", 2 << 24, number, 0, kind), b"\0") for number, (kind, _, _) in enumerate(items, 1)]
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", struct.pack(">IH", 0, primary)),
            box(b"iloc", struct.pack(">IHH", 0, 0x4400, len(items)), *places),
            box(b"iinf", struct.pack(">IH", 0, len(items)), *entries),
            box(b"iref", bytes(4), *(
                box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for kind, source, to in references)),
            box(b"iprp", box(b"ipco", *properties), box(b"ipma", struct.pack(">II", 0, len(items)), *associated)),
        )

    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", *(data for _, data, _ in items))


def grid(width, height, across, cells, *more, has_colour=True):
    """Cells of 64 x 64 pixels; `more` are properties of the whole."""
    down = len(cells) // across
    frames = [frame(cell) for cell in cells]
    whole = [ispe(width, height)] + frames[0][2][2:] * has_colour + list(more)
    data = struct.pack(">BBBBHH", 0, 0, down - 1, across - 1, width, height)
    return container([(b"grid", data, whole), *frames], [(b"dimg", 1, range(2, 2 + len(cells)))])


def with_boxes(data, *more):
    kind, data, properties = frame(data)
    return container([(kind, data, [*properties, *more])])


def irot(quarters):
    return box(b"irot", bytes([quarters]))


def imir(axis):
    return box(b"imir", bytes([axis]))


def clap(width, height, right, down):
    """Fractions."""
    numbers = [*width, *height, *right, *down]
    return box(b"clap", struct.pack(">IIIIiIiI", *numbers))


def exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def small():
    yield "420", heic(61, 43, quality=60)
    yield "444", heic(61, 43, chroma=444, quality=60)
    yield "gray", heic(61, 43, 1, quality=60)
    yield "alpha", heic(61, 43, 4, quality=60)
    yield "limited", heic(61, 43, quality=60, matrix_coefficients=1, full_range_flag=0)
    yield "10_bit", deep_heic(61, 43, 10, quality=60)
    yield "12_bit_444", deep_heic(61, 43, 12, chroma=444, quality=60)
    cells = [heic(64, 64, quality=40) for _ in range(6)]
    yield "grid", grid(150, 100, 3, cells)
    cropped = clap((40, 1), (30, 1), (2, 1), (-3, 1))
    yield "turned", with_boxes(heic(64, 48, quality=60), cropped, irot(1), imir(0))
    yield "exif", heic(62, 44, quality=60, exif=exif(6))
    second = [frame(heic(62, 44, 1, quality=60)), frame(heic(48, 30, quality=60))]
    yield "second", container(second, primary=2)
    yield "truncated", heic(61, 43, quality=60)[:-100]


def many():
    for width, height in [(1, 1), (2, 3), (16, 17), (37, 29), (64, 48), (131, 66)]:
        size = f"{width}x{height}"
        for chroma, quality in itertools.product([420, 422, 444], [30, 90, -1]):
            yield f"rgb_{size}_{chroma}_{quality}", heic(width, height, chroma=chroma, quality=quality)
        yield f"rgba_{size}", heic(width, height, 4)
        yield f"l_{size}", heic(width, height, 1)
        for bits, chroma, channels in itertools.product([10, 12], [420, 422, 444], [3, 4]):
            deep = deep_heic(width, height, bits, channels, chroma=chroma)
            yield f"deep_{size}_{bits}_{chroma}_{channels}", deep
        yield f"deep_l_{size}", deep_heic(width, height, 10, 1)
        yield f"unsaid_{size}", heic(width, height, save_nclx_profile=False)
    matrices = [0, 1, 2, 4, 5, 6, 7, 8, 9, 12]
    for matrix, full, chroma, bits in itertools.product(matrices, [0, 1], [420, 422, 444], [8, 10]):
        options = {"matrix_coefficients": matrix, "full_range_flag": full, "chroma": chroma, "color_primaries": 9}
        data = heic(37, 29, **options) if bits == 8 else deep_heic(37, 29, bits, **options)
        yield f"matrix_{matrix}_{full}_{chroma}_{bits}", data
    for chroma in [420, 444]:
        data = heic(64, 48, chroma=chroma)
        turns = [[irot(quarters)] for quarters in range(4)] + [[]]
        mirrors = [[imir(axis)] for axis in range(2)] + [[]]
        for (i, turn), (j, mirror) in itertools.product(enumerate(turns), enumerate(mirrors)):
            yield f"turned_{chroma}_{i}_{j}", with_boxes(data, *turn, *mirror)
            yield f"mirrored_{chroma}_{j}_{i}", with_boxes(data, *mirror, *turn)
        # They begin at even pixels: at odd ones libheif makes more of the colours first.
        parts = {
            "middle": [(40, 1), (30, 1), (0, 1), (1, 1)],
            "corner": [(20, 1), (10, 1), (-22, 1), (-19, 1)],
            "over": [(40, 1), (40, 1), (20, 1), (20, 1)],
            "halves": [(80, 2), (59, 2), (4, 2), (-7, 2)],
        }
        for name, part in parts.items():
            yield f"part_{chroma}_{name}", with_boxes(data, clap(*part))
            yield f"part_{chroma}_{name}_turned", with_boxes(data, clap(*part), irot(3))
        cells = [heic(64, 64, chroma=chroma, full_range_flag=full) for full in [0, 1] for _ in range(6)]
        for has_colour, full in itertools.product([False, True], [0, 1]):
            name = f"grid_{chroma}_{has_colour}_{full}"
            yield name, grid(150, 100, 3, cells[6 * full :][:6], has_colour=has_colour)
        yield f"grid_{chroma}_turned", grid(130, 128, 3, cells[6:], irot(1))
        yield f"grid_{chroma}_10_bit", grid(128, 190, 2, [deep_heic(64, 64, 10, chroma=chroma) for _ in range(6)])
    yield "grid_of_pillow", heic(200, 140, tile_size=64)
    yield "grid_gray", grid(150, 100, 3, [heic(64, 64, 1) for _ in range(6)])
    for orientation in range(1, 9):
        yield f"exif_{orientation}", heic(62, 44, exif=exif(orientation))
    two = [frame(heic(62, 44)), frame(heic(48, 30))]
    for primary in [1, 2]:
        yield f"primary_{primary}", container(two, primary=primary)
    without = frame(heic(37, 29, full_range_flag=0), has_colour=False)
    yield "no_colour_limited", container([without])


def shown(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


def main():
    if len(sys.argv) > 1:
        for name, data in many():
            file = pathlib.Path(sys.argv[1], f"{name}.heic")
            file.write_bytes(data)
            image = shown(data)
            file.with_suffix(".heic.pixels").write_bytes(struct.pack("<HH", *image.size) + image.tobytes())
        return
    lines = []
    for name, data in small():
        name = f"heic_{name}.heic"
        (PICTURES / name).write_bytes(data)
        if "truncated" not in name:
            image = shown(data)
            size = "x".join(map(str, image.size))
            lines.append(f"{hashlib.sha256(image.tobytes()).hexdigest()}  {size}  {name}\n")
    (HERE / "heic.sha256").write_text("".join(lines))


if __name__ == "__main__":
    main()
