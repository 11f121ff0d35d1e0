#!/bin/sh
# Puts the Python packages of the tests and the demo into the project's folder `.python/`, with a `python` in it that
# sees them. The Python that the machine has stays as it was.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
folder="$project/.python"
wanted="$project/setup/python.txt"
cmp -s "$wanted" "$folder/installed.txt" && exit 0

echo "setup: fetching Python packages: $(grep -v '^#' "$wanted" | tr '\n' ' ')"
rm -rf "$folder"
PIP_ROOT_USER_ACTION=ignore python3 -m pip --disable-pip-version-check install --quiet --only-binary=:all: --target "$folder" -r "$wanted" || {
    echo "setup: pip cannot fetch the packages in setup/python.txt: is the package index reachable?" >&2
    exit 1
}
cat >"$folder/python" <<'END'
#!/bin/sh
PYTHONPATH=$(dirname "$0") exec python3 "$@"
END
chmod +x "$folder/python"
cp "$wanted" "$folder/installed.txt"
