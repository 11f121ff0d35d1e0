#!/bin/sh
# Measures simsearch on a machine with an NVIDIA GPU in one call, without network or cargo.
#
#   benches/gpu.sh PROGRAM RUNTIME SHARED [STAGES]
#
#   PROGRAM  simsearch, built elsewhere
#   RUNTIME  folder of an ONNX Runtime with CUDA (SHARED/gpu/README.md says how to bring one)
#   SHARED   folder of the shared pictures, models and golden files
#   STAGES   the stages bench, built elsewhere; without it the bounds (decode alone, model alone) are left out
#
# Needs python3, with numpy for the comparison with the golden features. Finds the CUDA and cuDNN libraries of Python
# packages by itself; others belong on LD_LIBRARY_PATH. From the environment: OBJECTS (100381) and SWEEP (20000),
# objects of the long run and of each short one; PROVIDER (cuda), where `cpu` tries the script itself without a GPU.
#
# A step that fails says so, and the next one begins. THIS SCRIPT HAS NOT BEEN RUN ON A GPU YET, only with PROVIDER=cpu.
set -eu

[ $# -ge 3 ] || {
    echo "usage: gpu.sh PROGRAM RUNTIME SHARED [STAGES]" >&2
    exit 2
}
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
runtime=$(realpath "$2")
shared=$(realpath "$3")
stages=${4:+$(realpath "$4")}
provider=${PROVIDER:-cuda}
objects=${OBJECTS:-100381}
sweep=${SWEEP:-20000}
model="$shared/models/mobilenet_v3_large_random.onnx"
work=$(mktemp -d)
# Only at the end: removing files slows down the runs that follow.
trap 'rm -rf "$work"' EXIT
export PYTHONDONTWRITEBYTECODE=1
libraries=$(python3 -c '
import glob, sys
print(":".join(sorted(folder for path in sys.path if path for folder in glob.glob(path + "/nvidia/*/lib"))))')
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

# Does a step to its first error. (Inside `if` or `||` the shell would go on after errors.)
step() {
    echo
    echo "## $1"
    echo
    shift
    set +e
    (
        set -e
        "$@"
    )
    status=$?
    set -e
    [ $status = 0 ] || echo "FAILED with status $status: $*"
}

# extract MEDIA_DIR FEATURE_DIR MODEL OPTIONS...: prints the summary as JSON.
extract() {
    media=$1 features=$2 onnx=$3
    shift 3
    "$program" extract --media-dir "$media" --feature-dir "$features" --model "$onnx" --runtime "$runtime" \
        --provider "$provider" --json --quiet "$@"
}

# field NAME: a number of the JSON object on stdin.
field() {
    python3 -c '
import json, sys
text = sys.stdin.read()
print(json.loads(text)[sys.argv[1]]) if text else sys.exit(1)' "$1"
}

machine() {
    grep -m1 "model name" /proc/cpuinfo
    nproc
    uname -r
    nvidia-smi
}

trees() {
    for count in "$sweep" "$objects"; do
        PYTHONPATH="$here" python3 -c '
import pathlib, sys
import common
shared, folder, count = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
photographs = sorted((shared / "media" / "object").glob("*/*/*.jpg"))
common.make_media(folder, count, photographs)
print(f"{count:,} objects: hard links of {len(photographs)} photographs")' "$shared" "$work/media$count" "$count"
        [ "$sweep" != "$objects" ] || break
    done
}

# correct OPTIONS...: the features of the shared pictures beside the golden ones.
correct() {
    python3 -c 'import numpy' 2>/dev/null || {
        echo "skipped: python3 has no numpy"
        return 0
    }
    features="$work/correct$(echo "$*" | tr -d ' ')"
    for onnx in "$shared"/models/*.onnx; do
        extract "$shared/media" "$features" "$onnx" --objects "$shared/golden/objects.txt" "$@" >"$work/summary"
        python3 - "$features" "$shared" "$(basename "$onnx" .onnx)" <<'END'
import pathlib, sys
import numpy as np
features, shared, stem = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
golden = np.load(shared / "golden" / f"{stem}.features.npy")
ids = np.load(shared / "golden" / "object_ids.npy")
ours = np.array([np.load(features / stem / one[:2] / one[2:4] / f"{one}.npy") for one in ids])
cosine = (ours * golden).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(golden, axis=1)
verdict = "ok" if cosine.min() >= 0.9999 else "BELOW 0.9999"
print(f"{stem}: cosine least {cosine.min():.6f}, mean {cosine.mean():.6f}: {verdict}")
END
    done
}

device_memory() {
    nvidia-smi -i 0 --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null || true
}

# measure COUNT OPTIONS...: one run as a row of the table, and as a line of $work/rates.
measure() {
    count=$1
    shift
    features=$(mktemp -d "$work/run.XXXXXX")
    before=$(device_memory)
    nvidia-smi -i 0 --query-gpu=memory.used,utilization.gpu --format=csv,noheader,nounits -lms 100 \
        >"$work/samples" 2>/dev/null &
    sampler=$!
    # The first picture alone tells how long the start takes.
    start=$(extract "$work/media$count" "$features" "$model" --limit 1 "$@" | field seconds) || {
        kill $sampler 2>/dev/null
        return 1
    }
    samples=$(wc -l <"$work/samples")
    extract "$work/media$count" "$features" "$model" "$@" >"$work/summary" || {
        kill $sampler 2>/dev/null
        return 1
    }
    kill $sampler 2>/dev/null || true
    done=$(field "done" <"$work/summary")
    seconds=$(field seconds <"$work/summary")
    tail -n "+$((samples + 1))" "$work/samples" | awk -F, -v options="$*" -v done_="$done" -v seconds="$seconds" \
        -v start="$start" -v before="${before:-0}" -v rates="$work/rates" '
        $1 > most { most = $1 }
        NR > 10 * start { busy += $2; working++ }  # ten samples a second
        END {
            steady = done_ / (seconds - start)
            printf "| %s | %d | %.1f | %.0f | %.1f | %.0f | %s | %s |\n", options, done_, seconds, done_ / seconds,
                start, steady, NR ? most - before " MiB" : "?",
                working ? sprintf("%.0f %%", busy / working) : "?"
            print steady, options >>rates
        }'
}

head_of_table() {
    echo "| options | pictures | s | pictures/s | start, s | pictures/s after it | device memory | GPU busy after it |"
    echo "|---|---|---|---|---|---|---|---|"
}

throughput() {
    head_of_table
    for precision in fp32 fp16; do
        for batch in 32 64 128 256; do
            set +e
            (
                set -e
                measure "$sweep" --precision $precision --batch-size $batch
            )
            status=$?
            set -e
            [ $status = 0 ] || echo "FAILED with status $status: --precision $precision --batch-size $batch"
        done
    done
}

# The best of each precision, on all objects. Goal on one H200 with 16 cores: 15 s.
all_objects() {
    head_of_table
    for precision in fp32 fp16; do
        best=$(grep -e "--precision $precision" "$work/rates" | sort -n | tail -n 1 | cut -d ' ' -f 2-)
        # Options, split into words on purpose.
        # shellcheck disable=SC2086
        [ -z "$best" ] || measure "$objects" $best
    done
}

# What the slower of decoding and the model allows; goal: 90 % of it.
bounds() {
    [ -n "$stages" ] || {
        echo "skipped: no stages bench was given"
        return 0
    }
    cores=$(nproc)
    # The model runs on the CPU here and is not counted: what counts is decoding with every core at work.
    for core in $(seq "$cores"); do
        "$stages" "$work/media$sweep" "$model" 1 "runtime=$runtime" "scratch=$work/decode$core" \
            >"$work/decode$core.json" 2>"$work/decode$core.log" &
    done
    wait
    cat "$work"/decode*.json | python3 -c '
import json, sys
rates = [1000 / (one["read"] + one["decode_and_resample"]) for one in map(json.loads, sys.stdin)]
print(f"decode alone, {len(rates)} cores at once: {sum(rates):.0f} pictures/s")'
    [ "$provider" = cuda ] || return 0
    for precision in cuda fp16; do
        for batch in 32 64 128 256; do
            found=$("$stages" "$work/media$sweep" "$model" 3 $precision "batch=$batch" "runtime=$runtime" \
                "scratch=$work/model$precision$batch" 2>"$work/stages.log" | field model) || {
                cat "$work/stages.log"
                continue
            }
            awk -v ms="$found" -v what="$precision, batch $batch" \
                'BEGIN { printf "model alone, one session, copies included, %s: %.0f pictures/s\n", what, 1000 / ms }'
        done
    done
}

step "The machine" machine
step "doctor" "$program" doctor --runtime "$runtime" --model "$model"
step "Correctness, fp32" correct
step "Correctness, fp16" correct --precision fp16
step "The pictures" trees
step "Throughput" throughput
step "All objects" all_objects
step "Bounds" bounds
