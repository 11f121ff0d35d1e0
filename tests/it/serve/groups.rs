//! The groups of duplicates in `simsearch serve`, and what people decide about them.

use nix::sys::signal::Signal;

use super::client::{Reply, Server};
use crate::TestEnv;
use crate::crash::need_fault_points;
use crate::search::write_shard;

pub const IDS: [&str; 10] = [
    "a0.jpg", "a1.jpg", "b0.jpg", "b1.jpg", "b2.jpg", "c0.jpg", "c1.jpg", "d0.jpg", "d1.jpg",
    "e0.jpg",
];

/// Features on a line: those of one letter are 0.1 apart from their first, and the letters 10.
pub fn environment() -> TestEnv {
    let env = TestEnv::new();
    let rows = IDS.map(|id| {
        let [letter, number] = [0, 1].map(|place| f32::from(id.as_bytes()[place]));
        let feature = vec![10.0 * letter, 0.0625 * (number - 48.0)];
        (id.to_owned(), feature)
    });
    write_shard(&env, 0, &rows);
    env.objects(&IDS);
    env
}

fn groups(reply: &Reply) -> Vec<Vec<String>> {
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    let groups = json["groups"].as_array().unwrap().iter();
    let ids = |group: &serde_json::Value| {
        let members = group.as_array().unwrap().iter();
        members
            .map(|member| member["objectId"].as_str().unwrap().to_owned())
            .collect()
    };
    groups.map(ids).collect()
}

fn decide(server: &Server, body: &str) -> Reply {
    server.ask(
        "POST",
        "/duplicates",
        &[("Content-Type", "application/json")],
        body.as_bytes(),
    )
}

#[test]
fn groups_are_those_of_the_command_and_what_is_decided_leaves_them() {
    let env = environment();
    let server = Server::start(&env, &["--allow-changes"]);
    let command = [
        "duplicates",
        "--feature-dir",
        "features",
        "--media-dir",
        "media",
        "--max-distance",
        "0.2",
        "--json",
    ];
    let printed = env.run(command);
    let expected: Vec<Vec<String>> = (printed.exits(4).json()["groups"].as_array().unwrap().iter())
        .map(|group| {
            let members = group["members"].as_array().unwrap().iter();
            members
                .map(|member| member["object_id"].as_str().unwrap().to_owned())
                .collect()
        })
        .collect();
    assert_eq!(expected.len(), 4);
    let asked = || server.get("/duplicates?maxDistance=0.2");
    assert_eq!(groups(&asked()), expected);
    assert_eq!(asked().json()["allowChanges"], true);
    let one = server.get("/duplicates?maxDistance=0.2&limit=1");
    assert_eq!(groups(&one), expected[..1]);
    assert_eq!(one.json()["undecided"], 4);
    let unknown = server.get("/duplicates");
    assert_eq!(unknown.status, 501, "{unknown:?}");
    let why = unknown.error();
    assert!(why.contains("`maxDistance`"), "{why}");
    assert!(!why.contains("--") && !why.contains('/'), "{why}");
    // The first of three is no duplicate of the others, which still are of each other.
    for other in ["b1.jpg", "b2.jpg"] {
        let body = format!(r#"{{"objectIds":["b0.jpg","{other}"],"keep":null}}"#);
        assert_eq!(decide(&server, &body).status, 204);
    }
    assert_eq!(groups(&asked())[1], ["b1.jpg", "b2.jpg"]);
    let distances = asked().json()["groups"][1].clone();
    assert_eq!(distances[0]["distance"], 0.0);
    assert_eq!(distances[1]["distance"], 0.0625);
    let keep = r#"{"objectIds":["a0.jpg","a1.jpg"],"keep":"a1.jpg"}"#;
    assert_eq!(decide(&server, keep).status, 204);
    assert_eq!(groups(&asked()).len(), 3);
    // What cannot be read is not taken for no decisions, and not written over.
    let file = env.path("features/model.decisions.jsonl");
    let decided = std::fs::read(&file).unwrap();
    let number = decided.iter().filter(|byte| **byte == b'\n').count() + 1;
    std::fs::write(&file, [&decided[..], b"something else\n"].concat()).unwrap();
    let damaged = asked();
    assert_eq!(damaged.status, 500);
    assert!(!damaged.error().contains("features"), "{damaged:?}");
    let which = format!("line {number} is no decision: expected value");
    assert!(damaged.error().ends_with(&which), "{damaged:?}");
    std::fs::write(&file, decided).unwrap();
    // Another server knows it too.
    let again = Server::start(&env, &[]);
    let read_only = again.get("/duplicates?maxDistance=0.2");
    assert_eq!(groups(&read_only), groups(&asked()));
    assert_eq!(read_only.json()["allowChanges"], false);
}

#[test]
fn decisions_are_taken_where_that_is_allowed_and_about_objects_that_are_there() {
    let env = environment();
    let good = r#"{"objectIds":["a0.jpg","a1.jpg"],"keep":null}"#;
    let server = Server::start(&env, &[]);
    let refused = decide(&server, good);
    assert_eq!(refused.status, 403);
    assert!(refused.error().contains("--allow-changes"), "{refused:?}");
    let server = Server::start(&env, &["--allow-changes"]);
    for (body, status) in [
        (r#"{"objectIds":["a0.jpg"],"keep":null}"#, 400),
        (r#"{"objectIds":["a0.jpg","a0.jpg"],"keep":null}"#, 400),
        (r#"{"objectIds":["a0.jpg","a1.jpg"],"keep":"b0.jpg"}"#, 400),
        (r#"{"objectIds":["a0.jpg","none.jpg"],"keep":null}"#, 404),
        (r#"{"objectIds":["a0.jpg","a1.jpg"],"kept":null}"#, 422),
        // One that was left away is not taken for null, which says the opposite.
        (r#"{"objectIds":["a0.jpg","a1.jpg"]}"#, 422),
        ("", 400),
    ] {
        let reply = decide(&server, body);
        assert_eq!(reply.status, status, "{body}: {reply:?}");
        assert!(!reply.error().is_empty());
    }
    // A form of another site cannot send it.
    let plain = server.ask(
        "POST",
        "/duplicates",
        &[("Content-Type", "text/plain")],
        good.as_bytes(),
    );
    assert_eq!(plain.status, 415);
    assert!(!env.path("features/model.decisions.jsonl").exists());
}

#[test]
fn groups_that_cannot_be_found_are_a_fault_of_the_server_and_it_alone_says_where() {
    let env = environment();
    let server = Server::start(&env, &[]);
    let asked = || server.get("/duplicates?maxDistance=0.2");
    let list = env.path("media/objects.txt");
    let before = std::fs::read(&list).unwrap();
    std::fs::remove_file(&list).unwrap();
    let failed = asked();
    assert_eq!(failed.status, 500, "{failed:?}");
    let why = failed.error();
    assert!(!why.contains("objects.txt") && !why.contains('/'), "{why}");
    // As soon as it can be read again, groups are found.
    std::fs::write(&list, before).unwrap();
    assert_eq!(groups(&asked()).len(), 4);
    let said = server.signal(Signal::SIGTERM);
    said.says(&["groups of duplicates cannot be found: ", "objects.txt"]);

    // Nothing is listed any more, or there is nothing yet.
    let empty = TestEnv::new();
    std::fs::create_dir_all(empty.path("features/model")).unwrap();
    empty.objects(&IDS);
    let server = Server::start(&empty, &["--model", "model.onnx"]);
    let reply = server.get("/duplicates?maxDistance=0.2");
    assert_eq!(reply.status, 404, "{reply:?}");
    assert!(!reply.error().contains('/'), "{reply:?}");
}

#[test]
fn a_distance_that_too_many_pairs_are_within_is_refused() {
    let env = TestEnv::new();
    // Of 4,473 equal features there are 10,001,628 pairs.
    let ids = crate::concat::numbered(0..4473);
    let rows: Vec<_> = ids.iter().map(|id| (id.clone(), vec![1.0])).collect();
    write_shard(&env, 0, &rows);
    env.objects(&ids);
    // As where it takes so long that what is found is kept.
    let server = Server::start_with(&env, &[], &[("SIMSEARCH_ENOUGH", "0")]);
    let reply = server.get("/duplicates?maxDistance=0.5");
    assert_eq!(reply.status, 400, "{reply:?}");
    let why =
        "more than 10000000 pairs are within 0.5 of each other; ask for a smaller `maxDistance`";
    assert_eq!(reply.error(), why);
    assert!(!env.path("features/model/duplicates.partial").exists());
}

#[test]
fn the_first_decision_is_durable_before_it_is_answered() {
    need_fault_points!();
    let env = environment();
    let steps = env.argument("steps");
    // The first step of a server.
    let fault = [("SIMSEARCH_FAULT", "EIO 1"), ("SIMSEARCH_STEPS", &steps)];
    let server = Server::start_with(&env, &["--allow-changes"], &fault);
    let body = r#"{"objectIds":["a0.jpg","a1.jpg"],"keep":null}"#;
    let failed = decide(&server, body);
    assert_eq!(failed.status, 500, "{failed:?}");
    assert_eq!(decide(&server, body).status, 204);
    let taken = std::fs::read_to_string(steps).unwrap();
    let name = "sync the directory of decisions";
    assert_eq!(taken, format!("EIO in place of: {name}\n{name}\n"));
}
