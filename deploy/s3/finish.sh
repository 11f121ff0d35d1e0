#!/bin/bash
# Brings the features that deploy/s3/part.sh has copied into a store into one directory on this machine, and checks them.
#
#     deploy/s3/finish.sh PICTURES FEATURES FOLDER
#
# Where a part is missing or not complete, nothing is merged, and it is named: start part.sh for that one, and this again.
set -euo pipefail

if [ $# -ne 3 ]; then
    echo "usage: $0 PICTURES FEATURES FOLDER" >&2
    exit 2
fi
rclone copy --transfers 16 "$2" "$3"
rclone copyto "$1/objects.txt" "$3/objects.txt"
simsearch concat --feature-dir "$3" --merge
simsearch verify --feature-dir "$3" --objects "$3/objects.txt"
