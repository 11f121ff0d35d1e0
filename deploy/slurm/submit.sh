#!/bin/bash
# Extracts the features of a list in N parts, as a job array of Slurm, and then merges and checks them.
#
#     list once:   simsearch list --media-dir /shared/photos
#     submit:      deploy/slurm/submit.sh 64 /shared/photos /shared/features [arguments of extract ...]
#
# Prints the numbers of the two jobs. Submit again at any time, with the same N: what is done is skipped. Options of sbatch
# (partition, account, time limit) are taken from its variables, such as SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT.
set -euo pipefail

if [ $# -lt 3 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 PARTS MEDIA_DIR FEATURE_DIR [arguments of simsearch extract ...]" >&2
    exit 2
fi
parts=$1
MEDIA_DIR=$(realpath "$2") FEATURE_DIR=$(realpath -m "$3")
export MEDIA_DIR FEATURE_DIR
shift 3
here=$(dirname "$(realpath "$0")")

array=$(sbatch --parsable --array="0-$((parts - 1))" "$here/part.sbatch" "$parts" "$@")
array=${array%%;*}
# `afterany`: it says which parts are missing, where one was cancelled, and would wait for it forever otherwise.
finish=$(sbatch --parsable --dependency="afterany:$array" "$here/finish.sbatch")
echo "parts: job $array, finish: job ${finish%%;*}"
