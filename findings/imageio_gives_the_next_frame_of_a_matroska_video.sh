#!/usr/bin/env bash
# imageio (with PyAV): `imread(video, index=i)` gives frame i + 1 of many Matroska and WebM videos.
#
# Guess: frame i is the one that `imiter` gives as number i. The docstring says "The index of the frame to read".
#
# Seen with imageio 2.38.1 and PyAV 18.1.0: Matroska and WebM store the times of frames in whole milliseconds. imageio
# seeks to the key frame before the wanted one, and reckons its number by dividing its time by the time of one frame,
# rounded down. At 30, 23.976 and 60 frames a second the stored time is often a little less than the true one, so that
# the key frame is taken for the one before it, and one frame too many is left out after it. There is no error, but
# for the last frame of a video, which may end in StopIteration. At 25 frames a second, where a frame takes whole
# milliseconds, all are right. `imiter` is right, and so is `constant_framerate=False`, which reads from the
# beginning. (`_seek` in `plugins/pyav.py`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 av==18.1.0 imageio==2.38.1
cd "$work"
PYTHONPATH="$work/packages" python3 -W ignore - <<'END'
from fractions import Fraction

import av
import imageio
import imageio.v3 as iio
import numpy as np

av.logging.set_level(None)
print("imageio", imageio.__version__, "PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
FRAMES = 40


def video(name, codec, rate, **options):
    """Frame i is a plain gray of 40 + 4 i; every eighth frame is a key frame."""
    with av.open(name, "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size, stream.thread_count = 8, 1
        for number in range(FRAMES):
            gray = np.full((48, 64, 3), 40 + 4 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray, "rgb24")))
        container.mux(stream.encode())


def number_of(frame):
    return round((float(frame.mean()) - 40) / 4)


def frame(name, index, **options):
    try:
        return number_of(iio.imread(name, plugin="pyav", index=index, **options))
    except StopIteration:
        return None


for name, codec, options in (("video.mkv", "ffv1", {}), ("video.webm", "libvpx", {"crf": "4", "b": "4M"})):
    for rate in (Fraction(25), Fraction(30), Fraction(24000, 1001), Fraction(60)):
        video(name, codec, rate, **options)
        assert [number_of(picture) for picture in iio.imiter(name, plugin="pyav")] == list(range(FRAMES))
        seen = [frame(name, index) for index in range(FRAMES)]
        wrong = {index: number for index, number in enumerate(seen) if number != index}
        print(f"{name}, {float(rate):.3f} frames a second: wrong frames, expected 0, seen {len(wrong)} of {FRAMES};",
              "for example", *(f"{index} gives {number}," for index, number in list(wrong.items())[:4]), flush=True)
        assert bool(wrong) == (rate != 25), (name, rate)
        for index, number in wrong.items():
            assert number == index + 1 or index == FRAMES - 1 and number is None
        for index in list(wrong)[:3]:
            assert frame(name, index, constant_framerate=False) == index
END
