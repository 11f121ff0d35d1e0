#!/usr/bin/env bash
# orama: a search by vector takes the vectors out of the documents that it finds, also out of the caller's own objects.
#
# Guess: `searchVector` reads. Unless `includeVectors` is set it leaves the vectors out of its answer, and a later
# search that sets it, `getByID` and `save` give them as they were inserted.
#
# Seen with orama 3.1.18: every document that an answer contained has `null` for its vector from then on, in the
# database, in what `save` writes, and in the objects that the caller inserted, for they are the same ones. A later
# search with `includeVectors: true` gives null, and a document that is read by `getByID` to be changed can no longer
# be inserted. A second copy, in the index, is still searched, so that all seems well. Documents that were in no answer
# keep theirs. (`searchVector` in `methods/search-vector.ts` writes the null into the stored document, not into a
# copy.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund @orama/orama@3.1.18
cat >search.mjs <<'END'
import assert from 'node:assert';
import fs from 'node:fs';
import { create, getByID, insert, save, searchVector } from '@orama/orama';

console.log('orama', JSON.parse(fs.readFileSync('node_modules/@orama/orama/package.json')).version);
const vectors = { dog: [1, 0, 0], wolf: [0.9, 0.1, 0], ship: [0, 0, 1] };
const own = Object.entries(vectors).map(([id, feature]) => ({ id, feature }));
const db = create({ schema: { id: 'string', feature: 'vector[3]' } });
for (const picture of own)
    insert(db, picture);
const query = { vector: { value: [1, 0, 0], property: 'feature' } };
const look = () => ({
    search: searchVector(db, { ...query, includeVectors: true }).hits.map(({ document }) => document.feature),
    getByID: Object.keys(vectors).map((id) => getByID(db, id).feature),
    save: Object.values(JSON.parse(JSON.stringify(save(db))).docs.docs).map(({ feature }) => feature),
    'own objects': own.map(({ feature }) => feature),
});

const before = look();
const found = searchVector(db, query).hits;
assert.deepEqual(found.map(({ id }) => id), ['dog', 'wolf']);
const after = look();
for (const where of Object.keys(before))
    console.log(`${where}: before a search ${JSON.stringify(before[where])}, after it ${JSON.stringify(after[where])}`);
assert.deepEqual(before.search, [vectors.dog, vectors.wolf]);
assert.deepEqual(after.search, [null, null]);
for (const where of ['getByID', 'save', 'own objects']) {
    assert.deepEqual(before[where], Object.values(vectors));
    assert.deepEqual(after[where], [null, null, vectors.ship]);
}
// The copy in the index is searched as before.
assert.deepEqual(searchVector(db, query).hits.map(({ score }) => score), found.map(({ score }) => score));
END
node search.mjs
