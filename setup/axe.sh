#!/bin/sh
# Fetches axe-core, with which a test looks for what keeps people from using the page of `serve`, into target/axe/: from the npm
# registry, pinned by version and hash. Without npm that test says that it is skipped.
set -eu

version=4.14.1
sha256=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
cd "$(dirname "$0")/.."
[ ! -e "target/axe/axe-$version.min.js" ] || exit 0
command -v npm >/dev/null 2>&1 || {
    echo "skipped: axe-core, which npm would fetch"
    exit 0
}
echo "setup: fetching axe-core $version"
mkdir -p target/axe
cd target/axe
npm pack --silent "axe-core@$version" >/dev/null || {
    echo "skipped: axe-core, which npm cannot fetch from here"
    exit 0
}
echo "$sha256  axe-core-$version.tgz" | sha256sum --check --quiet
tar -xzf "axe-core-$version.tgz" --strip-components=1 package/axe.min.js
mv axe.min.js "axe-$version.min.js"
