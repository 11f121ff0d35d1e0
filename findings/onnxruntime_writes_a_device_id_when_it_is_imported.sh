#!/bin/sh
# onnxruntime: on Linux, `import onnxruntime` writes a device id and a database of events below ~/.cache.
#
# Guess: telemetry is for builds on Windows, and where there is any, `onnxruntime.disable_telemetry_events()` right after the
# import leaves nothing behind.
#
# Seen with onnxruntime 1.32.0 from the Python package index: the import alone makes
# ~/.cache/Microsoft/DeveloperTools/.onnxruntime/ with `deviceid` and `onnxruntime.db`, a database of SQLite. So no call can
# come early enough: with `disable_telemetry_events()` as the first one, both files are there all the same. The variable
# ORT_DISABLE_TELEMETRY=1, set before the import, keeps it from both.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 onnxruntime==1.32.0

# The files in a new home after some lines of Python; more variables may follow.
files() {
    home=$work/home-$1
    mkdir "$home"
    code=$2
    shift 2
    env -u XDG_CACHE_HOME -u ORT_DISABLE_TELEMETRY "$@" HOME="$home" PYTHONPATH="$work/packages" python3 -c "$code"
    (cd "$home" && find . -type f -path '*onnxruntime*' | sort | tr '\n' ' ')
}

PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1 python3 -c 'import onnxruntime; print("onnxruntime", onnxruntime.__version__)'
imported=$(files imported 'import onnxruntime')
told=$(files told 'import onnxruntime; onnxruntime.disable_telemetry_events()')
variable=$(files variable 'import onnxruntime' ORT_DISABLE_TELEMETRY=1)
echo "imported: $imported"
echo "imported, and told not to: $told"
echo "with ORT_DISABLE_TELEMETRY=1: $variable"
folder=./.cache/Microsoft/DeveloperTools/.onnxruntime
[ "$imported" = "$folder/deviceid $folder/onnxruntime.db " ]
[ "$told" = "$imported" ]
[ -z "$variable" ]
