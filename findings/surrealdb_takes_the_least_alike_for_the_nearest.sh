#!/usr/bin/env bash
# SurrealDB: the nearest by Pearson are the least alike, and by Jaccard it depends on the type of the index.
#
# Guess: an index with `DIST PEARSON` or `DIST JACCARD`, or the operator `<|3, PEARSON|>` without an index, gives the
# records that are most alike, as with `COSINE`, where the distance is 1 less the similarity. `TYPE F32` or `TYPE F64`
# changes the precision of an index only.
#
# Seen with SurrealDB 3.0.2 in Node (@surrealdb/node 3.0.3), without a word: the distance by PEARSON is the correlation
# itself, 1 for equal vectors and -1 for opposite ones, so that the opposite ones come first and the vector itself last,
# with an index and without. By JACCARD an index with `TYPE F64` has a distance (0 for equal sets), and one with F32,
# I64, I32 or I16 the similarity (1 for equal sets), as has the operator without an index, so that there sets with
# nothing in common come first. `vector::similarity::jaccard` counts repeated numbers in what two sets share but not in
# all that they have: [0, 0, 0, 1] and [0, 0, 1, 1] have a similarity of 2. EUCLIDEAN and COSINE are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund surrealdb@2.0.8 @surrealdb/node@3.0.3
cat >nearest.mjs <<'END'
import assert from 'node:assert';
import { createNodeEngines } from '@surrealdb/node';
import { Surreal } from 'surrealdb';

const database = new Surreal({ engines: createNodeEngines() });
await database.connect('mem://');
await database.query('DEFINE NAMESPACE IF NOT EXISTS n; USE NS n; DEFINE DATABASE IF NOT EXISTS d');
await database.use({ namespace: 'n', database: 'd' });
console.log((await database.version()).version);

// The query is the first one. By all four measures the order from alike to unlike is: same, near, far.
const vectors = { same: [1, 2, 3, 4], near: [1, 2, 3, 5], far: [9, 8, 7, 6] };
const query = vectors.same;
const names = Object.keys(vectors);
const nearest = async (measure, type) => {
    const table = type === 'no index' ? measure.toLowerCase() : `${measure}_${type}`.toLowerCase();
    await database.query(`DEFINE TABLE ${table}`);
    if (type !== 'no index')
        await database.query(`DEFINE INDEX i ON ${table} FIELDS v HNSW DIMENSION 4 TYPE ${type} DIST ${measure}`);
    for (const name of names) await database.query(`CREATE ${table}:${name} SET v = $v`, { v: vectors[name] });
    const [rows] = await database.query(`SELECT record::id(id) AS name, vector::distance::knn() AS distance
        FROM ${table} WHERE v <|3, ${type === 'no index' ? measure : 100}|> $query ORDER BY distance`, { query });
    return rows;
};
const order = {};
for (const measure of ['EUCLIDEAN', 'COSINE', 'PEARSON', 'JACCARD']) {
    for (const type of ['F64', 'F32', 'I32', 'no index']) {
        const rows = await nearest(measure, type);
        order[`${measure} ${type}`] = rows.map(({ name }) => name);
        console.log(measure, type, ...rows.map(({ name, distance }) => `${name} ${distance.toFixed(4)}`));
    }
}
const upsideDown = (kind) => kind.startsWith('PEARSON') || (kind.startsWith('JACCARD') && !kind.endsWith('F64'));
for (const [kind, found] of Object.entries(order))
    assert.deepEqual(found, upsideDown(kind) ? [...names].reverse() : names, kind);
const [shared] = await database.query('RETURN vector::similarity::jaccard([0, 0, 0, 1], [0, 0, 1, 1])');
console.log('the similarity of [0, 0, 0, 1] and [0, 0, 1, 1] by Jaccard:', shared);
assert.equal(shared, 2);
process.exit(0);
END
node nearest.mjs
