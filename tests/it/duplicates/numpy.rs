//! Pairs and groups against numpy's brute force.

use std::fs;
use std::process::Command;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use simsearch::similarity::collection::{Collection, Position};
use simsearch::similarity::scan::Metric;
use simsearch::similarity::scan::pairs::{MOST_PAIRS, Wanted, pairs_within};

use super::duplicates;
use crate::search::{write_loose, write_shard};
use crate::{TestEnv, need_python, need_shared, runtime, succeed};

/// Finds all pairs of a directory in 64 bits, and makes groups of them by the rule that docs/commands.md states. Pairs
/// whose distance differs from the limit in the last bits alone may be on either side.
const BRUTE_FORCE: &str = r#"
import json, pathlib, sys
import numpy as np

directory, asked = pathlib.Path(sys.argv[1]), json.load(open(sys.argv[2]))
features, ids = [], []
for path in sorted(directory.glob("*.features.npy")):
    features.append(np.load(path))
    ids += np.load(str(path).replace(".features.", ".object_ids.")).tolist()
for path in sorted(directory.glob("*/*/*.npy")):
    features.append(np.load(path)[None])
    ids.append(path.name.removesuffix(".npy"))
order = np.argsort(ids)
ids = np.array(ids)[order]
rows = np.concatenate(features).astype(np.float64)[order]
for case in asked:
    if case["metric"] == "euclidean":
        distances = np.stack([np.sqrt(((rows - row) ** 2).sum(axis=1)) for row in rows])
    else:
        norms = np.sqrt((rows ** 2).sum(axis=1))
        with np.errstate(invalid="ignore", divide="ignore"):
            distances = 1 - rows @ rows.T / np.outer(norms, norms)
        zero = norms == 0
        distances[zero] = 1
        distances[:, zero] = 1
        distances[np.ix_(zero, zero)] = 0
    limit, close = case["limit"], 1e-12 * (1 + case["limit"])
    wanted = np.triu(distances <= limit - close, 1)
    allowed = np.triu(distances <= limit + close, 1)
    place = {name: at for at, name in enumerate(ids.tolist())}
    found = np.zeros_like(wanted)
    for one, other, distance in case["pairs"]:
        one, other = sorted((place[one], place[other]))
        assert not found[one, other], "a pair twice"
        found[one, other] = True
        np.testing.assert_allclose(distance, distances[one, other], rtol=1e-9, atol=1e-12)
    assert (found >= wanted).all() and (found <= allowed).all(), (case["metric"], limit, found.sum(), wanted.sum())
    near = found | found.T
    taken, groups = np.zeros(len(ids), bool), []
    exact = {(place[one], place[other]): distance for one, other, distance in case["pairs"]}
    exact |= {(other, one): distance for (one, other), distance in exact.items()}
    for best in range(len(ids)):
        if taken[best]:
            continue
        others = sorted((exact[best, at], at) for at in np.flatnonzero(near[best] & ~taken))
        group = [best]
        for _, at in others:
            if all(near[at, member] for member in group):
                group.append(at)
        if len(group) > 1:
            taken[group] = True
            groups.append(ids[group].tolist())
    assert groups == case["groups"], (case["metric"], limit)
print(sum(len(case["pairs"]) for case in asked), sum(len(case["groups"]) for case in asked))
"#;

/// Asks for the pairs and the groups of a directory, at limits of which some are distances themselves, and lets numpy
/// check them.
fn check(env: &TestEnv, mut python: Command, shares: &[f64]) -> (usize, usize) {
    let collection = Collection::open(&env.path("features/model")).unwrap();
    let objects: Vec<Position> = (0..)
        .zip(collection.parts())
        .flat_map(|(part, rows)| (0..rows.rows() as u32).map(move |row| Position { part, row }))
        .collect();
    let mut cases = Vec::new();
    for (metric, name) in [(Metric::Euclidean, "euclidean"), (Metric::Cosine, "cosine")] {
        let pairs = |limit: f64| {
            let wanted = Wanted {
                metric,
                limit,
                most: MOST_PAIRS,
                is_wanted: &|_, _| true,
                advance: &|_| {},
            };
            pairs_within(&collection, &objects, &wanted).unwrap()
        };
        let all = pairs(1e9);
        for share in shares {
            // The distance of a pair, so that the limit itself is tried, and just below it.
            let limit = all[(share * all.len() as f64) as usize].distance;
            for limit in [limit, limit.next_down().max(0.0)] {
                let found = pairs(limit);
                let id = |place: u32| collection.id(objects[place as usize]);
                let named: Vec<(String, String, f64)> = found
                    .iter()
                    .map(|pair| (id(pair.first), id(pair.second), pair.distance))
                    .collect();
                let limit_text = limit.to_string();
                let arguments = ["--max-distance", &limit_text, "--metric", name, "--json"];
                let json = duplicates(env, &arguments).json();
                assert_eq!(json["pairs"], found.len());
                let groups = json["groups"].as_array().unwrap().iter().map(|group| {
                    let members = group["members"].as_array().unwrap().iter();
                    members
                        .map(|member| member["object_id"].clone())
                        .collect::<Vec<_>>()
                });
                let groups: Vec<_> = groups.collect();
                cases.push(serde_json::json!({
                    "metric": name, "limit": limit, "pairs": named, "groups": groups,
                }));
            }
        }
    }
    let path = env.path("cases.json");
    fs::write(&path, serde_json::to_string(&cases).unwrap()).unwrap();
    python
        .arg("-c")
        .arg(BRUTE_FORCE)
        .arg(env.path("features/model"))
        .arg(path);
    let counts = succeed(&mut python);
    let mut counts = counts
        .split_whitespace()
        .map(|count| count.parse().unwrap());
    (counts.next().unwrap(), counts.next().unwrap())
}

#[test]
fn pairs_and_groups_of_random_features_are_those_of_numpy() {
    for dimension in [2, 5, 100] {
        let python = need_python!("numpy");
        let env = TestEnv::new();
        let mut rng = StdRng::seed_from_u64(dimension as u64);
        let mut rows: Vec<(String, Vec<f32>)> = Vec::new();
        for row in 0..400 {
            let feature = match row % 10 {
                // Equal rows, some of them in another shard.
                1 => rows[row / 20].1.clone(),
                // Near ones.
                2 => rows[row / 2]
                    .1
                    .iter()
                    .map(|number| number + rng.random_range(-0.01..0.01f32))
                    .collect(),
                // Whole numbers make ties.
                3 | 4 => (0..dimension)
                    .map(|_| f32::from(rng.random_range(-2..=2i8)))
                    .collect(),
                _ => (0..dimension)
                    .map(|_| rng.random_range(-1.0..1.0f32))
                    .collect(),
            };
            rows.push((format!("{:04}.jpg", row * 37 % 400), feature));
        }
        write_shard(&env, 0, &rows[..130]);
        write_shard(&env, 1, &rows[130..380]);
        write_loose(&env, &rows[380..]);
        let (pairs, groups) = check(&env, python, &[0.0, 0.0005, 0.01, 0.2]);
        assert!(pairs > 10_000 && groups > 100, "{pairs} {groups}");
    }
}

#[test]
fn pairs_and_groups_of_real_features_are_those_of_numpy() {
    let python = need_python!("numpy");
    let shared = need_shared!();
    let Some(runtime) = runtime() else {
        crate::skip!("ONNX Runtime was not found; `make setup` fetches it")
    };
    let env = TestEnv::new();
    let media = shared.join("media");
    let media = media.to_str().unwrap();
    env.run(["list", "--media-dir", media, "--output", "objects.txt"])
        .exits(0);
    let common = [
        "--media-dir",
        media,
        "--objects",
        "objects.txt",
        "--feature-dir",
        "features",
    ];
    let extract = [
        "extract",
        "--provider",
        "cpu",
        "--runtime",
        runtime.to_str().unwrap(),
    ];
    env.run(extract.iter().chain(&common)).exits(0);
    fs::rename(
        env.path("features/descriptor_v1"),
        env.path("features/model"),
    )
    .unwrap();
    let (pairs, groups) = check(&env, python, &[0.0, 0.001, 0.05]);
    assert!(pairs > 1000 && groups > 20, "{pairs} {groups}");
}
