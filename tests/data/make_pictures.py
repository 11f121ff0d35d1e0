#!/usr/bin/env python3
"""Writes small pictures in every format and mode to pictures/, and what Pillow makes of them to pixels.sha256.

    pip install numpy==2.* Pillow==13.0.0
    python tests/data/make_pictures.py

Every line of pixels.sha256 is `<sha256 of the RGB bytes>  <width>x<height>  <file name>`, for
`Image.open(file).convert("RGB").resize((width, height))`; 0x0 stands for no resize at all. Pictures that Pillow
refuses have the word `refused` in the place of the hash. Deterministic: a second run changes nothing.
"""

import hashlib
import io
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


def expected(data, size):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data)).convert("RGB")
    except Exception:  # noqa: BLE001 - Pillow raises about any class for a damaged file
        return "refused"
    pixels = image if size == (0, 0) else image.resize(size)
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def main():
    assert PIL.__version__ == "13.0.0", f"the golden pixels are those of Pillow 13.0.0, not {PIL.__version__}"
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.iterdir():
        old.unlink()
    lines = []
    for group in [jpegs, pngs, gifs, webps, bmps, tiffs, others]:
        for name, data in group():
            (PICTURES / name).write_bytes(data)
            lines += [f"{expected(data, size)}  {size[0]}x{size[1]}  {name}\n" for size in SIZES]
    (HERE / "pixels.sha256").write_text("".join(lines))


if __name__ == "__main__":
    main()
