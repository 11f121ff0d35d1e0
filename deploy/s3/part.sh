#!/bin/bash
# Extracts one part of a list whose pictures are in an object store: copies its pictures to this machine, makes their features
# here, and copies those back. Stores are named as rclone names them, so that it may be any that rclone speaks to.
#
#     list once:   simsearch list --media-dir /mnt/photos; or from the names of the store:
#                  rclone lsf -R --files-only --include '*.jpg' store:photos | LC_ALL=C sort | rclone rcat store:photos/objects.txt
#     each part:   deploy/s3/part.sh 3/64 store:photos store:features [arguments of extract ...]
#     at the end:  deploy/s3/finish.sh store:photos store:features FOLDER
#
# Start it again where it was killed: on the same machine it goes on from what is on its disk. A part that is done is left as it
# is. The disk has to hold the pictures of one part, below WORK_DIR (default: /tmp). With IDS=path object ids are paths.
set -euo pipefail

if [ $# -lt 3 ] || ! [[ $1 =~ ^([0-9]+)/([1-9][0-9]*)$ ]]; then
    echo "usage: $0 I/N PICTURES FEATURES [arguments of simsearch extract ...]" >&2
    exit 2
fi
name=$(printf 'part-%05d-of-%05d' "$((10#${BASH_REMATCH[1]}))" "${BASH_REMATCH[2]}")
part=$1 pictures=$2 features=$3 ids=${IDS:-name}
shift 3
work=${WORK_DIR:-/tmp}/simsearch-$name

# It is the last file that is copied back.
if [ -n "$(rclone lsf -R --files-only --include "/*/$name/part.json" "$features")" ]; then
    echo "$name is done" >&2
    exit
fi

mkdir -p "$work/media"
rclone copyto "$pictures/objects.txt" "$work/objects.txt"
# The rule of --part, as docs/commands.md has it. All of a tar is in one part.
python3 -c '
import hashlib, re, sys
part, parts = map(int, sys.argv[1].split("/"))
files = {}
for line in sys.stdin.buffer:
    path = line.rstrip(b"\r\n").removeprefix(b"./")
    if tar := re.match(rb"(?i).*?\.tar(?=/)", path):
        path = key = tar[0]
    else:
        key = path if sys.argv[2] == "path" else path.split(b"/")[-1]
    if int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % parts == part:
        files[path] = None
sys.stdout.buffer.writelines(path + b"\n" for path in files)
' "$part" "$ids" <"$work/objects.txt" >"$work/part.txt"
rclone copy --files-from-raw "$work/part.txt" --transfers 16 "$pictures" "$work/media"

simsearch extract --media-dir "$work/media" --objects "$work/objects.txt" --feature-dir "$work/features" \
    --ids "$ids" --part "$part" --pack --fail-on none "$@"

# What an earlier attempt on another machine left there goes.
for place in "$work"/features/*/; do
    model=$(basename "$place")
    rclone copy --include '/*.json' "$place" "$features/$model"
    rclone sync --exclude /part.json --exclude '/.*' --exclude '/.*/**' "$place$name" "$features/$model/$name"
    rclone copyto "$place$name/part.json" "$features/$model/$name/part.json"
done
rm -rf "$work"
