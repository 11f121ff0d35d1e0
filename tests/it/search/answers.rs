//! Which neighbours are asked for, and how they are printed.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{on_a_line, search, search_with_input, write_loose, write_shard};
use crate::{Outcome, TestEnv, feature_file, ppm};

/// Objects at 0, 1, 2, ..., in two folders; the last is not listed, and left out where there is a list.
fn in_folders() -> TestEnv {
    let env = TestEnv::new();
    let ids = [
        "zero.ppm",
        "one one.ppm",
        "two,.ppm",
        "three.ppm",
        "unlisted.ppm",
    ];
    let rows = on_a_line(&ids);
    write_shard(&env, 0, &rows[..3]);
    write_loose(&env, &rows[3..]);
    let entries = ["a/zero.ppm", "a/one one.ppm", "b/c/two,.ppm", "b/three.ppm"];
    for entry in entries {
        env.write(Path::new("media").join(entry), ppm(20, 10, 1));
    }
    env.objects(&entries);
    env
}

const MEDIA: [&str; 2] = ["--media-dir", "media"];

fn with_media(env: &TestEnv, more: &[&str]) -> Outcome {
    search(env, &[&MEDIA, more].concat())
}

#[test]
fn neighbours_are_cut_off_by_distance_and_folder_and_the_query_itself() {
    let env = in_folders();
    for (more, expected) in [
        (
            &["-k", "all"][..],
            "zero.ppm 0\none one.ppm 1\ntwo,.ppm 2\nthree.ppm 3\n",
        ),
        (&["--max-distance", "1"], "zero.ppm 0\none one.ppm 1\n"),
        (&["--max-distance", "0.999"], "zero.ppm 0\n"),
        (&["--exclude-query", "-k", "1"], "one one.ppm 1\n"),
        (
            &["--exclude-query", "-k", "all", "--max-distance", "2"],
            "one one.ppm 1\ntwo,.ppm 2\n",
        ),
        (&["--within", "b"], "two,.ppm 2\nthree.ppm 3\n"),
        (&["--within", "media/b/c"], "two,.ppm 2\n"),
        (&["--within", "b", "-k", "1"], "two,.ppm 2\n"),
        (&["--within", "b", "--not-within", "b/c"], "three.ppm 3\n"),
        (&["--not-within", "b", "--exclude-query"], "one one.ppm 1\n"),
    ] {
        let found = with_media(&env, &[&["zero.ppm"], more].concat());
        assert_eq!(found.exits(0).stdout, expected, "{found}");
    }
    with_media(&env, &["zero.ppm", "--within", "none"])
        .exits(1)
        .says(&["no listed object is below none"]);
    search(&env, &["zero.ppm", "--within", "a"])
        .exits(2)
        .says(&["a folder is one of pictures: --media-dir"]);
    search(&env, &["zero.ppm", "-k", "0"])
        .exits(2)
        .says(&["must be a whole number, 1 or more, or `all`"]);
    for more in [["--within", "a"], ["-k", "all"]] {
        with_media(&env, &[&["zero.ppm", "--approximate"], &more[..]].concat())
            .exits(2)
            .says(&["leave out --approximate"]);
    }
}

#[test]
fn a_list_that_is_named_is_read_wherever_it_is() {
    let env = in_folders();
    let few = "a/zero.ppm\nb/three.ppm\n";
    env.write("few.txt", few);
    let expected = "zero.ppm 0\nthree.ppm 3\n";
    let named = with_media(&env, &["zero.ppm", "--objects", "few.txt"]);
    assert_eq!(named.exits(0).stdout, expected);
    let piped = [&MEDIA[..], &["zero.ppm", "--objects", "-"]].concat();
    let piped = search_with_input(&env, &piped, few);
    assert_eq!(piped.exits(0).stdout, expected);
    with_media(&env, &["zero.ppm", "--objects", "none.txt"])
        .exits(1)
        .says(&["there is no list of objects at none.txt"]);
    search(&env, &["zero.ppm", "--objects", "few.txt"])
        .exits(2)
        .says(&["--media-dir must say where they are"]);
    with_media(&env, &["-", "--objects", "-"])
        .exits(2)
        .says(&["standard input cannot be both"]);
    // An object that is not in it is told from one that nobody knows, and is not what another one is taken for.
    with_media(&env, &["two,.ppm", "--objects", "few.txt"])
        .exits(1)
        .says(&["two,.ppm: is extracted, and left out"])
        .does_not_say("did you mean");
    with_media(&env, &["two.ppm", "--objects", "few.txt"])
        .exits(1)
        .says(&["two.ppm: is neither"])
        .does_not_say("did you mean");
}

#[test]
fn paths_and_tables_are_printed_for_people_and_programs() {
    let env = in_folders();
    let all = ["zero.ppm", "-k", "all"];
    let found = with_media(&env, &[&all[..], &["--paths"]].concat());
    let expected = "a/zero.ppm 0\na/one one.ppm 1\nb/c/two,.ppm 2\nb/three.ppm 3\n";
    assert_eq!(found.exits(0).stdout, expected);
    // Without a list, no path of these is known.
    let found = search(&env, &["zero.ppm", "-k", "2", "--paths"]);
    (found.exits(0)).says(&["no path is recorded of 2 neighbours"]);
    assert_eq!(found.stdout, "zero.ppm 0\none one.ppm 1\n");
    for format in [&["--json"][..], &["--format", "json"]] {
        let found = with_media(&env, &[&["zero.ppm", "-k", "2"], format].concat());
        let neighbours = &found.exits(0).json()["neighbours"];
        assert_eq!(neighbours[0]["path"], "a/zero.ppm");
        assert_eq!(neighbours[1]["object_id"], "one one.ppm");
        assert_eq!(neighbours[1]["path"], "a/one one.ppm");
    }
    let csv = with_media(
        &env,
        &[
            "zero.ppm",
            "three.ppm",
            "-k",
            "3",
            "--format",
            "csv",
            "--exclude-query",
        ],
    );
    let lines: Vec<&str> = csv.exits(0).stdout.lines().collect();
    assert_eq!(lines.len(), 7, "{csv}");
    assert_eq!(
        lines[..3],
        [
            "query,object_id,path,distance",
            "zero.ppm,one one.ppm,a/one one.ppm,1.0",
            "zero.ppm,\"two,.ppm\",\"b/c/two,.ppm\",2.0",
        ]
    );
    let tsv = search(&env, &["zero.ppm", "-k", "2", "--format", "tsv"]);
    let expected = "query\tobject_id\tpath\tdistance\nzero.ppm\tzero.ppm\t\t0.0\nzero.ppm\tone one.ppm\t\t1.0\n";
    assert_eq!(tsv.exits(0).stdout, expected);
    let paths = with_media(
        &env,
        &[&all[..], &["--format", "paths0", "--exclude-query"]].concat(),
    );
    let expected = "media/a/one one.ppm\0media/b/c/two,.ppm\0media/b/three.ppm\0";
    assert_eq!(paths.exits(0).stdout, expected);
    for path in paths.stdout.split_terminator('\0') {
        assert!(env.path(path).is_file(), "{path}");
    }
    // Without a list the program knows of no paths: these features are of another one.
    std::fs::rename(env.path("media/objects.txt"), env.path("list")).unwrap();
    let none = with_media(&env, &["zero.ppm", "-k", "3", "--format", "paths0"]);
    none.exits(0)
        .says(&["no path is recorded of 3 neighbours; nothing is printed of them"]);
    assert_eq!(none.stdout, "");
    search(&env, &["zero.ppm", "--format", "paths0"])
        .exits(2)
        .says(&["paths0 prints the paths of files: --media-dir"]);
    search(&env, &["zero.ppm", "--format", "csv", "--json"]).exits(2);
}

#[test]
fn a_list_of_ids_may_have_crlf_ends() {
    let env = in_folders();
    let found = search_with_input(&env, &["-", "-k", "1"], "zero.ppm\r\n\r\nthree.ppm\r\n");
    assert_eq!(
        found.exits(0).stdout,
        "# zero.ppm\nzero.ppm 0\n\n# three.ppm\nthree.ppm 0\n"
    );
    // Where the first line ends in a newline alone, a carriage return belongs to a name.
    let found = search_with_input(&env, &["-", "-k", "1"], "zero.ppm\nthree.ppm\r\n");
    found.exits(3).says(&["three.ppm\r: is neither"]);
}

#[test]
fn an_unknown_id_is_named_with_the_nearest_spelling() {
    let env = in_folders();
    for (wrong, meant) in [
        ("thre.ppm", "three.ppm"),
        ("htree.ppm", "three.ppm"),
        ("Three.PPM", "three.ppm"),
        ("three", "three.ppm"),
        ("a/zero.pmp", "zero.ppm"),
    ] {
        let found = search(&env, &[wrong]);
        found.exits(1).says(&[&format!("; did you mean {meant}?")]);
    }
    search(&env, &["something else.ppm"])
        .exits(1)
        .does_not_say("did you mean");
}

/// What is printed of a query's feature is all of it, and may be asked for.
#[test]
fn a_feature_is_printed_to_the_last_bit_and_is_a_query() {
    let env = TestEnv::new();
    let mut rng = StdRng::seed_from_u64(3);
    let rows = (0..5).map(|row| {
        let feature = (0..7).map(|_| rng.random_range(-1.0..1.0f32)).collect();
        (format!("{row}.jpg"), feature)
    });
    let rows: Vec<(String, Vec<f32>)> = rows.collect();
    write_shard(&env, 0, &rows);
    let outcome = search(&env, &["--json", "--feature", "3.jpg"]);
    let printed: Vec<f32> = (outcome.exits(0).json()["feature"]
        .as_array()
        .unwrap()
        .iter())
    .map(|number| number.as_f64().unwrap() as f32)
    .collect();
    assert_eq!(printed, rows[3].1);
    assert_eq!(
        search(&env, &["--json", "3.jpg"]).json().get("feature"),
        None
    );
    // No model is there to be loaded.
    env.write("query.npy", feature_file(&printed));
    let by_file = search(&env, &["query.npy"]);
    by_file.exits(0);
    assert_eq!(by_file.stdout, search(&env, &["3.jpg"]).stdout);
    env.write("short.npy", feature_file(&printed[1..]));
    (search(&env, &["short.npy"]).exits(1))
        .says(&["short.npy: it has 6 numbers, and the features here have 7"]);
    // As numpy has it where nobody says otherwise: 64 bits, a row.
    let header = format!(
        "{:117}\n",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 7), }"
    );
    let doubles = printed
        .iter()
        .flat_map(|number| f64::from(*number).to_le_bytes());
    let file = b"\x93NUMPY\x01\x00\x76\x00".iter().copied();
    let file: Vec<u8> = file.chain(header.into_bytes()).chain(doubles).collect();
    env.write("doubles.npy", file);
    let by_doubles = search(&env, &["doubles.npy"]);
    assert_eq!(by_doubles.exits(0).stdout, by_file.stdout);
    env.write("text.npy", "text");
    (search(&env, &["text.npy"]).exits(1)).says(&["text.npy: "]);
    search(&env, &["--feature", "3.jpg"])
        .exits(2)
        .says(&["add --json"]);
}
