#!/bin/bash
# Extracts the features of a list in N parts with GNU parallel, on this machine or on several, and then merges and checks them.
#
#     simsearch list --media-dir photos
#     deploy/parallel.sh 8 photos features [arguments of extract ...]
#
# Options of GNU parallel are taken from PARALLEL, such as `--jobs 2`, or `--sshlogin a,b,c --env MEDIA_DIR --env FEATURE_DIR`
# where the folders are at the same place on each machine.
#
# Each job names its part and reads the list by itself. (A list that goes through `--pipepart` is empty when a job is tried
# again, and such a run has lost 603 of 3,800 objects.)
set -euo pipefail

if [ $# -lt 3 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 PARTS MEDIA_DIR FEATURE_DIR [arguments of simsearch extract ...]" >&2
    exit 2
fi
parts=$1
MEDIA_DIR=$(realpath "$2") FEATURE_DIR=$(realpath -m "$3")
export MEDIA_DIR FEATURE_DIR
shift 3

# Pictures that fail are named in failures.jsonl and are no reason to try a part again; all else is.
parts_left=0
seq 0 $((parts - 1)) |
    parallel --retries 3 --line-buffer --quote \
        simsearch extract --quiet --part "{}/$parts" --pack --fail-on none --grace 20 "$@" || parts_left=$?

# A part that is missing or incomplete is named, and nothing is merged then.
simsearch concat --merge
simsearch verify --objects "$MEDIA_DIR/objects.txt" || parts_left=$?
exit "$parts_left"
