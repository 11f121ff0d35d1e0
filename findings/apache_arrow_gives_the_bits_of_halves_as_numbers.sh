#!/bin/sh
# Apache Arrow (for JavaScript): half-precision numbers are numbers one by one, and their bits all at once.
#
# Guess: `vector.toArray()` is the fast way to what `vector.get(row)` gives, a typed array of the same numbers.
#
# Seen with apache-arrow 21.2.0: of float16 `get` and the iterator give 1.5 and -2.25, and `toArray` a Uint16Array with 15872
# and 49280, their bits. A row of a fixed-size list of halves, as features are stored, does the same, so that distances between
# two `toArray()` are finite, positive and of nothing. float32 and float64 are the same both ways. (`Float16` in `type.ts` has
# Uint16Array for its values, and `toArray` hands over the buffer.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund apache-arrow@21.2.0
cat >halves.mjs <<'END'
import assert from 'node:assert';
import fs from 'node:fs';
import {
    Field, FixedSizeList, Float16, Float32, Float64, Table, tableFromIPC, tableToIPC, vectorFromArray,
} from 'apache-arrow';

console.log('apache-arrow', JSON.parse(fs.readFileSync('node_modules/apache-arrow/package.json')).version);
const numbers = [1.5, -2.25];
const found = {};
for (const type of [new Float16(), new Float32(), new Float64()]) {
    // Written to Arrow's own format and read again, as from another program.
    const table = tableFromIPC(tableToIPC(new Table({
        number: vectorFromArray(numbers, type),
        feature: vectorFromArray([numbers, numbers], new FixedSizeList(2, new Field('item', type))),
    })));
    const vector = table.getChild('number');
    const feature = table.getChild('feature').get(0);
    assert.deepEqual([vector.get(0), vector.get(1)], numbers);
    assert.deepEqual([...vector], numbers);
    assert.deepEqual([...feature], numbers);
    found[type] = [vector.toArray(), feature.toArray()];
    console.log(`${type}: get gives ${vector.get(0)} and ${vector.get(1)}, toArray`, ...found[type]);
}
for (const array of found.Float16)
    assert.deepEqual(array, Uint16Array.of(0x3e00, 0xc080));
for (const type of ['Float32', 'Float64'])
    for (const array of found[type])
        assert.deepEqual(Array.from(array), numbers);
END
node halves.mjs
