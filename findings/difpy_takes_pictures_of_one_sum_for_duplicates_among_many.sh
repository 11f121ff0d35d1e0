#!/usr/bin/env bash
# difPy: among more than 5,000 pictures two with the same sum of all pixels are duplicates, and the last is never
# compared.
#
# Guess: a search finds the same duplicates in 5,001 pictures as in a few of them: those whose pixels are equal.
#
# Seen with difPy 4.2.1, without a word: from 5,001 pictures on another part of the program searches, which takes two
# pictures for equal where the sums of their pixels (after they are made small, to 50 x 50) are. So a picture and its
# mirror image, its negative where that is as bright, or any other one of the same sum are duplicates of error 0, and
# `delete` deletes one. The more pictures, the more there are: their number grows with the square. The last picture is
# compared with none, so that a true copy of the first is not found. (`_find_matches_batch` and
# `_yield_comparison_group` in `dif.py`. Issues 103 and 126 report false duplicates above 5,000, without the cause.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    difPy==4.2.1 numpy==2.4.6 pillow==13.0.0
mkdir "$work/1-few" "$work/2-many" "$work/3-last"
cat >"$work/duplicates.py" <<'END_OF_PROGRAM'
import contextlib
import io
import sys
from importlib.metadata import version
from pathlib import Path

import difPy
import numpy as np
from PIL import Image


def duplicates(folders):
    """The groups of names that difPy calls duplicates."""
    with contextlib.redirect_stdout(io.StringIO()):
        # 10 instead of 50 pixels, so that it does not take long.
        repository = difPy.build(folders, px_size=10, show_progress=False)
        search = difPy.search(repository, rotate=False, show_progress=False)
    return [{Path(name).stem for name in (one, *(match[0] for match in matches))}
            for one, matches in search.result.items()]


if __name__ == "__main__":
    few, many, last = sys.argv[1:]
    print("difPy", version("difPy"))
    random = np.random.default_rng(0)
    # Pictures of 10 x 10 pixels stay as they are. All are different, but for the last, which is a copy of the first.
    drawn = random.integers(0, 256, (10, 10, 3), dtype=np.uint8)
    half = np.zeros((10, 10, 3), np.uint8)
    half[:5] = 255
    of_few = {"drawn": drawn, "mirrored": drawn[:, ::-1], "white above": half, "its negative": 255 - half}
    of_many = {}
    for row in range(5000):
        low, high = random.integers(0, 128), random.integers(128, 256)
        # Pictures of other sizes are not compared with those of 10 x 10, so that it does not take long.
        of_many[f"{row:04}"] = random.integers(low, high + 1, (10, 10 + row % 20, 3), dtype=np.uint8)
    of_last = {"copy": drawn}
    assert len({pixels.tobytes() for pixels in (*of_few.values(), *of_many.values())}) == 5004
    for folder, pictures in ((few, of_few), (many, of_many), (last, of_last)):
        for name, pixels in pictures.items():
            Image.fromarray(np.ascontiguousarray(pixels)).save(f"{folder}/{name}.png")
    seen = duplicates([few, last])
    print(f"in the 5 pictures of two folders: {[sorted(group) for group in seen]}")
    assert seen == [{"drawn", "copy"}]
    seen = duplicates([few, many, last])
    print(f"in all 5005 of three folders: expected [['copy', 'drawn']], seen {len(seen)} groups:")
    for group in sorted(map(sorted, seen), key=str, reverse=True):
        print("   ", group)
    assert any({"drawn", "mirrored"} <= group for group in seen)
    assert any({"white above", "its negative"} <= group for group in seen)
    assert not any("copy" in group for group in seen)
    every = {**of_few, **of_many}
    same = [[int(every[name].sum()) for name in group if every[name].shape == drawn.shape] for group in seen]
    assert all(len(set(sums)) < 2 for sums in same)
    assert len(seen) > 5
END_OF_PROGRAM
PYTHONPATH="$work/packages" python3 "$work/duplicates.py" "$work/1-few" "$work/2-many" "$work/3-last"
