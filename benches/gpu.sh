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
# Needs python3, with numpy for the comparison with the golden features, and with PyTorch and timm for the peer. Finds
# the libraries of CUDA and those of Python packages by itself; others belong on LD_LIBRARY_PATH. From the environment:
# OBJECTS (100381) and SWEEP (20000), objects of the long run and of each short one; RUNS (20), repeated runs of SHORT
# (200) objects in fp32 and fp16; PROVIDER (cuda), where `cpu` tries the script itself without a GPU.
#
# A step that fails says so, and the next one begins; all figures are in one table at the end. With the numbers above one
# call takes some six minutes on one H100.
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
runs=${RUNS:-20}
short=${SHORT:-200}
model="$shared/models/mobilenet_v3_large_random.onnx"
one_operator="$here/../tests/data/models/one_operator.onnx"
case $provider in
    cuda) precisions="fp32 tf32 fp16" ;;
    *) precisions="fp32" ;;
esac
work=$(mktemp -d)
# Only at the end: removing files slows down the runs that follow.
trap 'rm -rf "$work"' EXIT
export PYTHONDONTWRITEBYTECODE=1
libraries=$(python3 -c '
import glob, sys
folders = [folder for path in sys.path if path for folder in glob.glob(path + "/nvidia/*/lib")]
print(":".join(sorted(folders) + glob.glob("/usr/local/cuda*/targets/*/lib")))')
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

# Does a step to its first error. (Inside `if` or `||` the shell would go on after errors.)
step() {
    echo
    echo "## $1"
    echo
    what=$1
    shift
    set +e
    (
        set -e
        "$@"
    )
    status=$?
    set -e
    [ $status = 0 ] || {
        echo "FAILED with status $status: $*"
        row "$what" "FAILED"
    }
}

# row WHAT FIGURE [GOAL]: a line of the table at the end.
row() {
    echo "| $1 | $2 | ${3:-} |" >>"$work/table"
    echo "$1: $2${3:+ (goal: $3)}"
}

# divided A B: A / B with two digits.
divided() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", b ? a / b : 0 }'
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
    [ "$provider" != cuda ] || nvidia-smi
    gpu=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1)
    row "the machine" "${gpu:-no GPU}, $(nproc) processors"
}

trees() {
    for count in "$short" "$sweep" "$objects"; do
        [ ! -e "$work/media$count" ] || continue
        PYTHONPATH="$here" python3 -c '
import pathlib, sys
import common
shared, folder, count = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
photographs = sorted((shared / "media" / "object").glob("*/*/*.jpg"))
common.make_media(folder, count, photographs)
print(f"{count:,} objects: hard links of {len(photographs)} photographs")' "$shared" "$work/media$count" "$count"
    done
}

# correct PRECISION: the features of the shared pictures beside the golden ones.
correct() {
    python3 -c 'import numpy' 2>/dev/null || {
        echo "skipped: python3 has no numpy"
        return 0
    }
    features="$work/correct-$1"
    for onnx in "$shared"/models/*.onnx; do
        extract "$shared/media" "$features" "$onnx" --objects "$shared/golden/objects.txt" --precision "$1" \
            >"$work/summary"
        found=$(python3 - "$features" "$shared" "$(basename "$onnx" .onnx)" <<'END'
import pathlib, sys
import numpy as np
features, shared, stem = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
golden = np.load(shared / "golden" / f"{stem}.features.npy").astype(np.float64)
ids = np.load(shared / "golden" / "object_ids.npy")
ours = np.array([np.load(features / stem / one[:2] / one[2:4] / f"{one}.npy") for one in ids]).astype(np.float64)
cosine = (ours * golden).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(golden, axis=1)
apart = np.linalg.norm(ours - golden, axis=1) / np.linalg.norm(golden, axis=1)
print(f"least {cosine.min():.7f}, mean {cosine.mean():.7f}, relative difference at most {apart.max():.1e}")
END
        )
        row "cosine to the golden features, $1, $(basename "$onnx" .onnx)" "$found" ">= 0.9999 in fp32"
    done
}

# Seconds from the start of the program to the end of a run of one picture: the first features.
starts() {
    for precision in $precisions; do
        for round in 1 2 3; do
            features=$(mktemp -d "$work/start.XXXXXX")
            extract "$work/media$short" "$features" "$model" --limit 1 --precision "$precision" | field seconds |
                awk '{ printf "%.1f s\n", $1 }' >>"$work/start-$precision"
        done
        row "start until the first features, $precision, three times" \
            "$(paste -sd ' ' "$work/start-$precision")" "<= 3 s"
    done
}

# Runs of a short list whose last batch is not full, and two copies at once: each must end with exit code 0.
repeated() {
    for precision in $precisions; do
        [ $precision != tf32 ] || continue
        failed=0
        for number in $(seq "$runs"); do
            case $((number % 3)) in
                0) workers=1 ;;
                1) workers=16 ;;
                2) workers=32 ;;
            esac
            features=$(mktemp -d "$work/again.XXXXXX")
            extract "$work/media$short" "$features" "$model" --precision "$precision" --workers $workers \
                >"$work/summary" 2>"$work/errors" || {
                failed=$((failed + 1))
                cat "$work/errors"
            }
        done
        row "$runs runs of $short objects with 1, 16 and 32 workers, $precision" "$failed failed" "0"
        features=$(mktemp -d "$work/two.XXXXXX")
        extract "$work/media$sweep" "$features" "$model" --precision "$precision" >"$work/one" &
        copy=$!
        failed=0
        extract "$work/media$sweep" "$features" "$model" --precision "$precision" >"$work/other" || failed=1
        wait $copy || failed=$((failed + 1))
        row "two copies on one card, $sweep objects, $precision" \
            "$failed failed; $(field "done" <"$work/one") and $(field "done" <"$work/other") done" "0 failed"
    done
}

device_memory() {
    nvidia-smi -i 0 --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null || true
}

# measure COUNT OPTIONS...: one run, its pictures a second, the device's memory and how busy it was; leaves the rate in
# $work/rate.
measure() {
    count=$1
    shift
    features=$(mktemp -d "$work/run.XXXXXX")
    before=$(device_memory)
    nvidia-smi -i 0 --query-gpu=memory.used,utilization.gpu --format=csv,noheader,nounits -lms 100 \
        >"$work/samples" 2>/dev/null &
    sampler=$!
    extract "$work/media$count" "$features" "$model" "$@" >"$work/summary" || {
        kill $sampler 2>/dev/null
        return 1
    }
    kill $sampler 2>/dev/null || true
    field images_per_second <"$work/summary" >"$work/rate"
    awk -F, -v done_="$(field "done" <"$work/summary")" -v seconds="$(field seconds <"$work/summary")" \
        -v before="${before:-0}" '
        $1 > most { most = $1 }
        { busy += $2 }
        END {
            printf "%.0f pictures/s, start included; %d in %.1f s", done_ / seconds, done_, seconds
            if (NR) printf "; device memory %.0f MiB, busy %.0f %%", most - before, busy / NR
        }' "$work/samples"
}

throughput() {
    for precision in $precisions; do
        for batch in 64 256; do
            found=$(measure "$sweep" --precision "$precision" --batch-size $batch)
            row "$sweep objects, $precision, batch $batch" "$found"
            [ $batch != 64 ] || cp "$work/rate" "$work/rate-$precision"
        done
    done
}

# The same with the pictures decoded on the GPU, and how far the features are from those of exact pixels in fp32.
decode_on_gpu() {
    for precision in $precisions; do
        found=$(measure "$sweep" --precision "$precision" --decode gpu)
        row "$sweep objects, $precision, --decode gpu" "$found" ">= 10,000"
        row "the same, against exact pixels in fp32" "$(python3 -c '
import json, sys
summary = json.load(open(sys.argv[1]))
found = summary["agreement"]
print("{} decoded there; cosine {:.5f} at least, {:.5f} in the mean".format(
    summary["decoded_on_gpu"], found["cosine_least"], found["cosine_mean"]))' "$work/summary")"
    done
    row "$objects objects, fp32, --decode gpu" "$(measure "$objects" --decode gpu)"
}

all_objects() {
    for precision in $precisions; do
        [ $precision != tf32 ] || continue
        row "$objects objects, $precision" "$(measure "$objects" --precision "$precision")" "<= 26 s"
    done
}

# What decoding and writing alone allow: the same run with a model of one operator on the CPU provider.
decode_and_write() {
    features=$(mktemp -d "$work/bound.XXXXXX")
    "$program" extract --media-dir "$work/media$sweep" --feature-dir "$features" --model "$one_operator" \
        --runtime "$runtime" --provider cpu --json --quiet >"$work/summary"
    bound=$(field images_per_second <"$work/summary")
    row "decoding and writing alone, $sweep objects" "$(printf '%.0f' "$bound") pictures/s"
    for precision in $precisions; do
        [ ! -s "$work/rate-$precision" ] || row "simsearch $precision / decoding and writing alone" \
            "$(divided "$(cat "$work/rate-$precision")" "$bound")" ">= 0.90"
    done
}

peer() {
    found=$(python3 "$here/gpu_peer.py" "$work/media$sweep" "$(nproc)" 2>"$work/errors") || {
        tail -n 1 "$work/errors"
        row "the peer, MobileNetV3-Large in PyTorch" "$(tail -n 1 "$work/errors")"
        return 0
    }
    row "the peer (${found#* }), $sweep objects, $(nproc) loaders" "${found%% *} pictures/s"
    for precision in $precisions; do
        [ ! -s "$work/rate-$precision" ] || row "simsearch $precision / the peer" \
            "$(divided "$(cat "$work/rate-$precision")" "${found%% *}")" ">= 2.5"
    done
}

# alone WHAT OPTIONS...: the model alone, copies included, and how long it took to start.
alone() {
    what=$1
    shift
    found=$("$stages" "$work/media$sweep" "$model" 1 "runtime=$runtime" "scratch=$(mktemp -d "$work/alone.XXXXXX")" \
        "$@" 2>"$work/stages.log" | python3 -c '
import json, sys
found = json.load(sys.stdin)
print("{:.0f} pictures/s, start {:.1f} s".format(1000 / found["model"], found["start"]))') || {
        cat "$work/stages.log"
        found=FAILED
    }
    row "model alone, one session, copies included, $what" "$found"
}

model_alone() {
    [ -n "$stages" ] || {
        echo "skipped: no stages bench was given"
        return 0
    }
    [ "$provider" = cuda ] || {
        alone "fp32, the CPU"
        return 0
    }
    for precision in fp32 fp16; do
        [ $precision = fp32 ] && word=cuda || word=$precision
        alone "$precision, batch 64" $word batch=64
        alone "$precision, batch 256" $word batch=256
        [ $precision != tf32 ] || continue
        for choice in exhaustive workspace nhwc "nhwc exhaustive workspace"; do
            # A choice is one word or several.
            # shellcheck disable=SC2086
            alone "$precision, batch 64, $choice" $word batch=64 $choice
        done
    done
}

echo "| what | figure | goal |" >"$work/table"
echo "|---|---|---|" >>"$work/table"
began=$(date +%s)
step "The machine" machine
step "doctor" "$program" doctor --runtime "$runtime" --model "$model"
step "The pictures" trees
for precision in $precisions; do
    step "Correctness, $precision" correct "$precision"
done
step "The start" starts
step "Throughput" throughput
step "Decoding and writing alone" decode_and_write
[ "$provider" != cuda ] || step "Decoding on the GPU" decode_on_gpu
step "The peer" peer
step "All objects" all_objects
step "Repeated runs" repeated
step "The model alone" model_alone
echo
echo "## All of it ($(($(date +%s) - began)) s)"
echo
cat "$work/table"
