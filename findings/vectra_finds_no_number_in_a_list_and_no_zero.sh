#!/usr/bin/env bash
# vectra: a filter never finds a number in a list of numbers, keeps what it is to leave out, and does not see a zero.
#
# Guess: `{ label: { $in: [0, 1] } }` keeps the items of the labels 0 and 1, as its type, `(number|string)[]`, lets one
# write, and `$nin` keeps the others. A label that is named in `indexed` can be filtered by, whichever label it is.
#
# Seen with vectra 0.12.3, without a word:
# - `$in` keeps nothing: a number is equal only to strings that contain it. `$nin` keeps all. With strings both are
#   right, with `$or` of single numbers too.
# - With `indexed: ['label']` what is false, 0 or empty is not written to the index. So of three classes the first, and
#   of a flag all that is false, answer to no filter, neither to `{ label: 0 }` nor to `{ $lt: 1 }`, and are missing
#   from every search that has one. Without `indexed` they are found.
# (`metadataFilter` in `ItemSelector.ts`; `addItemToUpdate` in `LocalIndex.ts` asks for `item.metadata[key]`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund vectra@0.12.3
cat >filter.mjs <<'END'
import assert from 'node:assert';
import fs from 'node:fs';
import { LocalIndex } from 'vectra';

console.log('vectra', JSON.parse(fs.readFileSync('node_modules/vectra/package.json')).version);
const labels = [0, 1, 2];
const make = async (folder, indexed) => {
    const index = new LocalIndex(folder);
    await index.createIndex({ version: 1, metadata_config: { indexed } });
    for (const label of labels) {
        const metadata = { label, name: `class ${label}`, seen: label > 0 };
        await index.insertItem({ id: String(label), vector: [1, label], metadata });
    }
    return index;
};
const all = await make('all');
const some = await make('some', ['label', 'seen']);
const cases = [
    // the index, its name, the filter, what is expected, what is seen
    [all, 'all', { label: { $in: [0, 1] } }, '0,1', ''],
    [all, 'all', { label: { $nin: [0, 1] } }, '2', '0,1,2'],
    [all, 'all', { $or: [{ label: 0 }, { label: 1 }] }, '0,1', '0,1'],
    [all, 'all', { name: { $in: ['class 0', 'class 1'] } }, '0,1', '0,1'],
    [all, 'all', { name: { $nin: ['class 0', 'class 1'] } }, '2', '2'],
    [all, 'all', { label: 0 }, '0', '0'],
    [all, 'all', { seen: false }, '0', '0'],
    [some, "['label', 'seen']", { label: 0 }, '0', ''],
    [some, "['label', 'seen']", { label: { $lt: 1 } }, '0', ''],
    [some, "['label', 'seen']", { seen: false }, '0', ''],
    [some, "['label', 'seen']", { label: 1 }, '1', '1'],
];
for (const [index, indexed, filter, expected, seen] of cases) {
    const listed = (await index.listItemsByMetadata(filter)).map(({ id }) => id);
    const found = (await index.queryItems([1, 0], '', 3, filter)).map(({ item }) => item.id);
    console.log(`indexed ${indexed}, ${JSON.stringify(filter)}: expected [${expected}], seen [${found}]`);
    assert.equal(String(listed), seen);
    assert.equal(String(found.sort()), seen);
}
END
node filter.mjs
