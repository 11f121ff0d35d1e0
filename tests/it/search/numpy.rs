//! The scan against numpy's brute force, and against itself in other chunks and threads.

use std::fs;
use std::path::Path;
use std::process::Command;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use simsearch::similarity::collection::Collection;
use simsearch::similarity::scan::{Metric, Neighbour, nearest};

use super::{write_loose, write_shard};
use crate::{TestEnv, need_python, succeed};

/// Compares answers with what numpy finds in 64 bits: the distances rank by rank, the ids wherever the distances next
/// to theirs differ by more than 1e-5, and ties in the order of their ids.
const BRUTE_FORCE: &str = r#"
import json, pathlib, sys
import numpy as np

directory = pathlib.Path(sys.argv[1])
features, ids = [], []
for path in sorted(directory.glob("*.features.npy")):
    features.append(np.load(path))
    ids += np.load(str(path).replace(".features.", ".object_ids.")).tolist()
for path in sorted(directory.glob("*/*/*.npy")):
    features.append(np.load(path)[None])
    ids.append(path.name.removesuffix(".npy"))
rows = np.concatenate(features).astype(np.float64)
usable = np.flatnonzero(np.isfinite(rows).all(axis=1))
rows, ids = rows[usable], np.array(ids)[usable]
of = {name: number for number, name in enumerate(ids.tolist())}
for path in sys.argv[2:]:
    asked = json.load(open(path))
    k, metric, length = asked["k"], asked["metric"], asked["length"]
    queries = np.array(asked["queries"], np.float32).astype(np.float64).reshape(-1, length)
    for query, answer in zip(queries, asked["answers"], strict=True):
        if metric == "euclidean":
            distances = np.sqrt(((rows - query) ** 2).sum(axis=1))
        else:
            lengths = np.sqrt((rows ** 2).sum(axis=1)) * np.sqrt((query ** 2).sum())
            distances = 1 - np.divide(rows @ query, lengths, out=np.zeros(len(rows)), where=lengths > 0)
            if not query.any():
                distances[~rows.any(axis=1)] = 0
        order = np.lexsort((ids, distances))[:k + 1]
        expected, found = distances[order], [neighbour["object_id"] for neighbour in answer]
        assert len(found) == min(k, len(rows)), (len(found), k, len(rows))
        assert len(set(found)) == len(found), "an object twice"
        given = np.array([neighbour["distance"] for neighbour in answer])
        assert (np.diff(given) >= 0).all(), given
        np.testing.assert_allclose(given, expected[:len(found)], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(given, distances[[of[name] for name in found]], rtol=1e-9, atol=1e-12)
        apart = lambda one, other: abs(expected[one] - expected[other]) > 1e-5 * max(expected[one], expected[other], 1e-9)
        for rank in range(len(found)):
            if (rank == 0 or apart(rank, rank - 1)) and (rank + 1 == len(expected) or apart(rank, rank + 1)):
                assert found[rank] == ids[order[rank]], (rank, found[rank], ids[order[rank]])
            if rank and given[rank] == given[rank - 1]:
                assert found[rank - 1] < found[rank], (found[rank - 1], found[rank])
"#;

const METRICS: [Metric; 2] = [Metric::Euclidean, Metric::Cosine];

/// Three shards and files beside them: 400 objects, among them twelve of one feature, a feature of zeros, and rows that
/// are not finite.
fn directory(env: &TestEnv, length: usize) {
    let mut rng = StdRng::seed_from_u64(length as u64);
    let mut random = || -> Vec<f32> {
        let numbers = (0..length).map(|_| rng.random_range(-1.0..1.0f32));
        numbers.collect()
    };
    let same = random();
    let mut rows: Vec<(String, Vec<f32>)> = (0..400)
        // Neighbours in the order of the ids stand far from each other.
        .map(|row| (format!("{:04}.jpg", row * 37 % 400), random()))
        .collect();
    (0..400)
        .step_by(34)
        .for_each(|row| rows[row].1.clone_from(&same));
    rows[5].1.fill(0.0);
    rows[6].1[length / 2] = f32::NAN;
    rows[7].1[length - 1] = f32::INFINITY;
    let mut rest = &rows[..];
    for (number, count) in [(0, 130), (1, 257), (2, 1)] {
        let (shard, behind) = rest.split_at(count);
        write_shard(env, number, shard);
        rest = behind;
    }
    write_loose(env, rest);
}

/// Queries: some features of the collection, zeros, and others.
fn queries(collection: &Collection, count: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(9);
    let mut queries = Vec::new();
    for number in 0..count {
        match number % 4 {
            0 => {
                // The feature that twelve have, and others.
                let id = format!("{:04}.jpg", number * 34 * 37 % 400);
                let position = collection.find(&id).unwrap();
                queries.extend_from_slice(collection.feature(position));
            }
            1 => {
                queries.extend((0..collection.dimension()).map(|_| rng.random_range(-1.0..1.0f32)))
            }
            2 => queries.extend(vec![0.0; collection.dimension()]),
            _ => {
                queries.extend((0..collection.dimension()).map(|_| rng.random_range(-0.1..0.1f32)))
            }
        }
    }
    queries
}

#[test]
fn the_answers_are_those_of_a_brute_force_in_numpy() {
    let python = need_python!("numpy");
    for length in [1, 7, 1280] {
        let env = TestEnv::new();
        directory(&env, length);
        let directory = env.path("features/model");
        let collection = Collection::open(&directory).unwrap();
        assert_eq!((collection.len(), collection.dimension()), (400, length));
        let mut numpy = Command::new(python.get_program());
        numpy.args(["-c", BRUTE_FORCE]).arg(&directory);
        for metric in METRICS {
            for (count, k) in [(1, 1), (1, 10), (2, 7), (3, 10), (64, 20), (3, 5000)] {
                let queries = queries(&collection, count);
                let answers = nearest(&collection, &queries, k, metric);
                let asked = serde_json::json!({
                    "k": k, "metric": metric, "length": length, "queries": queries, "answers": answers,
                });
                let path = env.path(format!("{metric:?}-{count}-{k}.json"));
                fs::write(&path, asked.to_string()).unwrap();
                numpy.arg(path);
            }
        }
        succeed(&mut numpy);
    }
}

#[test]
fn chunks_and_threads_do_not_change_a_bit() {
    let env = TestEnv::new();
    directory(&env, 1280);
    let collection = Collection::open(&env.path("features/model")).unwrap();
    let queries = queries(&collection, 64);
    let in_threads = |threads: usize, work: &(dyn Fn() -> Vec<Vec<Neighbour>> + Sync)| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(work)
    };
    for metric in METRICS {
        let one_by_one = in_threads(1, &|| {
            let queries = queries.chunks(1280);
            let answers = queries.flat_map(|query| nearest(&collection, query, 20, metric));
            answers.collect()
        });
        assert_eq!(one_by_one.len(), 64);
        for (threads, chunk) in [(1, 64), (3, 64), (3, 2), (4, 5)] {
            let in_chunks = in_threads(threads, &|| {
                let queries = queries.chunks(1280 * chunk);
                let answers = queries.flat_map(|query| nearest(&collection, query, 20, metric));
                answers.collect()
            });
            assert_eq!(in_chunks, one_by_one, "{metric:?} {threads} {chunk}");
        }
    }
}

#[test]
fn large_and_small_numbers_are_measured_where_32_bits_do_not_reach() {
    let env = TestEnv::new();
    let rows = [
        ("large.jpg", 3e25),
        ("small.jpg", 1e-30),
        ("usual.jpg", 1.0),
    ];
    let rows = rows.map(|(id, value)| (id.to_owned(), vec![value; 40]));
    write_shard(&env, 0, &rows);
    let collection = Collection::open(&env.path("features/model")).unwrap();
    for copies in [1, 5] {
        let query = vec![2e25f32; 40 * copies];
        let answers = nearest(&collection, &query, 3, Metric::Euclidean);
        for answer in answers {
            let ids: Vec<&str> = answer.iter().map(|found| &*found.object_id).collect();
            // Next to 2e25 nothing is left of 1 in 64 bits.
            assert_eq!(ids, ["large.jpg", "small.jpg", "usual.jpg"]);
        }
        let query = vec![2e-30f32; 40 * copies];
        let answers = nearest(&collection, &query, 3, Metric::Euclidean);
        for answer in answers {
            let ids: Vec<&str> = answer.iter().map(|found| &*found.object_id).collect();
            assert_eq!(ids, ["small.jpg", "usual.jpg", "large.jpg"]);
        }
    }
}

#[test]
fn a_directory_without_features_is_an_empty_collection() {
    let env = TestEnv::new();
    env.write("features/model/failures.jsonl", "");
    let collection = Collection::open(&env.path("features/model")).unwrap();
    assert!(collection.is_empty());
    assert_eq!(collection.find("00000.jpg"), None);
    assert!(nearest(&collection, &[], 3, Metric::Euclidean).is_empty());
    assert!(Collection::open(Path::new("/nowhere/at/all")).is_err());
}
