//! `simsearch export`.

use std::fs;
use std::io;
use std::path::Path;

use crate::concat::{nested, numbered, write_features};
use crate::index::write_shard;
use crate::{Outcome, TestEnv, feature_file, need_python, succeed};

/// `simsearch export`, of `features` to `out.parquet`.
const EXPORT: [&str; 5] = [
    "export",
    "--feature-dir",
    "features",
    "--output",
    "out.parquet",
];

fn export(env: &TestEnv, more: &[&str]) -> Outcome {
    env.run(EXPORT.iter().chain(more))
}

/// Compares the table with the files of the directory as numpy reads them.
const COMPARE: &str = r#"
import json, sys
from pathlib import Path
import duckdb, numpy as np, pyarrow as pa, pyarrow.parquet as pq

directory, table = Path(sys.argv[1]), sys.argv[2]
ids, features = [], []
for path in sorted(directory.glob("*.features.npy")):
    features.append(np.load(path))
    ids += np.load(path.with_name(path.name.replace(".features.", ".object_ids."))).tolist()
for path in sorted(directory.glob("*/*/*.npy")):
    features.append(np.load(path)[None])
    ids.append(path.name.removesuffix(".npy"))
features = np.vstack(features)
length = features.shape[1]

read = pq.read_table(table)
schema = read.schema
assert schema.names == ["object_id", "path", "feature"], schema
assert schema.field("path").type == pa.string() and schema.field("path").nullable, schema
assert schema.field("object_id").type == pa.string(), schema
assert schema.field("feature").type == pa.list_(pa.field("element", pa.float32(), False), length), schema
assert read["object_id"].to_pylist() == ids
paths = []
for path in sorted(directory.glob("*.features.npy")):
    sources = path.with_name(path.name.replace(".features.", ".sources."))
    rows = len(np.load(path, mmap_mode="r"))
    paths += [p or None for p in np.load(sources)["path"].tolist()] if sources.exists() else [None] * rows
recorded = directory / "sources.jsonl"
lines = recorded.read_text().splitlines() if recorded.exists() else []
recorded = {Path(p).name: p for p in (json.loads(line)["path"] for line in lines)}
paths += [recorded.get(i) for i in ids[len(paths):]]
assert read["path"].to_pylist() == paths, paths
assert duckdb.sql(f"SELECT path FROM '{table}'").fetchall() == [(p,) for p in paths]
found = read["feature"].combine_chunks().flatten().to_numpy().reshape(-1, length)
assert (found.view("u4") == features.view("u4")).all()

file = pq.ParquetFile(table)
for group in range(file.metadata.num_row_groups):
    assert file.metadata.row_group(group).num_rows <= 10_000
    for column in range(3):
        assert file.metadata.row_group(group).column(column).compression == "ZSTD"
metadata = file.metadata.metadata
assert metadata[b"simsearch.model"] == b"model", metadata
recipe = directory / "recipe.json"
if recipe.exists():
    assert json.loads(metadata[b"simsearch.recipe"]) == json.loads(recipe.read_text())

rows = duckdb.sql(f"SELECT object_id, feature[1], len(feature) FROM '{table}'").fetchall()
assert rows == [(i, float(f[0]), length) for i, f in zip(ids, features)]
query = 7
nearest = duckdb.sql(f"""
    SELECT object_id FROM '{table}'
    ORDER BY array_distance(feature::FLOAT[{length}], (
        SELECT feature FROM '{table}' WHERE object_id = '{ids[query]}')::FLOAT[{length}]), object_id LIMIT 3
""").fetchall()
assert nearest[0] == (ids[query],), nearest
print(len(ids), file.metadata.num_row_groups)
"#;

/// The same numbers for every seed, between -1 and 1, and some that are rounded easily.
fn rows(seed: u32, rows: usize, length: usize) -> Vec<f32> {
    let mut state = seed;
    let mut numbers: Vec<f32> = (0..rows * length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    numbers[..4].copy_from_slice(&[-0.0, f32::MIN_POSITIVE / 2.0, 1e-20, 0.1]);
    numbers
}

#[test]
fn pyarrow_and_duckdb_read_every_feature_bit_for_bit() {
    let mut python = need_python!("numpy", "pyarrow", "duckdb");
    let env = TestEnv::new();
    // More than a row group, more than a page in it, and rows that fill neither.
    write_shard(&env, 0, 10_050, 300, &rows(1, 10_050, 300));
    write_shard(&env, 1, 7, 300, &rows(2, 7, 300));
    for id in ["per_object file.jpg", "日本語.jpg"] {
        let path = Path::new("features/model").join(nested(id));
        env.write(path, feature_file(&rows(id.len() as u32, 1, 300)));
    }
    let recipe = r#"{"format": 1, "model_sha256": "ab", "output": "o", "preprocessing": "p", "feature_length": 300,
        "dtype": "<f4", "precision": "fp32", "exact": false, "ids": "name"}"#;
    env.write("features/model/recipe.json", recipe);
    let summary = export(&env, &["--json"]).exits(0).json();
    assert_eq!([&summary["rows"], &summary["length"]], [10_059, 300]);
    let bytes = fs::metadata(env.path("out.parquet")).unwrap().len();
    assert_eq!(summary["bytes"], bytes);
    let (directory, table) = (env.path("features/model"), env.path("out.parquet"));
    let printed = succeed(python.args(["-c", COMPARE]).args([directory, table]));
    assert_eq!(printed, "10059 4\n");
}

#[test]
fn paths_are_a_column_where_they_are_recorded() {
    crate::need_runtime!();
    let mut python = need_python!("numpy", "pyarrow", "duckdb");
    let env = TestEnv::new();
    let entries: Vec<String> = (0..9).map(|at| format!("f{}/é{at}.jpg", at % 2)).collect();
    for (seed, entry) in entries.iter().enumerate() {
        env.picture(entry, seed);
    }
    for listed in [3, 6, 9] {
        env.objects(&entries[..listed]);
        env.extract("nhwc", &[]).exits(0);
        if listed == 3 {
            // As an earlier version left them.
            fs::remove_file(env.path("features/nhwc/sources.jsonl")).unwrap();
        }
        if listed < 9 {
            env.concat(&["--rows", "5"]).exits(0);
        }
    }
    fs::rename(env.path("features/nhwc"), env.path("features/model")).unwrap();
    export(&env, &[]).exits(0);
    let (directory, table) = (env.path("features/model"), env.path("out.parquet"));
    let printed = succeed(python.args(["-c", COMPARE]).args([directory, table]));
    assert_eq!(printed, "9 3\n");
}

#[test]
fn features_of_one_number_are_a_table_too() {
    let mut python = need_python!("numpy", "pyarrow", "duckdb");
    let env = TestEnv::new();
    write_shard(&env, 0, 100, 1, &rows(3, 100, 1));
    export(&env, &[]).exits(0);
    let (directory, table) = (env.path("features/model"), env.path("out.parquet"));
    succeed(python.args(["-c", COMPARE]).args([directory, table]));
}

#[test]
fn without_features_there_is_no_file_but_a_hint() {
    let env = TestEnv::new();
    env.write("features/model/failures.jsonl", "");
    export(&env, &["--model", "model"])
        .exits(1)
        .says(&["features/model", "simsearch extract"]);
    assert!(!env.path("out.parquet").exists());
}

#[test]
fn a_torn_file_is_named_and_the_others_are_exported() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..5));
    let torn = Path::new("features/model").join(nested("00003.jpg"));
    env.write(&torn, &feature_file(&[1.0; 5])[..100]);
    let outcome = export(&env, &["--json"]);
    outcome.exits(3).says(&["00003.jpg.npy"]);
    assert_eq!(outcome.json()["rows"], 4);
}

/// That the files of a folder in order are the table of one file, and how many rows each has.
const TOGETHER: &str = r#"
import sys
from pathlib import Path
import duckdb, pyarrow as pa, pyarrow.parquet as pq

folder, table = Path(sys.argv[1]), sys.argv[2]
files = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
whole = pq.read_table(table)
assert pa.concat_tables(files).combine_chunks().equals(whole.combine_chunks())
assert files[0].schema.metadata == whole.schema.metadata
rows = duckdb.sql(f"SELECT count(*) FROM '{folder}/*.parquet'").fetchall()
assert rows == [(whole.num_rows,)], rows
print(*(f.num_rows for f in files))
"#;

#[test]
fn several_files_are_together_the_table_of_one_and_have_the_same_names_each_time() {
    let mut python = need_python!("numpy", "pyarrow", "duckdb");
    let env = TestEnv::new();
    write_shard(&env, 0, 10_050, 5, &rows(1, 10_050, 5));
    write_shard(&env, 1, 7, 5, &rows(2, 7, 5));
    env.write(
        Path::new("features/model").join(nested("per_object.jpg")),
        feature_file(&rows(3, 1, 5)),
    );
    export(&env, &[]).exits(0);
    let several = |rows: &str| {
        let arguments = ["export", "--feature-dir", "features", "--json"];
        let output = ["--output", "several/", "--rows-per-file", rows];
        env.run(arguments.iter().chain(&output))
    };
    env.write("several/notes.txt", "somebody's");
    env.write("several/other-00009.parquet", "somebody's");
    for _ in 0..2 {
        let summary = several("4000").exits(0).json();
        assert_eq!([&summary["rows"], &summary["files"]], [10_058, 3]);
        let names: Vec<String> = env.tree("several").into_keys().collect();
        let expected = [
            "model-00000.parquet",
            "model-00001.parquet",
            "model-00002.parquet",
            "notes.txt",
            "other-00009.parquet",
        ];
        assert_eq!(names, expected);
    }
    fs::remove_file(env.path("several/other-00009.parquet")).unwrap();
    let (folder, table) = (env.path("several"), env.path("out.parquet"));
    let printed = succeed(python.args(["-c", TOGETHER]).args([&folder, &table]));
    assert_eq!(printed, "4000 4000 2058\n");
    // Those that an earlier export had more go.
    assert_eq!(several("10058").exits(0).json()["files"], 1);
    assert!(!env.path("several/model-00001.parquet").exists());
    assert_eq!(
        fs::read(env.path("several/model-00000.parquet")).unwrap(),
        fs::read(&table).unwrap()
    );
}

#[test]
fn it_may_be_written_to_standard_output() {
    let env = TestEnv::new();
    write_shard(&env, 0, 20, 5, &rows(1, 20, 5));
    export(&env, &[]).exits(0);
    let mut command = env.command(["export", "--feature-dir", "features", "--output", "-"]);
    let written = command.output().unwrap();
    assert!(written.status.success());
    assert_eq!(written.stdout, fs::read(env.path("out.parquet")).unwrap());
    assert!(!env.path("-").exists());
    // Also where that is a file: nothing that is in it is replaced.
    for name in ["-", "/dev/stdout", "/dev/fd/1"] {
        env.write("all.parquet", "what was there");
        let file = fs::OpenOptions::new()
            .append(true)
            .open(env.path("all.parquet"));
        let mut command = env.command(["export", "--feature-dir", "features", "--output", name]);
        assert!(command.stdout(file.unwrap()).status().unwrap().success());
        let expected = [b"what was there", &written.stdout[..]].concat();
        assert_eq!(fs::read(env.path("all.parquet")).unwrap(), expected);
    }
    // A reader that goes has not got the end, without which it is no file.
    let mut command = env.command(["export", "--feature-dir", "features", "--output", "-"]);
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let closed = command.stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&closed.stderr);
    assert_eq!(closed.status.code(), Some(1), "{said}");
    assert!(
        said.contains("cannot write all of the file to standard output"),
        "{said}"
    );
    for (more, says) in [
        (&["--json"][..], "leave out --json"),
        (&["--rows-per-file", "5"], "name a folder"),
    ] {
        let arguments = ["export", "--feature-dir", "features", "--output", "-"];
        env.run(arguments.iter().chain(more)).exits(2).says(&[says]);
    }
}

#[test]
fn what_cannot_be_removed_of_an_earlier_export_is_named() {
    let env = TestEnv::new();
    write_shard(&env, 0, 20, 5, &rows(1, 20, 5));
    env.write("several/model-00003.parquet/file", "somebody's");
    let output = ["--output", "several", "--rows-per-file", "8"];
    env.run(
        ["export", "--feature-dir", "features"]
            .iter()
            .chain(&output),
    )
    .exits(1)
    .says(&["the export is complete", "several/model-00003.parquet"]);
    assert!(env.path("several/model-00002.parquet").exists());
}

#[test]
fn a_folder_needs_the_rows_of_its_files() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..3));
    let output = [
        "export",
        "--feature-dir",
        "features",
        "--output",
        "several/",
    ];
    env.run(output)
        .exits(1)
        .says(&["several/ is a folder", "--rows-per-file"]);
    let more = ["--rows-per-file", "0"];
    env.run(output.iter().chain(&more)).exits(2);
}
