#!/usr/bin/env python3
"""Writes small pictures in every format and mode to pictures/, and what Pillow makes of them to pixels.sha256.

    pip install numpy==2.* Pillow==13.0.0
    python tests/data/make_pictures.py

Every line of pixels.sha256 is `<sha256 of the RGB bytes>  <width>x<height>  <file name>`, for
`Image.open(file).convert("RGB").resize((width, height))`; 0x0 stands for no resize at all. Pictures that Pillow
refuses have the word `refused` in the place of the hash. Deterministic: a second run changes nothing.

With Pillow 12.3.0 in the place of 13.0.0 it makes no pictures: it writes the lines of pixels.sha256 that the other order of
the passes changes to pixels_pillow12.sha256, with what Pillow 12.3.0 makes of those pictures.
"""

import base64
import hashlib
import io
import lzma
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageFile

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
SIZES = [(0, 0), (224, 224), (96, 160)]
RNG = np.random.default_rng(20240501)


def pattern(width, height, channels=3, depth=8):
    """Gradients that differ per axis and channel, a bright square near one corner, and some noise."""
    y, x = np.mgrid[0:height, 0:width]
    top = (1 << depth) - 1
    planes = [
        x * top // max(width - 1, 1),
        y * top // max(height - 1, 1),
        (x * 5 + y * 11) * top // 255 % (top + 1),
        (x * y + 40) * top // 255 % (top + 1),
    ]
    pixels = np.stack(planes[:channels], -1).astype(np.int64)
    pixels[height // 8 : height // 3, width // 8 : width // 4] = top
    pixels += RNG.integers(0, top // 12 + 1, pixels.shape)
    pixels = pixels.clip(0, top).astype(np.uint8 if depth == 8 else np.uint16)
    return pixels[..., 0] if channels == 1 else pixels


def encode(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def rgb(width=61, height=43):
    return Image.fromarray(pattern(width, height))


def jpegs():
    """JPEG: subsampling, progressive, gray, CMYK, damage, and what may stand around the picture."""
    for subsampling in ["4:4:4", "4:2:2", "4:2:0", "4:1:1", "4:4:0"]:
        for progressive in [False, True]:
            name = f"jpeg_{subsampling.replace(':', '')}{'_progressive' if progressive else ''}.jpg"
            if subsampling in ("4:1:1", "4:4:0"):
                # Pillow does not write these: say so in the header of a 4:2:2 picture's transposed or widened self.
                data = jpeg_with_sampling(subsampling, progressive)
            else:
                data = encode(rgb(), "JPEG", quality=85, subsampling=subsampling, progressive=progressive)
            yield name, data
    yield "jpeg_gray.jpg", encode(Image.fromarray(pattern(61, 43, 1)), "JPEG")
    yield "jpeg_gray_progressive.jpg", encode(Image.fromarray(pattern(61, 43, 1)), "JPEG", progressive=True)
    yield "jpeg_restarts.jpg", encode(rgb(), "JPEG", restart_marker_blocks=2)
    yield "jpeg_rgb.jpg", encode(rgb(), "JPEG", keep_rgb=True, quality=90)
    cmyk = encode(Image.fromarray(pattern(61, 43, 4), "CMYK"), "JPEG", quality=90)
    yield "jpeg_cmyk.jpg", cmyk
    yield "jpeg_cmyk_without_adobe.jpg", without_segment(cmyk, 0xEE)
    yield "jpeg_ycck.jpg", cmyk.replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2")
    plain = encode(rgb(), "JPEG", quality=85)
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
    yield "jpeg_adobe_rgb.jpg", plain[:2] + adobe + b"\0" + plain[2:]
    yield "jpeg_without_jfif_adobe_rgb.jpg", plain[:2] + adobe + b"\0" + without_segment(plain, 0xE0)[2:]
    yield "jpeg_without_jfif.jpg", without_segment(plain, 0xE0)
    yield "jpeg_short_adobe.jpg", plain[:2] + b"\xff\xee\0\x07Adobe" + without_segment(plain, 0xE0)[2:]
    yield "jpeg_named_as_png.png", plain
    yield "jpeg_garbage_behind.jpg", plain + b"garbage \xff\xd8\xff" * 9
    yield "jpeg_fill_bytes.jpg", plain[:2] + b"\xff\xff\xff" + plain[2:]
    scan = plain.index(b"\xff\xda")
    yield "jpeg_garbage_before_scan.jpg", plain[:scan] + b"\0\1\2" + plain[scan:]
    middle = (scan + len(plain)) // 2
    yield "jpeg_damaged.jpg", plain[:middle] + b"\x55\xaa\x12\x34" + plain[middle + 4 :]
    yield "jpeg_early_end.jpg", plain[:middle] + b"\xff\xd9" + plain[middle:]
    yield "jpeg_truncated.jpg", plain[:middle]
    yield "jpeg_without_end.jpg", plain[:-2]
    progressive = encode(rgb(), "JPEG", progressive=True)
    yield "jpeg_truncated_progressive.jpg", progressive[: len(progressive) * 2 // 3]
    second = progressive.index(b"\xff\xda", progressive.index(b"\xff\xda") + 2)
    bad_scan = b"junk" + progressive[second : second + 3] + b"\x03" + progressive[second + 4 :]
    yield "jpeg_warning_then_error.jpg", progressive[:second] + bad_scan
    yield "jpeg_12_bit.jpg", plain.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c")
    yield "jpeg_header_only.jpg", plain[:scan]
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "jpeg_exif_orientation.jpg", encode(rgb(40, 20), "JPEG", exif=exif)
    second = Image.fromarray(255 - pattern(61, 43))
    yield "mpo.jpg", encode(rgb(), "MPO", save_all=True, append_images=[second])
    for width, height in [(1, 1), (1, 90), (90, 1), (7, 300), (300, 7), (224, 50), (50, 224), (230, 340)]:
        yield f"jpeg_{width}x{height}.jpg", encode(rgb(width, height), "JPEG", quality=75)


def without_segment(jpeg, marker):
    at = jpeg.index(bytes([0xFF, marker]))
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


def jpeg_with_sampling(subsampling, progressive):
    """Relabels a picture: the blocks of a 4:2:0 picture with its factors changed make another (scrambled) picture."""
    data = bytearray(encode(rgb(), "JPEG", quality=85, subsampling="4:2:2", progressive=progressive))
    frame = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    if subsampling == "4:4:0":
        data[frame + 11] = 0x12
        return bytes(data)
    data = bytearray(encode(rgb(), "JPEG", quality=85, subsampling="4:2:0", progressive=progressive))
    frame = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[frame + 11] = 0x41
    return bytes(data)


def png_chunk(kind, data, crc=None):
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(width, height, depth, color, rows, *, before=b"", interlaced=False, crc=None):
    """A PNG of rows that are packed already, all with filter 0; Adam7 when interlaced and 8 bits or more."""
    if interlaced:
        size = len(rows[0]) // width
        grid = np.frombuffer(b"".join(rows), np.uint8).reshape(height, width, size)
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        rows = [row.tobytes() for x, y, dx, dy in passes for row in grid[y::dy, x::dx] if row.size]
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    end = png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + before + png_chunk(b"IDAT", body, crc) + end


def packed(levels, depth):
    """Rows of small levels as bytes, `depth` bits each, the first in the highest bits."""
    bits = ((levels[..., None] >> np.arange(depth - 1, -1, -1)) & 1).reshape(levels.shape[0], -1)
    return [row.tobytes() for row in np.packbits(bits.astype(np.uint8), axis=1)]


def pngs():
    width, height = 29, 21
    palette = png_chunk(b"PLTE", bytes(RNG.integers(0, 256, 3 * 256, dtype=np.uint8)))
    for depth in [1, 2, 4, 8]:
        levels = pattern(width, height, 1) >> (8 - depth)
        entries = png_chunk(b"PLTE", palette[8 : 8 + 3 * (1 << depth)])
        alpha = png_chunk(b"tRNS", bytes(range(0, 256, 256 >> depth))[: 1 << depth])
        rows = packed(levels, depth)
        yield f"png_small_gray_{depth}.png", png(width, height, depth, 0, rows)
        yield f"png_small_gray_{depth}_trns.png", png(width, height, depth, 0, rows, before=png_chunk(b"tRNS", b"\0\1"))
        yield f"png_palette_{depth}.png", png(width, height, depth, 3, rows, before=entries)
        yield f"png_palette_{depth}_trns.png", png(width, height, depth, 3, rows, before=entries + alpha)
    short = png_chunk(b"PLTE", palette[8 : 8 + 3 * 100])
    levels = pattern(width, height, 1)
    yield "png_palette_too_short.png", png(width, height, 8, 3, packed(levels, 8), before=short)
    for depth, kind in [(8, np.uint8), (16, ">u2")]:
        for color, channels, name in [(0, 1, "gray"), (4, 2, "gray_alpha"), (2, 3, "rgb"), (6, 4, "rgba")]:
            pixels = pattern(width, height, channels, depth).astype(kind)
            rows = [row.tobytes() for row in pixels]
            for interlaced in [False, True]:
                suffix = "_interlaced" if interlaced else ""
                yield f"png_{name}_{depth}{suffix}.png", png(width, height, depth, color, rows, interlaced=interlaced)
        trns = png_chunk(b"tRNS", b"\0\1\0\2\0\3")
        pixels = pattern(width, height, 3, depth).astype(kind)
        yield f"png_rgb_{depth}_trns.png", png(width, height, depth, 2, [r.tobytes() for r in pixels], before=trns)
    dark = (pattern(width, height, 1, 16) // 128).astype(">u2")
    rows = [row.tobytes() for row in dark]
    yield "png_gray_16_dark.png", png(width, height, 16, 0, rows)
    yield "png_gray_16_trns.png", png(width, height, 16, 0, rows, before=png_chunk(b"tRNS", b"\0\1"))
    rows = [row.tobytes() for row in pattern(width, height)]
    gamma = png_chunk(b"gAMA", struct.pack(">I", 100000)) + png_chunk(b"sRGB", b"\0")
    profile = png_chunk(b"iCCP", b"name\0\0" + zlib.compress(b"no profile"))
    yield "png_gamma.png", png(width, height, 8, 2, rows, before=gamma + profile)
    yield "png_wrong_pixel_crc.png", png(width, height, 8, 2, rows, crc=1)
    yield "png_wrong_header_crc.png", png(width, height, 8, 2, rows, before=png_chunk(b"gAMA", b"\0\1\0\0", 7))
    whole = png(width, height, 8, 2, rows)
    yield "png_truncated.png", whole[: len(whole) // 2]
    yield "png_without_end.png", whole[:-12]
    yield "png_huge_header.png", png(100_000, 100_000, 8, 2, rows)
    frames = [rgb(30, 20), Image.fromarray(255 - pattern(30, 20))]
    yield "apng.png", encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield "apng_default.png", encode(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    yield "png_saved.png", encode(rgb(), "PNG", optimize=True)


def gif(screen, frames, palette=b"", background=0):
    """A GIF of frames (left, top, width, height, indices, palette, transparent, interlaced) in uncompressed LZW."""
    def flags(colors):
        return 0x80 | (len(colors) // 3 - 1).bit_length() - 1 if colors else 0

    out = b"GIF89a" + struct.pack("<HHBBB", *screen, flags(palette), background, 0) + palette
    for left, top, width, height, indices, local, transparent, interlaced in frames:
        if transparent is not None:
            out += b"!\xf9\4\1\0\0" + bytes([transparent, 0])
        out += b"," + struct.pack("<HHHHB", left, top, width, height, flags(local) | 0x40 * interlaced) + local
        if interlaced:
            order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]
            indices = indices[order]
        # 7-bit colours in 8-bit codes: a clear code often enough that codes never grow.
        codes = []
        for at, index in enumerate(indices.reshape(-1).tolist()):
            codes += ([128] if at % 100 == 0 else []) + [index]
        data = bytes([*codes, 129])
        out += b"\7" + b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
        out += b"\0"
    return out + b";"


def gifs():
    colors = bytes(RNG.integers(0, 256, 3 * 128, dtype=np.uint8))
    other = bytes(RNG.integers(0, 256, 3 * 128, dtype=np.uint8))
    gray = bytes(np.repeat(np.arange(128, dtype=np.uint8), 3))
    full = pattern(40, 30, 1) >> 1
    part = pattern(20, 10, 1) >> 1
    whole = (0, 0, 40, 30, full, b"", None, False)
    yield "gif_plain.gif", gif((40, 30), [whole], colors)
    yield "gif_interlaced.gif", gif((40, 30), [(0, 0, 40, 30, full, b"", None, True)], colors)
    yield "gif_local_palette.gif", gif((40, 30), [(0, 0, 40, 30, full, other, None, False)], colors)
    yield "gif_only_local_palette.gif", gif((40, 30), [(0, 0, 40, 30, full, other, None, False)])
    yield "gif_without_palette.gif", gif((40, 30), [whole])
    yield "gif_gray_palette.gif", gif((40, 30), [whole], gray)
    yield "gif_gray_local_palette.gif", gif((40, 30), [(0, 0, 40, 30, full, gray, None, False)], colors)
    yield "gif_short_palette.gif", gif((40, 30), [whole], colors[: 3 * 32])
    yield "gif_transparent.gif", gif((40, 30), [(0, 0, 40, 30, full, b"", 5, False)], colors)
    yield "gif_small_frame.gif", gif((40, 30), [(7, 11, 20, 10, part, b"", None, False)], colors, 9)
    yield "gif_small_frame_transparent.gif", gif((40, 30), [(7, 11, 20, 10, part, b"", 3, True)], colors, 9)
    yield "gif_small_frame_local.gif", gif((40, 30), [(7, 11, 20, 10, part, other, None, False)], colors, 9)
    yield "gif_frame_over_screen.gif", gif((15, 12), [(7, 11, 20, 10, part, b"", None, False)], colors)
    yield "gif_two_frames.gif", gif((40, 30), [whole, (7, 11, 20, 10, part, other, 3, False)], colors)
    data = gif((40, 30), [whole], colors)
    yield "gif_truncated.gif", data[: len(data) * 2 // 3]
    yield "gif_without_trailer.gif", data[:-1]
    yield "gif_saved.gif", encode(rgb(), "GIF")


def webps():
    yield "webp_lossy.webp", encode(rgb(), "WEBP", quality=80)
    yield "webp_lossy_low.webp", encode(rgb(), "WEBP", quality=5, method=6)
    yield "webp_lossless.webp", encode(rgb(), "WEBP", lossless=True)
    yield "webp_palette.webp", encode(rgb().quantize(20).convert("RGB"), "WEBP", lossless=True)
    rgba = Image.fromarray(pattern(61, 43, 4))
    yield "webp_alpha_lossy.webp", encode(rgba, "WEBP", quality=80)
    yield "webp_alpha_lossless.webp", encode(rgba, "WEBP", lossless=True, exact=True)
    yield "webp_odd.webp", encode(rgb(33, 17), "WEBP", quality=60)
    frames = [Image.fromarray(255 - pattern(61, 43)), rgb()]
    yield "webp_animation.webp", encode(rgb(), "WEBP", save_all=True, append_images=frames, quality=70)
    alpha = [Image.fromarray(pattern(61, 43, 4))]
    yield "webp_animation_alpha.webp", encode(rgba, "WEBP", save_all=True, append_images=alpha, quality=70)
    data = encode(rgb(), "WEBP", quality=80)
    yield "webp_truncated.webp", data[: len(data) // 2]


def bmp(width, height, bits, pixels, *, compression=0, header=40, extra=b"", palette=b""):
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(pixels), 0, 0, len(palette) // 4, 0)
    start = 14 + len(info) + len(extra) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + extra + palette + pixels


def padded(rows):
    return b"".join(row + b"\0" * (-len(row) % 4) for row in rows)


def bmps():
    width, height = 29, 21
    colors = bytes(RNG.integers(0, 256, 4 * 256, dtype=np.uint8))
    for depth in [1, 4, 8]:
        rows = packed(pattern(width, height, 1) >> (8 - depth), depth)
        yield f"bmp_palette_{depth}.bmp", bmp(width, height, depth, padded(rows), palette=colors[: 4 << depth])
    yield "bmp_gray.bmp", encode(Image.fromarray(pattern(width, height, 1)), "BMP")
    rows = [row.tobytes() for row in pattern(width, height)]
    yield "bmp_rgb.bmp", bmp(width, height, 24, padded(rows))
    yield "bmp_top_down.bmp", bmp(width, -height, 24, padded(rows))
    rows = [row.tobytes() for row in pattern(width, height, 4)]
    yield "bmp_32.bmp", bmp(width, height, 32, padded(rows))
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    yield "bmp_v4_alpha.bmp", bmp(width, height, 32, padded(rows), compression=3, header=108, extra=masks + bytes(52))
    yield "bmp_v5_alpha.bmp", bmp(width, height, 32, padded(rows), compression=3, header=124, extra=masks + bytes(68))
    words = [row.tobytes() for row in pattern(width, height, 1, 16).astype("<u2")]
    yield "bmp_555.bmp", bmp(width, height, 16, padded(words))
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    yield "bmp_565.bmp", bmp(width, height, 16, padded(words), compression=3, extra=masks)
    levels = pattern(width, height, 1) // 32 * 32
    rle = b"".join(b"".join(bytes([1, level]) for level in row) + b"\0\0" for row in levels.tolist()) + b"\0\1"
    yield "bmp_rle8.bmp", bmp(width, height, 8, rle, compression=1, palette=colors)
    core = struct.pack("<IHHHH", 12, width, height, 1, 24)
    rows = padded([row.tobytes() for row in pattern(width, height)])
    yield "bmp_os2.bmp", b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + core + rows
    yield "bmp_truncated.bmp", bmp(width, height, 24, padded([r.tobytes() for r in pattern(width, height)]))[:1500]


def tiffs():
    width, height = 29, 21
    modes = {
        "1": Image.fromarray(pattern(width, height, 1)).convert("1"),
        "L": Image.fromarray(pattern(width, height, 1)),
        "LA": Image.fromarray(pattern(width, height, 2)),
        "P": rgb(width, height).quantize(50),
        "RGB": rgb(width, height),
        "RGBA": Image.fromarray(pattern(width, height, 4)),
        "CMYK": Image.fromarray(pattern(width, height, 4), "CMYK"),
        "I;16": Image.fromarray(pattern(width, height, 1, 16) // 128),
    }
    for mode, image in modes.items():
        name = mode.replace(";", "")
        for compression in ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]:
            yield f"tiff_{name}_{compression}.tif", encode(image, "TIFF", compression=compression)
    predictor = {317: 2}
    yield "tiff_predictor.tif", encode(modes["RGB"], "TIFF", compression="tiff_lzw", tiffinfo=predictor)
    yield "tiff_bigtiff.tif", encode(modes["RGB"], "TIFF", big_tiff=True)
    yield "tiff_two_pages.tif", encode(modes["RGB"], "TIFF", save_all=True, append_images=[modes["L"]])
    yield "tiff_strips.tif", encode(modes["RGB"], "TIFF", compression="tiff_lzw", tiffinfo={278: 5})
    yield "tiff_fax.tif", encode(modes["1"], "TIFF", compression="group4")
    yield "tiff_white_is_zero.tif", encode(modes["L"], "TIFF", tiffinfo={262: 0})
    yield "tiff_rgb_16.tif", tiff_rgb(pattern(width, height, 3, 16), 16)
    yield "tiff_planar.tif", tiff_rgb(pattern(width, height), 8, planar=True)
    yield "tiff_big_endian.tif", tiff_rgb(pattern(width, height), 8, order=">")
    data = encode(modes["RGB"], "TIFF")
    yield "tiff_truncated.tif", data[: len(data) // 2]


def tiff_rgb(pixels, bits, planar=False, order="<"):
    height, width, _ = pixels.shape
    pixels = pixels.astype(f"{order}u{bits // 8}")
    planes = [pixels[..., c].tobytes() for c in range(3)] if planar else [pixels.tobytes()]
    data = b"".join(planes)
    count, base = 10, 8 + 2 + 10 * 12 + 4
    starts = [base + 6 + 24 + sum(map(len, planes[:i])) for i in range(len(planes))]
    short, long = 3, 4
    def entry(tag, kind, values):
        pad = struct.pack(order + ("H" if kind == short else "I") * len(values), *values)
        return struct.pack(order + "HHI", tag, kind, len(values)) + pad.ljust(4, b"\0")
    offsets = starts if len(planes) == 1 else [base + 6]
    sizes = [len(planes[0])] if len(planes) == 1 else [base + 18]
    entries = [
        entry(256, long, [width]), entry(257, long, [height]),
        struct.pack(order + "HHII", 258, short, 3, base), entry(259, short, [1]), entry(262, short, [2]),
        struct.pack(order + "HHII", 273, long, len(planes), offsets[0]), entry(277, short, [3]),
        entry(278, long, [height]), struct.pack(order + "HHII", 279, long, len(planes), sizes[0]),
        entry(284, short, [2 if planar else 1]),
    ]
    assert len(entries) == count
    lists = struct.pack(order + "HHH", bits, bits, bits)
    lists += struct.pack(order + "III", *(starts + [0, 0])[:3])
    lists += struct.pack(order + "III", *([len(p) for p in planes] + [0, 0])[:3])
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "IH", 8, count) + b"".join(entries) + bytes(4) + lists + data


def others():
    width, height = 29, 21
    gray, color = pattern(width, height, 1), pattern(width, height)
    yield "pnm_p6.ppm", encode(Image.fromarray(color), "PPM")
    yield "pnm_p5.pgm", encode(Image.fromarray(gray), "PPM")
    yield "pnm_p4.pbm", encode(Image.fromarray(gray).convert("1"), "PPM")
    yield "pnm_p3.ppm", b"P3\n# comment\n9 7\n255\n" + " ".join(map(str, pattern(9, 7).reshape(-1))).encode()
    yield "pnm_p2.pgm", b"P2 9 7 255\n" + " ".join(map(str, pattern(9, 7, 1).reshape(-1))).encode()
    yield "pnm_p1.pbm", b"P1 9 7\n" + " ".join(map(str, (pattern(9, 7, 1) >> 7).reshape(-1))).encode()
    yield "pnm_p5_maxval_100.pgm", b"P5 29 21 100\n" + (gray // 3).tobytes()
    yield "pnm_p6_maxval_100.ppm", b"P6 29 21 100\n" + (color // 3).tobytes()
    yield "pnm_p5_16.pgm", b"P5 29 21 65535\n" + pattern(width, height, 1, 16).astype(">u2").tobytes()
    yield "pnm_p6_16.ppm", b"P6 29 21 65535\n" + pattern(width, height, 3, 16).astype(">u2").tobytes()
    yield "pnm_truncated.ppm", encode(Image.fromarray(color), "PPM")[:900]
    icon = Image.fromarray(pattern(40, 40, 4))
    yield "ico_png.ico", encode(icon, "ICO", sizes=[(16, 16), (40, 40), (32, 32)])
    yield "ico_bmp.ico", encode(icon, "ICO", sizes=[(16, 16), (32, 32)], bitmap_format="bmp")
    yield "ico_bmp_rgb.ico", encode(icon.convert("RGB"), "ICO", sizes=[(32, 32)], bitmap_format="bmp")
    yield "qoi_rgb.qoi", encode(Image.fromarray(color), "QOI")
    yield "qoi_rgba.qoi", encode(Image.fromarray(pattern(width, height, 4)), "QOI")
    yield "empty.jpg", b""
    yield "text.jpg", b"this is no picture at all\n"


def tiff(width, height, chunks, *, bits=(8,), order="<", **tags):
    """A TIFF of strips, or tiles where there is a tag for their width, with tags by number: `t317=2`, or `t258=None` for none.

    Values are shorts, but for offsets, lengths and what needs more; bytes are bytes, and real numbers rationals."""
    tiled = tags.get("t322") is not None
    offsets, lengths = (324, 325) if tiled else (273, 279)
    values = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 277: len(bits), lengths: [len(c) for c in chunks]}
    if not tiled:
        values[278] = height
    values |= {int(name[1:]): value for name, value in tags.items()}
    values[offsets] = [0] * len(chunks)
    values = {tag: value for tag, value in values.items() if value is not None}

    def packed_value(tag, value):
        if isinstance(value, bytes):
            return 7, len(value), value
        value = list(value) if isinstance(value, (list, tuple)) else [value]
        if isinstance(value[0], float):
            pairs = [part for number in value for part in (round(number * 10000), 10000)]
            return 5, len(value), struct.pack(f"{order}{len(pairs)}I", *pairs)
        long = tag in (offsets, lengths) or max(value) > 65535
        return 4 if long else 3, len(value), struct.pack(f"{order}{len(value)}{'I' if long else 'H'}", *value)

    def build(starts):
        values[offsets] = starts
        entries, lists = b"", b""
        for tag in sorted(values):
            kind, count, data = packed_value(tag, values[tag])
            if len(data) > 4:
                at = 8 + 2 + 12 * len(values) + 4 + len(lists)
                lists += data + bytes(len(data) % 2)
                data = struct.pack(order + "I", at)
            entries += struct.pack(order + "HHI", tag, kind, count) + data.ljust(4, b"\0")
        head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(values))
        return head + entries + bytes(4) + lists

    start = len(build([0] * len(chunks)))
    starts = [start + sum(map(len, chunks[:index])) for index in range(len(chunks))]
    return build(starts) + b"".join(chunks)


def tiles_of(pixels, side=16):
    """The tiles of `[height, width, samples]`, with what lies over the edges repeated."""
    height, width, _ = pixels.shape
    padded_pixels = np.pad(pixels, [(0, -height % side), (0, -width % side), (0, 0)], "edge")
    rows, columns = padded_pixels.shape[0] // side, padded_pixels.shape[1] // side
    return [padded_pixels[y * side : (y + 1) * side, x * side : (x + 1) * side] for y in range(rows) for x in range(columns)]


def differences(pixels):
    """What the predictor 2 makes of `[height, width, samples]`."""
    first, rest = pixels[:, :1], pixels[:, 1:] - pixels[:, :-1]
    return np.concatenate([first, rest], 1)


def float_differences(pixels):
    """What the predictor 3 makes of `[height, width]` real numbers."""
    planes = pixels.astype(">f4").view(np.uint8).reshape(*pixels.shape, 4).transpose(0, 2, 1).reshape(pixels.shape[0], -1)
    return np.concatenate([planes[:, :1], planes[:, 1:] - planes[:, :-1]], 1)


def subsampled(pixels, across, down):
    """YCbCr `[height, width, 3]` in groups that share their colour."""
    height, width, _ = pixels.shape
    grid = np.pad(pixels, [(0, -height % down), (0, -width % across), (0, 0)], "edge")
    out = []
    for y in range(0, grid.shape[0], down):
        for x in range(0, grid.shape[1], across):
            block = grid[y : y + down, x : x + across]
            out += [*block[..., 0].reshape(-1).tolist(), *block[0, 0, 1:].tolist()]
    return bytes(out)


def reversed_bits(data):
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)


def lzw(data):
    """LZW of a strip of TIFF that clears its table before codes grow, and has no end."""
    codes = []
    for at, byte in enumerate(data):
        codes += ([256] if at % 200 == 0 else []) + [byte]
    bits = "".join(f"{code:09b}" for code in codes)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def tiff_orientations():
    width, height = 13, 9
    color, gray = pattern(width, height), pattern(width, height, 1)
    for value in range(2, 9):
        yield f"tiff_orientation_{value}.tif", tiff(width, height, [zlib.compress(color.tobytes())], bits=(8, 8, 8), t259=8, t262=2, t274=value)
        yield f"tiff_orientation_{value}_gray.tif", tiff(width, height, [gray.tobytes()], t274=value)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    yield "tiff_orientation_xmp.tif", tiff(width, height, [gray.tobytes()], t700=xmp)
    yield "tiff_orientation_9.tif", tiff(width, height, [gray.tobytes()], t274=9)


def tiff_samples():
    """Extra samples, predictors, tiles, planes, and samples of every kind."""
    width, height = 23, 19
    compressed = {"t259": 8}
    for order in "<>":
        name = {"<": "", ">": "_big_endian"}[order]
        word = f"{order}u2"
        wide = pattern(width, height, 4, 16)
        yield f"tiff_associated_16{name}.tif", tiff(width, height, [wide.astype(word).tobytes()], bits=(16,) * 4, order=order, t262=2, t338=1)
        data = zlib.compress(differences(wide).astype(word).tobytes())
        yield f"tiff_associated_16_predictor{name}.tif", tiff(width, height, [data], bits=(16,) * 4, order=order, t262=2, t338=1, t317=2, **compressed)
        yield f"tiff_cmyk_16{name}.tif", tiff(width, height, [wide.astype(word).tobytes()], bits=(16,) * 4, order=order, t262=5)
        signed = pattern(width, height, 1, 16).astype(np.int32) // 64 - 300
        yield f"tiff_int16{name}.tif", tiff(width, height, [signed.astype(f"{order}i2").tobytes()], bits=(16,), order=order, t339=2)
        yield f"tiff_int32{name}.tif", tiff(width, height, [signed.astype(f"{order}i4").tobytes()], bits=(32,), order=order, t339=2)
        real = signed.astype(np.float32) * 0.77
        yield f"tiff_float32{name}.tif", tiff(width, height, [real.astype(f"{order}f4").tobytes()], bits=(32,), order=order, t339=3)
        data = zlib.compress(float_differences(real).tobytes())
        yield f"tiff_float32_predictor{name}.tif", tiff(width, height, [data], bits=(32,), order=order, t339=3, t317=3, **compressed)
        dark = pattern(width, height, 1, 16) // 128
        yield f"tiff_gray_16{name}.tif", tiff(width, height, [dark.astype(word).tobytes()], bits=(16,), order=order)
    yield "tiff_uint32.tif", tiff(width, height, [(dark.astype("<u4") << 20).tobytes()], bits=(32,))
    yield "tiff_int8.tif", tiff(width, height, [pattern(width, height, 1).tobytes()], t339=2)
    levels = pattern(width + 1, height, 1, 16).astype(np.uint32) // 100
    pairs = levels[:, 0::2] << 12 | levels[:, 1::2]
    data = np.stack([pairs >> 16, pairs >> 8 & 255, pairs & 255], -1).astype(np.uint8).tobytes()
    yield "tiff_gray_12.tif", tiff(width, height, [data], bits=(12,))
    for samples, extra in [(4, (1,)), (5, (1, 0)), (4, (0,)), (5, (0, 0)), (5, (2, 0)), (4, (2,)), (4, (999,)), (4, None)]:
        pixels = pattern(width, height, 4)
        pixels = np.concatenate([pixels, pixels[..., :1]], -1)[..., :samples]
        name = "none" if extra is None else "_".join(map(str, extra))
        yield f"tiff_rgb_extra_{name}.tif", tiff(width, height, [pixels.tobytes()], bits=(8,) * samples, t262=2, t338=extra)
        tiles = [zlib.compress(differences(tile).tobytes()) for tile in tiles_of(pixels)]
        yield f"tiff_rgb_extra_{name}_tiles.tif", tiff(width, height, tiles, bits=(8,) * samples, t262=2, t338=extra, t317=2, t322=16, t323=16, **compressed)
    spot = np.concatenate([pattern(width, height, 4), pattern(width, height)[..., :1]], -1)
    tiles = [zlib.compress(differences(tile).tobytes()) for tile in tiles_of(spot)]
    yield "tiff_cmyk_spot_tiles.tif", tiff(width, height, tiles, bits=(8,) * 5, t262=5, t338=0, t317=2, t322=16, t323=16, **compressed)
    for extra in [0, 2]:
        pixels = pattern(width, height, 2)
        yield f"tiff_gray_extra_{extra}.tif", tiff(width, height, [pixels.tobytes()], bits=(8, 8), t338=extra)
        colors = tuple(RNG.integers(0, 65536, 3 * 256).tolist())
        yield f"tiff_palette_extra_{extra}.tif", tiff(width, height, [pixels.tobytes()], bits=(8, 8), t262=3, t338=extra, t320=colors)
    for depth in [1, 2, 4]:
        rows = b"".join(packed(pattern(width, height, 1) >> (8 - depth), depth))
        colors = tuple(RNG.integers(0, 65536, 3 << depth).tolist())
        yield f"tiff_palette_{depth}.tif", tiff(width, height, [rows], bits=(depth,), t262=3, t320=colors)
        yield f"tiff_gray_{depth}_white_is_zero.tif", tiff(width, height, [rows], bits=(depth,), t262=0)
        tiles = [zlib.compress(b"".join(packed(tile[..., 0] >> (8 - depth), depth))) for tile in tiles_of(pattern(width, height, 1)[..., None])]
        yield f"tiff_gray_{depth}_tiles.tif", tiff(width, height, tiles, bits=(depth,), t322=16, t323=16, **compressed)
    color = pattern(width, height)
    for predictor in [1, 2]:
        planes = [tile for plane in range(3) for tile in tiles_of(color[..., plane : plane + 1])]
        data = [zlib.compress((differences(tile) if predictor == 2 else tile).tobytes()) for tile in planes]
        yield f"tiff_planar_tiles_{predictor}.tif", tiff(width, height, data, bits=(8, 8, 8), t262=2, t284=2, t317=predictor, t322=16, t323=16, **compressed)
    planes = [np.ascontiguousarray(pattern(width, height, 4)[..., plane]).tobytes() for plane in range(4)]
    planes = [zlib.compress(plane) for plane in planes]
    yield "tiff_planar_extra.tif", tiff(width, height, planes, bits=(8,) * 4, t262=2, t284=2, t338=0, **compressed)
    yield "tiff_planar_cmyk.tif", tiff(width, height, planes, bits=(8,) * 4, t262=5, t284=2, **compressed)
    wide = pattern(width, height, 3, 16).astype("<u2")
    planes = [zlib.compress(np.ascontiguousarray(wide[..., plane]).tobytes()) for plane in range(3)]
    yield "tiff_planar_16.tif", tiff(width, height, planes, bits=(16,) * 3, t262=2, t284=2, **compressed)
    lab = pattern(width, height)
    yield "tiff_lab.tif", tiff(width, height, [lab.tobytes()], bits=(8, 8, 8), t262=8)
    # Where Pillow 13.0.0 is wrong: the second of each pair says what the first holds.
    planes = [np.ascontiguousarray(wide[..., plane]).tobytes() for plane in range(3)]
    yield "tiff_planar_16_raw.tif", tiff(width, height, planes, bits=(16,) * 3, t262=2, t284=2)
    yield "tiff_planar_16_raw_control.tif", tiff(width, height, [wide.tobytes()], bits=(16,) * 3, t262=2)
    dark = (pattern(width, height, 1, 16) // 128).astype("<u2")
    yield "tiff_gray_16_white_is_zero.tif", tiff(width, height, [(65535 - dark).tobytes()], bits=(16,), t262=0)
    yield "tiff_gray_16_white_is_zero_control.tif", tiff(width, height, [dark.tobytes()], bits=(16,))


def tiff_compressions():
    width, height = 37, 21
    gray, color, ink = pattern(width, height, 1), pattern(width, height), pattern(width, height, 4)
    black = Image.fromarray(gray).convert("1")
    for name, options in {
        "ccitt": {"compression": "tiff_ccitt"},
        "group3": {"compression": "group3"},
        "group3_2d": {"compression": "group3", "tiffinfo": {292: 1}},
        "group3_strips": {"compression": "group3", "tiffinfo": {292: 1, 278: 5}},
        "group4_strips": {"compression": "group4", "tiffinfo": {278: 5}},
        "lzma": {"compression": "lzma"},
        "zstd": {"compression": "zstd"},
    }.items():
        yield f"tiff_{name}_black.tif", encode(black, "TIFF", **options)
    for name in ["lzma", "zstd"]:
        strips = {278: 5, 317: 2}
        yield f"tiff_{name}_strips.tif", encode(Image.fromarray(color), "TIFF", compression=name, tiffinfo=strips)
    delta = [{"id": lzma.FILTER_DELTA, "dist": 3}, {"id": lzma.FILTER_LZMA2}]
    data = lzma.compress(color.tobytes(), filters=delta, check=lzma.CHECK_CRC32)
    yield "tiff_lzma_delta.tif", tiff(width, height, [data], bits=(8, 8, 8), t259=34925, t262=2)
    group4 = encode(black, "TIFF", compression="group4")
    with Image.open(io.BytesIO(group4)) as image:
        (start,), (length,), photometric = image.tag_v2[273], image.tag_v2[279], image.tag_v2[262]
    data = group4[start : start + length]
    one_bit = {"bits": (1,), "t259": 4, "t262": photometric}
    yield "tiff_group4_rows_max.tif", tiff(width, height, [data], **one_bit, t278=2**32 - 1)
    yield "tiff_group4_rows_missing.tif", tiff(width, height, [data], **one_bit, t278=None)
    yield "tiff_group4_reversed.tif", tiff(width, height, [reversed_bits(data)], **one_bit, t266=2)
    yield "tiff_group4_without_photometric.tif", tiff(width, height, [data], **(one_bit | {"t262": None}))
    wide = Image.fromarray(pattern(3000, 3, 1)).convert("1")
    yield "tiff_group4_wide.tif", encode(wide, "TIFF", compression="group4")
    rows = b"".join(packed(gray >> 7, 1))
    yield "tiff_fill_order_black.tif", tiff(width, height, [reversed_bits(rows)], bits=(1,), t266=2)
    yield "tiff_fill_order_rgb.tif", tiff(width, height, [reversed_bits(color.tobytes())], bits=(8, 8, 8), t262=2, t266=2)
    yield "tiff_fill_order_deflate.tif", tiff(width, height, [reversed_bits(zlib.compress(gray.tobytes()))], t259=8, t266=2)
    yield "tiff_lzw_without_end.tif", tiff(width, height, [lzw(color.tobytes())], bits=(8, 8, 8), t259=5, t262=2)
    tiles = [lzw(tile.tobytes() + b"more") for tile in tiles_of(color)]
    yield "tiff_lzw_tiles.tif", tiff(width, height, tiles, bits=(8, 8, 8), t259=5, t262=2, t322=16, t323=16)
    data = zlib.compress(color.tobytes())
    yield "tiff_without_lengths.tif", tiff(width, height, [data], bits=(8, 8, 8), t259=8, t262=2, t279=None)
    yield "tiff_deflate_old.tif", tiff(width, height, [data], bits=(8, 8, 8), t259=32946, t262=2)
    yield "tiff_deflate_cut.tif", tiff(width, height, [data[: len(data) // 2]], bits=(8, 8, 8), t259=8, t262=2)
    for mode, pixels in [("L", gray), ("RGB", color), ("CMYK", ink)]:
        image = Image.fromarray(pixels, mode)
        yield f"tiff_jpeg_{mode}.tif", encode(image, "TIFF", compression="jpeg")
        yield f"tiff_jpeg_{mode}_strips.tif", encode(image, "TIFF", compression="jpeg", tiffinfo={278: 8})
    yield "tiff_jpeg_YCbCr.tif", encode(Image.fromarray(color).convert("YCbCr"), "TIFF", compression="jpeg")
    for subsampling in ["4:4:4", "4:2:2", "4:2:0"]:
        tiles = [encode(Image.fromarray(tile), "JPEG", subsampling=subsampling) for tile in tiles_of(color, 32)]
        factors = {"4:4:4": (1, 1), "4:2:2": (2, 1), "4:2:0": (2, 2)}[subsampling]
        tags = {"bits": (8, 8, 8), "t259": 7, "t262": 6, "t322": 32, "t323": 32, "t530": factors}
        yield f"tiff_jpeg_tiles_{subsampling.replace(':', '')}.tif", tiff(width, height, tiles, **tags)
        jpeg = encode(Image.fromarray(color), "JPEG", subsampling=subsampling)
        data = tiff(width, height, [jpeg], bits=(8, 8, 8), t259=6, t262=6, t513=0, t514=len(jpeg), t530=factors)
        # The old kind says twice where it is.
        start = data.index(jpeg)
        data = tiff(width, height, [jpeg], bits=(8, 8, 8), t259=6, t262=6, t513=start, t514=len(jpeg), t530=factors)
        yield f"tiff_jpeg_old_{subsampling.replace(':', '')}.tif", data
    planes = [encode(Image.fromarray(np.ascontiguousarray(color[..., plane])), "JPEG") for plane in range(3)]
    yield "tiff_jpeg_planar.tif", tiff(width, height, planes, bits=(8, 8, 8), t259=7, t262=2, t284=2)
    ycbcr = np.array(Image.fromarray(color).convert("YCbCr"))
    yield "tiff_ycbcr_raw.tif", tiff(width, height, [ycbcr.tobytes()], bits=(8, 8, 8), t262=6, t530=(1, 1))
    for across, down in [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)]:
        data = zlib.compress(subsampled(ycbcr, across, down))
        yield f"tiff_ycbcr_{across}{down}.tif", tiff(width, height, [data], bits=(8, 8, 8), t259=8, t262=6, t530=(across, down))
    limits = (16.0, 235.0, 128.0, 240.0, 128.0, 240.0)
    data = zlib.compress(subsampled(ycbcr, 2, 2))
    yield "tiff_ycbcr_limited.tif", tiff(width, height, [data], bits=(8, 8, 8), t259=8, t262=6, t532=limits)
    luma = (0.2126, 0.7152, 0.0722)
    yield "tiff_ycbcr_709.tif", tiff(width, height, [data], bits=(8, 8, 8), t259=8, t262=6, t529=luma)
    swapped = bytearray(tiff(width, height, [gray.tobytes()]))
    swapped[2:4] = b"\0*"
    yield "tiff_number_swapped.tif", bytes(swapped)


def segments_of(jpeg):
    """The segments (marker, data) of a JPEG before its scan's data, and that data without the end marker."""
    found, at = [], 2
    while True:
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        found.append((marker, jpeg[at + 4 : at + 2 + length]))
        at += 2 + length
        if marker == 0xDA:
            return found, jpeg[at:-2]


def old_jpegs():
    """TIFFs with the JPEG of 1992, whose strips begin anew, and whose header is in one piece or in tags."""
    width, height = 37, 53
    color = Image.fromarray(pattern(width, height))
    for subsampling, factors in [("4:4:4", (1, 1)), ("4:2:2", (2, 1)), ("4:2:0", (2, 2))]:
        name = subsampling.replace(":", "")
        rows = 8 * factors[1]
        jpeg = encode(color, "JPEG", subsampling=subsampling, restart_marker_rows=1)
        segments, scan = segments_of(jpeg)
        strips = re.split(rb"\xff[\xd0-\xd7]", scan)
        quantizers = {data[0]: data[1:] for marker, data in segments if marker == 0xDB}
        codes = {data[0]: data[1:] for marker, data in segments if marker == 0xC4}
        tags = {"bits": (8, 8, 8), "t259": 6, "t262": 6, "t278": rows, "t512": 1, "t530": factors}
        tables = [quantizers[0], quantizers[1], codes[0], codes[1], codes[16], codes[17]]

        def with_tables(starts, strips=strips, tables=tables, tags=tags):
            q0, q1, dc0, dc1, ac0, ac1 = starts
            lists = {"t519": (q0, q1, q1), "t520": (dc0, dc1, dc1), "t521": (ac0, ac1, ac1)}
            # The tables lie after the strips, as if they were more of them.
            return tiff(width, height, strips + [b"".join(tables)], **tags, **lists)

        start = len(with_tables([0] * 6)) - len(b"".join(tables))
        starts = [start + sum(map(len, tables[:index])) for index in range(6)]
        yield f"tiff_jpeg_old_tables_{name}.tif", with_tables(starts)
        header = b"\xff\xd8" + b"".join(
            bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data for marker, data in segments if marker in (0xDB, 0xC4, 0xC0)
        )
        first = b"\xff\xda" + struct.pack(">H", len(segments[-1][1]) + 2) + segments[-1][1] + strips[0]
        body = tiff(width, height, [first, *strips[1:]], **tags, t513=100_000, t514=len(header))
        yield f"tiff_jpeg_old_header_{name}.tif", body.replace(struct.pack("<I", 100_000), struct.pack("<I", len(body))) + header


def more_bmps():
    width, height = 21, 13
    colors = bytes(RNG.integers(0, 256, 4 * 256, dtype=np.uint8))
    gray = pattern(width, height, 1)
    rows = padded([row.tobytes() for row in gray])
    whole = bmp(width, height, 8, rows, palette=colors)
    for at, name in [(0, "0"), (54, "palette")]:
        yield f"bmp_offset_{name}.bmp", whole[:10] + struct.pack("<I", at) + whole[14:]
    yield "bmp_planes_0.bmp", whole[:26] + b"\0\0" + whole[28:]
    yield "bmp_os2_v2.bmp", bmp(width, height, 8, rows, header=64, extra=bytes(24), palette=colors)
    yield "bmp_last_padding_missing.bmp", bmp(width, height, 24, padded([row.tobytes() for row in pattern(width, height)]))[:-1]
    ramp = bytes(value for gray in range(200) for value in (gray, gray, gray, 0))
    yield "bmp_short_gray_ramp.bmp", bmp(width, height, 8, rows, palette=ramp)
    yield "bmp_short_palette.bmp", bmp(width, height, 8, rows, palette=colors[: 4 * 100])
    runs = {
        "skipped": b"\3\1\0\2\4\2\5\2\0\0" + b"\0\2\0\3" + b"\x15\7\0\0" * height,
        "long": b"\x1e\5\0\0" * height,
        "literal": b"".join(b"\0\x15" + row.tobytes() + b"\0\0\0" for row in gray),
        "cut": b"\x15\5\0\0" * 4,
    }
    for name, data in runs.items():
        yield f"bmp_rle8_{name}.bmp", bmp(width, height, 8, data, compression=1, palette=colors)
    yield "bmp_rle8_top_down.bmp", bmp(width, -height, 8, runs["literal"], compression=1, palette=colors)
    half = b"".join(b"\0\x15" + row.tobytes() + b"\0" + b"\0\0" for row in gray[:, :11])
    yield "bmp_rle4_literal.bmp", bmp(width, height, 4, half, compression=2, palette=colors[:64])
    yield "bmp_rle4.bmp", bmp(width, height, 4, b"\x09\x3c\x0c\x7a\0\0" * height, compression=2, palette=colors[:64])
    words = padded([row.tobytes() for row in pattern(width, height, 4)])
    for name, masks in {
        "rgba": (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
        "abgr": (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
        "bgar": (0xFF000000, 0xFF00, 0xFF, 0xFF0000),
        "none": (0, 0, 0, 0),
        "odd": (0x3FF00000, 0xFFC00, 0x3FF, 0),
    }.items():
        yield f"bmp_masks_{name}.bmp", bmp(width, height, 32, words, compression=3, header=56, extra=struct.pack("<IIII", *masks))


def ico(entries):
    """An icon of pictures (side in the entry, colours, bits, data)."""
    head = b"\0\0\1\0" + struct.pack("<H", len(entries))
    at = len(head) + 16 * len(entries)
    body = b""
    for side, colors, bits, data in entries:
        head += struct.pack("<BBBBHHII", side, side, colors, 0, 1, bits, len(data), at + len(body))
        body += data
    return head + body


def icons():
    def bitmap(side, bits, mask=None):
        pixels = pattern(side, side, 4) if bits == 32 else pattern(side, side)
        if bits <= 8:
            rows = packed(pattern(side, side, 1) >> (8 - bits), bits)
        else:
            rows = [row.tobytes() for row in pixels]
        colors = bytes(RNG.integers(0, 256, 4 << bits, dtype=np.uint8)) if bits <= 8 else b""
        info = struct.pack("<IiiHHIIiiII", 40, side, 2 * side, 1, bits, 0, 0, 0, 0, 0, 0)
        mask = bytes((side + 31) // 32 * 4 * side) if mask is None else mask
        return info + colors + padded(rows) + mask

    def picture(side):
        return encode(Image.fromarray(pattern(side, side, 4)), "PNG")

    for bits in [1, 4, 8, 24, 32]:
        yield f"ico_{bits}.ico", ico([(19, 0, bits, bitmap(19, bits))])
    large, small = bitmap(24, 8), bitmap(16, 32)
    yield "ico_large_of_few_bits.ico", ico([(16, 0, 32, small), (24, 0, 8, large)])
    yield "ico_equal_sizes.ico", ico([(16, 0, 32, small), (16, 0, 8, bitmap(16, 8)), (16, 0, 24, bitmap(16, 24))])
    yield "ico_equal_entries.ico", ico([(16, 0, 24, bitmap(16, 24)), (16, 0, 24, bitmap(16, 24))])
    yield "ico_colors_tell.ico", ico([(16, 16, 0, bitmap(16, 4)), (16, 2, 0, bitmap(16, 1)), (16, 0, 0, bitmap(16, 8))])
    yield "ico_other_size.ico", ico([(16, 0, 8, bitmap(20, 8))])
    yield "ico_other_size_png.ico", ico([(16, 0, 32, picture(21)), (15, 0, 32, picture(33))])
    yield "ico_mask_short.ico", ico([(16, 0, 24, bitmap(16, 24, b"\0\0"))])


def lossless_jpeg(gray):
    """A lossless JPEG of `[height, width]` levels: the difference to the pixel on the left, with all codes of 5 bits."""
    height, width = gray.shape
    segment = lambda marker, data: bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"
    codes = bytes([0, 0, 0, 0, 9] + [0] * 11) + bytes(range(9))
    bits = ""
    for y in range(height):
        for x in range(width):
            before = gray[y, x - 1] if x else gray[y - 1, 0] if y else 128
            difference = int(gray[y, x]) - int(before)
            size = abs(difference).bit_length()
            bits += f"{size:05b}"
            if size:
                bits += f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}"
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    scan = b"\1\1\0\1\0\0"
    return b"\xff\xd8" + segment(0xC3, frame) + segment(0xC4, b"\0" + codes) + segment(0xDA, scan) + data + b"\xff\xd9"


def more_others():
    width, height = 29, 21
    plain = encode(rgb(), "JPEG", quality=85)
    yield "jpeg_without_end_zeros.jpg", plain[:-2] + bytes(64)
    yield "jpeg_cut_then_zeros.jpg", plain[:-12] + bytes(64)
    progressive = encode(rgb(), "JPEG", progressive=True)
    yield "jpeg_progressive_without_end.jpg", progressive[:-2] + bytes(64)
    yield "jpeg_lossless_gray.jpg", lossless_jpeg(pattern(17, 11, 1))
    frames = [Image.fromarray(pattern(width, height, 4)) for _ in range(2)]
    animation = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    flags = animation.index(b"ANMF") + 8 + 15
    blended = animation[:flags] + bytes([animation[flags] & ~2]) + animation[flags + 1 :]
    yield "webp_animation_blended.webp", blended
    yield "webp_animation_not_blended.webp", animation[:flags] + bytes([animation[flags] | 2]) + animation[flags + 1 :]
    at = blended.index(b"VP8X") + 8
    yield "webp_animation_without_alpha_flag.webp", blended[:at] + bytes([blended[at] & ~16]) + blended[at + 1 :]
    gray, color = pattern(width, height, 1), pattern(width, height)
    for most in [1, 3, 90, 254]:
        yield f"pnm_p5_max_{most}.pgm", f"P5 29 21 {most}\n".encode() + (gray % (most + 1)).tobytes()
        yield f"pnm_p6_max_{most}.ppm", f"P6 29 21 {most}\n".encode() + (color % (most + 1)).tobytes()
    yield "pnm_p6_over_max.ppm", b"P6 29 21 100\n" + color.tobytes()
    dark = (pattern(width, height, 1, 16) // 500).astype(">u2")
    yield "pnm_p5_max_1000.pgm", b"P5 29 21 1000\n" + dark.tobytes()
    yield "pnm_p6_max_1000.ppm", b"P6 29 21 1000\n" + (pattern(width, height, 3, 16) % 1001).astype(">u2").tobytes()
    text = " ".join(map(str, (color[:7, :9] % 101).reshape(-1)))
    yield "pnm_p3_max_100.ppm", b"P3 9\n# a comment\n7 100 " + text.encode() + b" # the end"
    yield "pnm_p2_max_1000.pgm", b"P2 9 7 1000\n" + " ".join(map(str, dark[:7, :9].reshape(-1) * 8 % 1001)).encode()
    yield "pnm_p1_dense.pbm", b"P1\n9 7\n" + b"".join(b"%d" % (value >> 7) for value in gray[:7, :9].reshape(-1))
    yield "pnm_p2_over_max.pgm", b"P2 2 1 7\n5 8\n"
    real = pattern(9, 7, 1).astype(np.float32) * 1.3 - 20
    yield "pnm_pfm_little.pfm", b"Pf\n9 7\n-1.0\n" + real.astype("<f4").tobytes()
    yield "pnm_pfm_big.pfm", b"Pf\n9 7\n1.0\n" + real.astype(">f4").tobytes()
    data = encode(Image.fromarray(color), "QOI")
    yield "qoi_without_end.qoi", data[:-8]
    yield "qoi_truncated.qoi", data[: len(data) // 2]
    yield "qoi_index_first.qoi", b"qoif" + struct.pack(">IIBB", 3, 1, 4, 0) + b"\5\xc1" + bytes(7) + b"\1"
    colors = bytes(RNG.integers(0, 256, 3 * 128, dtype=np.uint8))
    whole = gif((40, 30), [(0, 0, 40, 30, pattern(40, 30, 1) >> 1, b"", None, False)], colors)
    at = 13 + len(colors)
    yield "gif_unknown_extension.gif", whole[:at] + b"!\x42\3abc\0" + whole[at:]
    rows = [row.tobytes() for row in color]
    control = struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 10, 0, 0)
    for name, chunks in {
        "control": png_chunk(b"acTL", struct.pack(">II", 1, 0)) + png_chunk(b"fcTL", control),
        "no_frames": png_chunk(b"acTL", struct.pack(">II", 0, 0)),
        "no_sequence": png_chunk(b"acTL", struct.pack(">II", 2, 0)) + png_chunk(b"fcTL", b"\0\0\0\7" + control[4:]),
        "wide": png_chunk(b"acTL", struct.pack(">II", 2, 0)) + png_chunk(b"fcTL", control[:4] + b"\0\1" + control[6:]),
        "short": png_chunk(b"acTL", b"\0\0"),
        "twice": png_chunk(b"acTL", struct.pack(">II", 1, 0)) * 2 + png_chunk(b"fcTL", control),
    }.items():
        yield f"png_animation_{name}.png", png(width, height, 8, 2, rows, before=chunks)


# What Pillow does not write: 10 bits, 4:2:2, BT.2020, with alpha. Made by avifenc 0.11.1.
AVIF_10_BIT = """
    AAAAHGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZgAAAY1tZXRhAAAAAAAAAChoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAbGliYXZpZgAAAA
    AOcGl0bQAAAAAAAQAAACxpbG9jAAAAAEQAAAIAAQAAAAEAAAHuAAAAdgACAAAAAQAAAbEAAAA9AAAAQmlpbmYAAAAAAAIAAAAaaW5mZQIAAAAA
    AQAAYXYwMUNvbG9yAAAAABppbmZlAgAAAAACAABhdjAxQWxwaGEAAAAAGmlyZWYAAAAAAAAADmF1eGwAAgABAAEAAADDaXBycAAAAJ1pcGNvAA
    AAFGlzcGUAAAAAAAAAFAAAAA4AAAAQcGl4aQAAAAADCgoKAAAADGF2MUOBQEgAAAAAE2NvbHJuY2x4AAkAEAAJAAAAAA5waXhpAAAAAAEKAAAA
    DGF2MUOBAFwAAAAAOGF1eEMAAAAAdXJuOm1wZWc6bXBlZ0I6Y2ljcDpzeXN0ZW1zOmF1eGlsaWFyeTphbHBoYQAAAAAeaXBtYQAAAAAAAAACAA
    EEAQKDBAACBAEFhgcAAAC7bWRhdBIACgUYEOesajIyEACjWjEPYRe+THyTDYOUsmoyC1rVLa78c4IYZuUMUQhXENlPsizGzQASu0Lq6iB3F5gS
    AAoJWBDnrEhIgEiAMmcXgAwwwwQAw3yuU/zk5Z40Vx/xNXAt3UhfEsgEGDckKVavKAzrKSYPwbjdESgKO5XZPGeyRN6tL6NsIFxF//282Inmc+
    nkHs9rkLg8t+KG6NcAPJfiJZYA/yV93rg86MydcQQoy0ic
"""


def avif(width, height, mode="RGB", **options):
    image = Image.fromarray(pattern(width, height, 4)).convert(mode)
    return encode(image, "AVIF", speed=6, max_threads=1, **options)


def box(name, *content):
    content = b"".join(content)
    return struct.pack(">I4s", len(content) + 8, name) + content


def avif_grid(width, height, across, cells):
    """Cells of 64 x 64 pixels that Pillow wrote, in a container of the kind that they have themselves."""

    def content(data, name):
        at = data.index(name)
        return data[at + 4 : at - 4 + struct.unpack(">I", data[at - 4 : at])[0]]

    frames = [content(cell, b"mdat") for cell in cells]
    down = len(cells) // across
    count = len(cells)
    grid = struct.pack(">BBBBHH", 0, 0, down - 1, across - 1, width, height)
    items = [(1, b"grid")] + [(2 + index, b"av01") for index in range(count)]
    properties = [
        box(b"ispe", struct.pack(">III", 0, width, height)),
        box(b"ispe", struct.pack(">III", 0, 64, 64)),
        box(b"av1C", content(cells[0], b"av1C")),
        box(b"pixi", content(cells[0], b"pixi")),
        box(b"colr", content(cells[0], b"colr")),
    ]
    associated = [(1, [1, 4, 5])] + [(2 + index, [2, 0x83, 4, 5]) for index in range(count)]

    def meta(start):
        places = [(start, len(grid))]
        for frame in frames:
            places.append((places[-1][0] + places[-1][1], len(frame)))
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", struct.pack(">IH", 0, 1)),
            box(b"iloc", struct.pack(">IHH", 0, 0x4400, 1 + count),
                *(struct.pack(">HHHII", item, 0, 1, *place) for (item, _), place in zip(items, places))),
            box(b"iinf", struct.pack(">IH", 0, 1 + count),
                *(box(b"infe", struct.pack(">IHH4s", 2 << 24, item, 0, kind), b"\0") for item, kind in items)),
            box(b"iref", bytes(4), box(b"dimg", struct.pack(f">HH{count}H", 1, count, *range(2, 2 + count)))),
            box(b"iprp", box(b"ipco", *properties), box(b"ipma", struct.pack(">II", 0, len(associated)), *(
                struct.pack(">HB", item, len(positions)) + bytes(positions) for item, positions in associated))),
        )

    head = box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", grid, *frames)


def avifs():
    yield "avif_420.avif", avif(61, 43)
    yield "avif_422_limited.avif", avif(61, 43, subsampling="4:2:2", range="limited")
    yield "avif_444_alpha.avif", avif(61, 43, "RGBA", subsampling="4:4:4", quality=100)
    yield "avif_gray.avif", avif(61, 43, "L", subsampling="4:0:0", range="limited")
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "avif_turned.avif", avif(61, 43, exif=exif)
    cells = [avif(64, 64) for _ in range(6)]
    yield "avif_grid.avif", avif_grid(150, 100, 3, cells)
    yield "avif_grid_cut.avif", avif_grid(150, 100, 3, cells)[:-200]
    yield "avif_truncated.avif", avif(61, 43)[:-100]
    yield "avif_10_bit_alpha.avif", base64.b64decode(AVIF_10_BIT)


def jpeg2000s():
    """What is coded with loss differs by a level here and there."""
    for mode, channels in {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}.items():
        image = Image.fromarray(pattern(61, 43, channels), mode)
        yield f"jpeg2000_{mode.lower()}.jp2", encode(image, "JPEG2000")
    yield "jpeg2000_rgb.j2k", encode(rgb(), "JPEG2000", no_jp2=True)
    yield "jpeg2000_ycc.jp2", encode(rgb(), "JPEG2000", mct=1)
    yield "jpeg2000_tiles.jp2", encode(rgb(90, 70), "JPEG2000", tile_size=(64, 64), num_resolutions=3)
    yield "jpeg2000_precincts.jp2", encode(rgb(90, 70), "JPEG2000", precinct_size=(32, 32), codeblock_size=(16, 16))
    yield "jpeg2000_gray_16.jp2", encode(Image.fromarray(pattern(61, 43, 1, 16) // 100), "JPEG2000")
    yield "jpeg2000_lossy.jp2", encode(rgb(), "JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[20])
    yield "jpeg2000_truncated.jp2", encode(rgb(), "JPEG2000")[:-500]


def expected(data, size):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data)).convert("RGB")
    except Exception:  # noqa: BLE001 - Pillow raises about any class for a damaged file
        return "refused"
    pixels = image if size == (0, 0) else image.resize(size)
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def write_pixels_of_pillow_12():
    """Compares with pixels.sha256; leaves out pictures that this Pillow reads otherwise already in their own size."""
    own_size, lines = None, []
    for line in (HERE / "pixels.sha256").read_text().splitlines():
        pillow_13, size, name = line.split("  ")
        size = tuple(map(int, size.split("x")))
        pillow_12 = expected((PICTURES / name).read_bytes(), size)
        if size == (0, 0):
            own_size = pillow_12 == pillow_13
        elif own_size and pillow_12 != pillow_13:
            lines.append(f"{pillow_12}  {size[0]}x{size[1]}  {name}\n")
    (HERE / "pixels_pillow12.sha256").write_text("".join(lines))


def main():
    if PIL.__version__ == "12.3.0":
        write_pixels_of_pillow_12()
        return
    assert PIL.__version__ == "13.0.0", f"the golden pixels are those of Pillow 13.0.0, not {PIL.__version__}"
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.iterdir():
        # Pillow writes no JPEG XL: cjxl 0.7.0 made these of the pixels in jpeg_xl_control.png. Nor HEIC: make_heics.py did.
        if not old.name.startswith(("jpeg_xl_", "heic_")):
            old.unlink()
    lines = []
    groups = [jpegs, pngs, gifs, webps, bmps, tiffs, others]
    # New groups go to the end, so that the random numbers of the others stay.
    groups += [tiff_orientations, tiff_samples, tiff_compressions, more_bmps, icons, more_others, old_jpegs, avifs, jpeg2000s]
    for group in groups:
        for name, data in group():
            (PICTURES / name).write_bytes(data)
            lines += [f"{expected(data, size)}  {size[0]}x{size[1]}  {name}\n" for size in SIZES]
    (HERE / "pixels.sha256").write_text("".join(lines))


if __name__ == "__main__":
    main()
