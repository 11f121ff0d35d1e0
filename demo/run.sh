#!/bin/sh
# The demo: list -> extract -> concat -> search, and what came out. Writes below demo/work/; your own MEDIA_DIR is only
# read.
set -eu

demo=$(cd "$(dirname "$0")" && pwd)
work="$demo/work"
python="$demo/../.python/python"
features="$work/feature"
mkdir -p "$work"
kinds=""
if [ -z "${MEDIA_DIR:-}" ]; then
    MEDIA_DIR="$work/media"
    rm -rf "$MEDIA_DIR" "$features"
    "$python" "$demo/make_pictures.py" "$MEDIA_DIR"
else
    kinds="--ignore-case --ext jpg --ext jpeg --ext png --ext webp"
    # Pictures of another tree may have the same names.
    features="$work/feature-of-$(printf %s "$MEDIA_DIR" | cksum | cut -d' ' -f1)"
fi
if [ -n "${ONNX_MODEL_PATH:-}" ]; then
    stem=$(basename "$ONNX_MODEL_PATH")
    stem=${stem%.*}
else
    stem=descriptor_v1
    unset ONNX_MODEL_PATH
fi
export MEDIA_DIR

step() { # runs a command that may leave out some objects (exit code 3)
    printf '\n$ simsearch %s\n' "$*"
    "$SIMSEARCH" "$@" || [ $? = 3 ]
}
# shellcheck disable=SC2086  # the options are meant to be split
step list $kinds --output "$work/objects.txt"
step extract --objects "$work/objects.txt" --feature-dir "$features"
step concat --feature-dir "$features" --model "$stem"
"$python" "$demo/show_neighbours.py" "$features/$stem"

[ -e "$features/$stem/0000.object_ids.npy" ] || exit 0
# Any object that has a feature; of the demo's own pictures one that has many versions.
query=scene07-as-drawn.jpg
if [ -n "$kinds" ]; then
    query=$("$python" -c "import numpy, sys; print(numpy.load(sys.argv[1])[0])" "$features/$stem/0000.object_ids.npy")
fi
page="$work/neighbours.html"
step search "$query" -k 7 --objects "$work/objects.txt" --feature-dir "$features" --model "$stem" --html "$page"
printf '\nThe same with pictures, for a browser: %s\n' "$page"
printf "To look around in them: %s serve --media-dir '%s' --objects '%s' --feature-dir '%s' --model '%s'\n" \
    "$SIMSEARCH" "$MEDIA_DIR" "$work/objects.txt" "$features" "${ONNX_MODEL_PATH:-$stem}"
