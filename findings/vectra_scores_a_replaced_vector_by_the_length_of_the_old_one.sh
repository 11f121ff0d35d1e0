#!/usr/bin/env bash
# vectra: a vector that replaces another is scored by the length of the one that is gone, and by the cosine gets 8.
#
# Guess: `upsertItem` ("adds or replaces") leaves an index in which the new vector is searched as if it had been
# inserted in the first place. A similarity by the cosine is at most 1.
#
# Seen with vectra 0.12.3: the vector and its metadata are replaced, and the length that was computed for the old one
# stays, in memory and in the file. The score of a vector that is ten times as long as the old one is ten times too
# large, so that it comes before all others whatever is asked for; that of a shorter one is too small, and it is not
# found. Features of length 1 do not show it, pixels, histograms and features as a model gives them do. Deleting and
# inserting is right. (`addItemToUpdate` in `LocalIndex.ts` copies the vector and not `norm`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund vectra@0.12.3
cat >replace.mjs <<'END'
import assert from 'node:assert';
import fs from 'node:fs';
import { LocalIndex } from 'vectra';

console.log('vectra', JSON.parse(fs.readFileSync('node_modules/vectra/package.json')).version);
const fresh = { near: [0.6, 0.8], far: [0, 10], small: [0.06, 0.081] };
const old = { near: [0.6, 0.8], far: [1, 0], small: [3, 4] };
const query = [0.6, 0.8];
const cosine = (vector) => (vector[0] * query[0] + vector[1] * query[1]) / Math.hypot(...vector);
const scores = async (folder) => {
    const found = await new LocalIndex(folder).queryItems(query, '', 3);
    return Object.fromEntries(found.map(({ item, score }) => [item.id, score]));
};
const index = async (folder, steps) => {
    const made = new LocalIndex(folder);
    await made.createIndex();
    for (const [step, vectors] of steps)
        for (const [id, vector] of Object.entries(vectors))
            await made[step](step === 'deleteItem' ? id : { id, vector });
    return scores(folder);
};

const expected = Object.fromEntries(Object.entries(fresh).map(([id, vector]) => [id, cosine(vector)]));
const inserted = await index('inserted', [['insertItem', fresh]]);
const deleted = await index('deleted', [['insertItem', old], ['deleteItem', old], ['insertItem', fresh]]);
const replaced = await index('replaced', [['insertItem', old], ['upsertItem', fresh]]);
console.log('expected', expected);
console.log('inserted', inserted);
console.log('deleted and inserted again', deleted);
console.log('replaced', replaced);
for (const id of Object.keys(fresh)) {
    assert(Math.abs(inserted[id] - expected[id]) < 1e-9 && Math.abs(deleted[id] - expected[id]) < 1e-9);
    const wrong = expected[id] * Math.hypot(...fresh[id]) / Math.hypot(...old[id]);
    assert(Math.abs(replaced[id] - wrong) < 1e-9, id);
}
assert.deepEqual(Object.keys(inserted), ['near', 'small', 'far']);
assert.deepEqual(Object.keys(replaced), ['far', 'near', 'small']);
assert(replaced.far > 7.9 && replaced.small < 0.03);
const kept = JSON.parse(fs.readFileSync('replaced/index.json')).items.find(({ id }) => id === 'far');
assert.deepEqual([kept.vector, kept.norm], [[0, 10], 1]);
END
node replace.mjs
