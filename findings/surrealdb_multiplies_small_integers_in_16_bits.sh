#!/usr/bin/env bash
# SurrealDB: by the cosine an index of 16-bit integers finds other neighbours than one of 32 bits.
#
# Guess: `TYPE I16` says how large the numbers of a vector may be, so that vectors of -127 to 127, as quantised features
# are, have the neighbours and the distances that `TYPE I32` and `TYPE F32` give for the same numbers.
#
# Seen with SurrealDB 3.0.2 in Node (@surrealdb/node 3.0.3), without a word: the products of `DIST COSINE` are added up
# in 16 bits, and wrap around. So [100, 200, 30] and [200, 100, -50] are at 1.523 instead of 0.255, and of the ten
# nearest of 200 vectors 13 in 100 are right. The lengths are right, and so are EUCLIDEAN, I32, I64 and vectors of very
# small numbers.
# (An older version, 2.3.10, gave 0 for all integers: the project's issue 6586.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund surrealdb@2.0.8 @surrealdb/node@3.0.3
cat >integers.mjs <<'END'
import assert from 'node:assert';
import { createNodeEngines } from '@surrealdb/node';
import { Surreal } from 'surrealdb';

const database = new Surreal({ engines: createNodeEngines() });
await database.connect('mem://');
await database.query('DEFINE NAMESPACE IF NOT EXISTS n; USE NS n; DEFINE DATABASE IF NOT EXISTS d');
await database.use({ namespace: 'n', database: 'd' });
console.log((await database.version()).version);

let state = 1;
const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
const vectors = Array.from({ length: 200 }, () => Array.from({ length: 16 }, () => Math.round(random() * 254 - 127)));
const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const measures = {
    COSINE: (a, b) => 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)),
    EUCLIDEAN: (a, b) => Math.hypot(...a.map((value, i) => value - b[i])),
};
for (const [measure, distance] of Object.entries(measures)) {
    for (const type of ['F32', 'I64', 'I32', 'I16']) {
        const table = `${measure}_${type}`.toLowerCase();
        await database.query(`DEFINE TABLE ${table};
            DEFINE INDEX i ON ${table} FIELDS v HNSW DIMENSION 16 TYPE ${type} DIST ${measure} EFC 200 M 16`);
        for (const [i, v] of vectors.entries()) await database.query(`CREATE ${table}:${i} SET v = $v`, { v });
        let right = 0;
        let error = 0;
        let largest = 0;
        for (const query of vectors.slice(0, 20)) {
            const order = vectors.map((v, i) => [i, distance(query, v)]).sort((a, b) => a[1] - b[1]);
            const nearest = new Set(order.slice(0, 10).map(([i]) => i));
            const [rows] = await database.query(`SELECT record::id(id) AS i, vector::distance::knn() AS distance
                FROM ${table} WHERE v <|10, 200|> $query`, { query });
            for (const row of rows) {
                right += nearest.has(row.i) / 200;
                error = Math.max(error, Math.abs(row.distance - distance(query, vectors[row.i])));
                largest = Math.max(largest, row.distance);
            }
        }
        console.log(measure, type, `right neighbours ${(right * 100).toFixed(1)}%`,
            `largest error of a distance ${error.toFixed(5)}`);
        const wrong = measure === 'COSINE' && type === 'I16';
        assert(wrong ? right < 0.5 && error > 0.5 : right > 0.95 && error < 0.001, `${measure} ${type}`);
    }
}
process.exit(0);
END
node integers.mjs
