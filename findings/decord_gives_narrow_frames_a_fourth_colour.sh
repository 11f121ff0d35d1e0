#!/usr/bin/env bash
# decord: frames that are 24, 48 or 72 pixels wide come out with four numbers for a pixel, and all pixels but the
# first of each row have the wrong colours.
#
# Guess: each frame has the shape (height, width, 3), RGB, whatever its width is.
#
# Seen with decord 0.6.0, the newest: where the rows of a frame are padded in memory and the padded row happens to be
# a whole number of bytes for each pixel, that number is taken for the number of colours. A row of 48 pixels has 144
# bytes and is padded to 192, that is four for each pixel. So pixel 0 has the red of pixel 1 as its fourth number,
# pixel 1 begins with green, the first three quarters of a row hold all of it, and the last quarter is padding. It is
# so for videos of that width, and for larger ones that decord is told to shrink (`VideoReader(name, width=48,
# height=36)`, as for thumbnails and small networks), by `reader[0]` and `next`, without an error; `get_batch` and
# slices raise one. The other even widths from 18 to 128 are right; 8, 12 and 16 are not. Which ones are hit may
# depend on the processor; 48 is the same for rows padded to 32 and to 64 bytes. Issues 93 (closed: "4 channels,
# presumably RGBA") and 336 of decord show the shape, not the cause. PyAV gives (36, 48, 3).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 av==18.1.0 decord==0.6.0
cd "$work"
PYTHONPATH="$work/packages" python3 - <<'END'
import av
import decord
import numpy as np

decord.logging.set_level(decord.logging.QUIET)
print("decord", decord.__version__, "PyAV", av.__version__)
WIDTH, HEIGHT = 320, 240
y, x = np.mgrid[:HEIGHT, :WIDTH]
# Red grows to the right, green downwards, and blue is 200.
picture = np.stack([x * 255 // (WIDTH - 1), y * 255 // (HEIGHT - 1), np.full_like(x, 200)], 2).astype(np.uint8)


def video(name, width, height):
    """Three equal frames, in nearly the colours of the picture."""
    with av.open(name, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 20_000_000
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(width, height)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def expected(name, width, height):
    with av.open(name) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24", width=width, height=height).astype(int)


video("large.mp4", WIDTH, HEIGHT)
for width, height in ((44, 36), (48, 36), (64, 48), (224, 224)):
    video("own.mp4", width, height)
    for name, reader in ((f"a video of {width} x {height}", decord.VideoReader("own.mp4", num_threads=1)),
                         (f"{WIDTH} x {HEIGHT} shrunk to {width} x {height}",
                          decord.VideoReader("large.mp4", width=width, height=height, num_threads=1))):
        wanted = expected("own.mp4" if name.startswith("a video") else "large.mp4", width, height)
        seen = reader[0].asnumpy()
        middle = np.s_[height // 2, width // 2]
        print(f"{name}: expected", wanted.shape, "seen", seen.shape, "| the pixel in the middle: expected",
              *wanted[middle], "seen", *seen[middle])
        if width != 48:
            assert seen.shape == wanted.shape and np.abs(seen - wanted).mean() < 6
            assert reader.get_batch([0, 1]).shape == (2, *wanted.shape)
            continue
        assert seen.shape == (height, width, 4)
        rows = seen.reshape(height, 4 * width)[:, :3 * width].reshape(height, width, 3)
        assert np.abs(rows - wanted).mean() < 6 and np.abs(seen[..., :3] - wanted).mean() > 40
        try:
            reader.get_batch([0, 1])
        except decord.DECORDError as error:
            assert "size must exactly match" in str(error)
        else:
            raise AssertionError("get_batch gives a batch")
END
