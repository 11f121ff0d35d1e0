//! `simsearch duplicates`.

pub mod act;
mod numpy;

use std::path::Path;

use crate::search::{write_loose, write_shard};
use crate::{Outcome, TestEnv, need_runtime, ppm};

pub fn duplicates(env: &TestEnv, more: &[&str]) -> Outcome {
    env.run(
        ["duplicates", "--feature-dir", "features"]
            .iter()
            .chain(more),
    )
}

fn at(id: &str, x: f32) -> (String, Vec<f32>) {
    (id.to_owned(), vec![x, 1.0])
}

/// Objects on a line, two shards and a file of its own, in three folders. Only some have a file.
fn on_a_line() -> TestEnv {
    let env = TestEnv::new();
    write_shard(
        &env,
        0,
        &[at("one.ppm", 0.0), at("two.ppm", 1.0), at("far.ppm", 50.0)],
    );
    write_shard(&env, 1, &[at("three.ppm", 2.0), at("gone.ppm", 20.0)]);
    write_loose(&env, &[at("twin.ppm", 20.0), at("unlisted.ppm", 50.0)]);
    let files = [
        ("a/one.ppm", 20, 10),
        ("a/two.ppm", 40, 20),
        ("b/three.ppm", 30, 20),
        ("b/twin.ppm", 10, 10),
        ("c/far.ppm", 10, 10),
    ];
    for (entry, width, height) in files {
        env.write(Path::new("media").join(entry), ppm(width, height, 1));
    }
    let mut entries: Vec<&str> = files.iter().map(|(entry, ..)| *entry).collect();
    entries.push("c/gone.ppm");
    env.objects(&entries);
    env
}

#[test]
fn groups_are_paragraphs_with_the_largest_picture_first_and_the_exit_code_tells() {
    let env = on_a_line();
    let listed = ["--media-dir", "media"];
    let found = duplicates(&env, &[&listed[..], &["--max-distance", "1"]].concat());
    found.exits(4);
    found.says(&[
        "not in the list are left out: 1",
        "1 of the files cannot be found, such as c/gone.ppm",
    ]);
    let bytes = |width: usize, height: usize| ppm(width, height, 1).len();
    let expected = format!(
        "a/two.ppm 0 40x20 {}\nb/three.ppm 1 30x20 {}\n\nb/twin.ppm 0 10x10 {}\nc/gone.ppm 0 - -\n",
        bytes(40, 20),
        bytes(30, 20),
        bytes(10, 10)
    );
    assert_eq!(found.stdout, expected, "{found}");
    // Nothing is nearer than 1 but for those at one place.
    let found = duplicates(
        &env,
        &[&listed[..], &["--max-distance", "0.999", "--within", "a"]].concat(),
    );
    assert_eq!(found.exits(0).stdout, "");
    // Without a list, objects are known by their ids, and all are compared.
    let found = duplicates(&env, &["--max-distance", "0"]);
    let expected = "far.ppm 0\nunlisted.ppm 0\n\ngone.ppm 0\ntwin.ppm 0\n";
    assert_eq!(found.exits(4).stdout, expected, "{found}");
}

/// The names in each group.
fn names(found: &Outcome) -> Vec<String> {
    let paragraphs = found.stdout.split("\n\n").filter(|text| !text.is_empty());
    let names = paragraphs.map(|paragraph| {
        let names = paragraph
            .lines()
            .map(|line| line.split(' ').next().unwrap());
        names.collect::<Vec<_>>().join(" ")
    });
    names.collect()
}

#[test]
fn chains_folders_and_the_order_are_as_asked_for() {
    let env = on_a_line();
    for (more, expected) in [
        (
            &["--linked"][..],
            &["a/two.ppm b/three.ppm a/one.ppm", "b/twin.ppm c/gone.ppm"][..],
        ),
        (&["--within", "a"], &["a/two.ppm a/one.ppm"]),
        (&["--within", "media/b"], &[]),
        (
            &["--not-same-folder"],
            &["a/two.ppm b/three.ppm", "b/twin.ppm c/gone.ppm"],
        ),
        (
            &["--against", "b"],
            &["b/three.ppm a/two.ppm", "b/twin.ppm c/gone.ppm"],
        ),
        (
            &["--within", "a", "--against", "b"],
            &["b/three.ppm a/two.ppm"],
        ),
    ] {
        let arguments = [&["--media-dir", "media", "--max-distance", "1"], more].concat();
        let found = duplicates(&env, &arguments);
        assert_eq!(names(&found), expected, "{found}");
    }
    // 18 apart; one has more pixels, the other a shorter path.
    for (keep, expected) in [
        ("largest", "b/three.ppm b/twin.ppm"),
        ("shortest-path", "b/twin.ppm b/three.ppm"),
    ] {
        let order = ["--within", "b", "--max-distance", "18", "--keep", keep];
        let found = duplicates(&env, &[&["--media-dir", "media"], &order[..]].concat());
        assert_eq!(names(&found), [expected], "{found}");
    }
}

#[test]
fn programs_get_json_and_csv_and_people_a_page() {
    let env = on_a_line();
    env.write(
        "media/objects.txt",
        "a/one.ppm\na/two.ppm\n\"b,\"/three.ppm\n",
    );
    env.write("media/\"b,\"/three.ppm", ppm(60, 30, 1));
    let common = [
        "--media-dir",
        "media",
        "--max-distance",
        "1.5",
        "--metric",
        "euclidean",
    ];
    let json = duplicates(
        &env,
        &[&common[..], &["--json", "--html", "page.html"]].concat(),
    );
    let found = json.exits(4).json();
    assert_eq!((&found["pairs"], &found["objects"]), (&2.into(), &3.into()));
    let members = found["groups"][0]["members"].as_array().unwrap();
    let member = &members[1];
    assert_eq!(member["path"], "a/two.ppm");
    assert_eq!(
        (&member["width"], &member["distance"]),
        (&40.into(), &1.0.into())
    );
    let csv = duplicates(&env, &[&common[..], &["--csv"]].concat());
    let lines: Vec<&str> = csv.exits(4).stdout.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[1].starts_with("1,1,three.ppm,\"\"\"b,\"\"/three.ppm\",0.0,60,30,"),
        "{csv}"
    );
    let page = std::fs::read_to_string(env.path("page.html")).unwrap();
    assert_eq!(
        page.matches("<img src=\"data:image/jpeg;base64,").count(),
        2,
        "{page}"
    );
    for text in [
        "1 group of duplicates",
        "&quot;b,&quot;/three.ppm",
        "40 x 20 pixels",
        "smaller, fewer bytes",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
fn what_cannot_be_answered_is_refused_with_the_way_out() {
    let env = on_a_line();
    duplicates(&env, &[])
        .exits(1)
        .says(&["give --max-distance", "--histogram"]);
    let near = ["--max-distance", "1"];
    for (more, says) in [
        (["--within", "a"], "--within is about files: --media-dir"),
        (["--html", "page"], "--html shows pictures: --media-dir"),
    ] {
        duplicates(&env, &[&near[..], &more].concat())
            .exits(2)
            .says(&[says]);
    }
    duplicates(
        &env,
        &[&near[..], &["--media-dir", "media", "--against", "none"]].concat(),
    )
    .exits(1)
    .says(&["no listed object is below none"]);
    for wrong in ["-1", "inf", "NaN", "near"] {
        duplicates(&env, &[&format!("--max-distance={wrong}")])
            .exits(2)
            .says(&["must be a number, 0 or more"]);
    }
}

#[test]
fn a_histogram_tells_how_many_pairs_each_distance_gives() {
    let env = on_a_line();
    let found = duplicates(&env, &["--histogram", "--max-distance", "20"]);
    let pairs = |distance: &str| {
        let line = found
            .stdout
            .lines()
            .find(|line| line.split(' ').next() == Some(distance));
        line.unwrap_or_else(|| panic!("{found}"))
            .split(' ')
            .nth(1)
            .unwrap()
    };
    found.exits(0);
    // Two at 20 and two at 50; 0, 1 and 2; and 20 and 2, 1 and 0.
    assert_eq!(
        [pairs("0"), pairs("1"), pairs("2"), pairs("18"), pairs("20")],
        ["2", "4", "5", "7", "11"]
    );
    // The last line is what is asked for, round or not.
    let odd = duplicates(&env, &["--histogram", "--max-distance", "19.3"]);
    assert!(
        odd.exits(0).stdout.ends_with("\n18 7\n19 9\n19.3 9\n"),
        "{odd}"
    );
    // As a picture, which needs no files: a bar for each line, the longest for the most pairs.
    let drawn = duplicates(
        &env,
        &[
            "--histogram",
            "--max-distance",
            "20",
            "--html",
            "chart.html",
        ],
    );
    assert_eq!(drawn.exits(0).stdout, found.stdout);
    let page = std::fs::read_to_string(env.path("chart.html")).unwrap();
    assert_eq!(
        page.matches("<div style=\"width:").count(),
        found.stdout.lines().count()
    );
    assert!(
        page.contains("<th scope=\"row\">20</th><td>11</td><td><div style=\"width:100.0%\">"),
        "{page}"
    );
    // Without a limit it goes far enough to choose one.
    let json = duplicates(&env, &["--histogram", "--json"]);
    let json = json.exits(0).json();
    assert_eq!(
        json["steps"].as_array().unwrap().last().unwrap()["pairs"],
        21
    );
}

#[test]
fn the_model_inside_the_program_needs_no_distance() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    env.picture("one.ppm", 1);
    env.picture("copy.ppm", 1);
    env.picture("other.ppm", 7);
    env.objects(&["one.ppm", "copy.ppm", "other.ppm"]);
    let folders = ["--media-dir", "media", "--feature-dir", "features"];
    let runtime = runtime.to_str().unwrap();
    let extract = ["extract", "--provider", "cpu", "--runtime", runtime];
    env.run(extract.iter().chain(&folders)).exits(0);
    for metric in ["euclidean", "cosine"] {
        let order = ["--keep", "shortest-path", "--metric", metric];
        let found = duplicates(&env, &[&["--media-dir", "media"], &order[..]].concat());
        assert_eq!(names(found.exits(4)), ["one.ppm copy.ppm"], "{found}");
    }
}
