#!/bin/sh
# Puts the Python packages of `make cluster-test`, `make lancedb-test` and `make s3-test` into target/machines/, an environment of
# their own: Ray starts processes of the Python that it is run with.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
folder="$project/target/machines"
wanted="$project/setup/machines.txt"
cmp -s "$wanted" "$folder/installed.txt" && exit 0

echo "setup: fetching Python packages: $(grep -v '^#' "$wanted" | tr '\n' ' ')"
rm -rf "$folder"
{ python3 -m venv "$folder" && "$folder/bin/pip" --disable-pip-version-check install --quiet --only-binary=:all: -r "$wanted"; } || {
    rm -rf "$folder"
    echo "skipped: Ray, LanceDB and a store, which pip cannot fetch from here"
    exit 0
}
cp "$wanted" "$folder/installed.txt"
