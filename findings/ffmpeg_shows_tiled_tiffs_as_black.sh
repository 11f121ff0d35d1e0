#!/usr/bin/env bash
# FFmpeg (here in PyAV): a TIFF in tiles is a black picture of the right size.
#
# Guess: a TIFF that is stored in tiles, as whole-slide scanners and mapping tools write it, comes out as one stored
# in strips, or is refused.
#
# Seen with PyAV 18.1.0 (libavcodec 62.28.102): the frame has the right width, height and pixel format, and all
# samples are 0, for gray and colour, 8 and 16 bits, uncompressed, LZW and Deflate, and tiles of 16 and of 64 pixels.
# There is no exception, and no error is logged. Strips are right. What reads through FFmpeg passes the black picture
# on. (`tiff.c` reads the strips; of tiles it knows those of DNG.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 av==18.1.0 tifffile==2026.3.3 imagecodecs==2026.3.6
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import av
import av.logging
import numpy as np
import tifffile

av.logging.set_level(av.logging.VERBOSE)
print("PyAV", av.__version__, "libavcodec", ".".join(map(str, av.library_versions["libavcodec"])))
random = np.random.default_rng(0)
black = {}
for dtype in (np.uint8, np.uint16):
    for channels in (1, 3):
        shape = (80, 100, 3) if channels == 3 else (80, 100)
        pixels = random.integers(np.iinfo(dtype).max // 2, np.iinfo(dtype).max, shape).astype(dtype)
        for compression in (None, "lzw", "zlib"):
            for tile in (None, (16, 16), (64, 64)):
                tifffile.imwrite("picture.tif", pixels, tile=tile, compression=compression,
                                 photometric="rgb" if channels > 1 else "minisblack")
                assert np.array_equal(tifffile.imread("picture.tif"), pixels)
                with av.logging.Capture() as messages, av.open("picture.tif") as file:
                    frame = next(file.decode(video=0))
                assert (frame.height, frame.width) == (80, 100)
                seen = frame.to_ndarray()
                errors = [text for level, _, text in messages if level <= av.logging.ERROR]
                name = f"{frame.format.name}, {compression}, tiles {tile}"
                print(f"{name}: mean expected {pixels.mean():.0f}, seen {seen.mean():.0f}; errors logged: {errors}")
                black[name] = not seen.any()
                assert black[name] or np.array_equal(seen, pixels)
                assert not errors
assert all(value == ("None" not in name.split("tiles")[1]) for name, value in black.items()), black
END
