//! The scripts in `examples`, run as their first lines say.

use std::path::Path;
use std::process::Command;

use crate::concat::write_features;
use crate::{PROGRAM, ROOT, TestEnv, VARIABLES, finish, need_python, need_runtime, ppm, succeed};

/// From the nearest to the first to the farthest; shards have them in another order.
const IDS: [&str; 5] = [
    "delta.jpg",
    "alpha.jpg",
    "echo.jpg",
    "bravo.jpg",
    "charlie.jpg",
];

fn example(name: &str) -> String {
    let path = Path::new(ROOT).join("examples").join(name);
    path.to_str().unwrap().to_owned()
}

/// What is before the space of each line.
fn ids(lines: &str) -> Vec<&str> {
    let ids = lines.lines().map(|line| line.split(' ').next().unwrap());
    ids.collect()
}

#[test]
fn numpy_finds_the_neighbours_in_the_shards() {
    let mut python = need_python!("numpy");
    let env = TestEnv::new();
    write_features(&env, &IDS);
    env.concat(&["--rows", "2"]).exits(0);
    python.args([&example("read_shards.py"), "features/model", IDS[0]]);
    let printed = succeed(python.current_dir(env.path("")));
    assert_eq!(ids(&printed), IDS);
}

#[test]
fn duckdb_finds_the_neighbours_in_the_parquet_file() {
    let mut python = need_python!("duckdb");
    let env = TestEnv::new();
    write_features(&env, &IDS);
    let export = [
        "export",
        "--feature-dir",
        "features",
        "--output",
        "features.parquet",
    ];
    env.run(export).exits(0);
    python.args([&example("nearest_in_duckdb.py"), "features.parquet", IDS[0]]);
    let printed = succeed(python.current_dir(env.path("")));
    assert_eq!(ids(&printed), IDS);
}

#[test]
fn make_lists_extracts_packs_and_searches_and_does_it_again() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    for (seed, name) in ["a.ppm", "b.ppm", "c.ppm"].into_iter().enumerate() {
        env.write(Path::new("photos/object").join(name), ppm(30, 20, seed));
    }
    env.write("photos/object/broken.ppm", "P6\n");
    let make = |more: &[&str]| {
        let folder = Path::new(PROGRAM).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut make = Command::new("make");
        make.args(["-f", &example("Makefile"), "EXTENSIONS=ppm"])
            .args(more)
            .current_dir(env.path(""))
            .env("PATH", format!("{}:{path}", folder.display()));
        // What the tests were started with is none of the example's.
        for variable in VARIABLES.iter().chain(&["MAKEFLAGS", "MAKELEVEL"]) {
            make.env_remove(variable);
        }
        make.env("ORT_DYLIB_PATH", &runtime);
        finish(make)
    };
    make(&[]).exits(0).says(&["packed 3 features"]);
    make(&[]).exits(0).says(&["3 skipped"]);
    let found = make(&["search", "QUERY=photos/object/b.ppm", "K=1"]);
    found.exits(0);
    assert_eq!(found.stdout, "b.ppm 0\n");
}
