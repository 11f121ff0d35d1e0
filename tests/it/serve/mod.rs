//! `simsearch serve`: what it answers, and how it begins and ends.

mod addresses;
mod browser;
pub mod client;
mod groups;
mod live;
mod refusals;
mod token;

use std::path::Path;

use nix::sys::signal::Signal;

use crate::concat::{feature, numbered, write_features};
use crate::search::{on_a_line, search, write_shard};
use crate::{ROOT, TestEnv, feature_file, need_runtime, ppm, stored_picture, succeed};
use client::Server;

/// Objects 00000.jpg and so on with the features of `concat`'s tests, in two shards and three files; of two the picture
/// is there.
fn environment() -> (TestEnv, Vec<String>) {
    let env = TestEnv::new();
    let ids = numbered(0..11);
    write_features(&env, &ids);
    env.concat(&["--rows", "4", "--full-only"]).exits(0);
    env.write("media/a/00000.jpg", stored_picture("jpeg_230x340.jpg"));
    env.write("media/b/00001.jpg", ppm(300, 100, 1));
    let folders = ["a", "b"].into_iter().chain(std::iter::repeat("c"));
    let entries = ids.iter().zip(folders);
    let entries: Vec<String> = entries
        .map(|(id, folder)| format!("{folder}/{id}"))
        .collect();
    env.objects(&entries);
    (env, ids)
}

#[test]
fn the_neighbours_of_an_object_are_those_of_brute_force() {
    let (env, ids) = environment();
    let server = Server::start(&env, &[]);
    for (query, limit) in [(0, 11), (5, 3), (10, 1), (9, 100)] {
        let distance = |one: usize, other: usize| -> f64 {
            let pairs = feature(one).into_iter().zip(feature(other));
            let squares = pairs.map(|(one, other)| (f64::from(one) - f64::from(other)).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let mut expected: Vec<(String, f64)> = ids
            .iter()
            .enumerate()
            .map(|(index, id)| (id.clone(), distance(query, index)))
            .collect();
        expected.sort_by(|one, other| one.1.total_cmp(&other.1).then(one.0.cmp(&other.0)));
        expected.truncate(limit);
        let found = server.similar(&ids[query], limit);
        let ids = |list: &[(String, f64)]| list.iter().map(|one| one.0.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&found), ids(&expected), "{query} {limit}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found.1 - expected.1).abs() < 1e-6,
                "{found:?} {expected:?}"
            );
        }
    }
    let answer = server.get("/similar/00005.jpg").json();
    assert_eq!(answer["queryObjectId"], "00005.jpg");
    assert!(answer["time"].as_f64().unwrap() > 0.0, "{answer}");
}

#[test]
fn an_object_is_its_own_first_neighbour_before_others_of_the_same_feature() {
    let env = TestEnv::new();
    let mut rows = on_a_line(&["a.jpg", "b.jpg", "c.jpg"]);
    rows[1].1 = rows[0].1.clone();
    write_shard(&env, 0, &rows);
    env.objects(&["a.jpg", "b.jpg", "c.jpg"]);
    let server = Server::start(&env, &[]);
    for (query, expected) in [
        ("a.jpg", [("a.jpg", 0.0), ("b.jpg", 0.0), ("c.jpg", 2.0)]),
        ("b.jpg", [("b.jpg", 0.0), ("a.jpg", 0.0), ("c.jpg", 2.0)]),
    ] {
        for limit in [1, 2, 3, 100] {
            let expected: Vec<_> = (expected.iter().take(limit))
                .map(|(id, distance)| ((*id).to_owned(), *distance))
                .collect();
            assert_eq!(server.similar(query, limit), expected);
        }
    }
    // Those who share a scan, with each other's limits, are asked in `src/server/scans.rs`.
}

#[test]
fn an_object_whose_feature_is_not_finite_is_no_query() {
    let env = TestEnv::new();
    let mut rows = on_a_line(&["a.jpg", "b.jpg", "c.jpg"]);
    rows[1].1[0] = f32::NAN;
    write_shard(&env, 0, &rows);
    env.objects(&["a.jpg", "b.jpg", "c.jpg"]);
    let server = Server::start(&env, &[]);
    let refused = server.get("/similar/b.jpg");
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.error().contains("not finite"), "{refused:?}");
    search(&env, &["b.jpg"]).exits(1).says(&["not finite"]);
    let found = server.similar("a.jpg", 9);
    let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["a.jpg", "c.jpg"]);
}

#[test]
fn neighbours_by_the_cosine_are_those_of_search() {
    let env = TestEnv::new();
    // By their directions in another order than by their places.
    let rows = [
        ("a.jpg", [1.0, 0.0]),
        ("b.jpg", [9.0, 1.0]),
        ("c.jpg", [1.0, 1.0]),
    ];
    let rows = rows.map(|(id, feature)| (id.to_owned(), feature.to_vec()));
    write_shard(&env, 0, &rows);
    env.objects(&["a.jpg", "b.jpg", "c.jpg"]);
    let server = Server::start(&env, &[]);
    let ids = |found: Vec<(String, f64)>| -> Vec<String> {
        let ids = found.into_iter().map(|(id, _)| id);
        ids.collect()
    };
    for metric in ["", "&metric=euclidean"] {
        let reply = server.get(&format!("/similar/a.jpg?limit=3{metric}"));
        assert_eq!(ids(reply.similar()), ["a.jpg", "c.jpg", "b.jpg"]);
    }
    let found = server.get("/similar/a.jpg?limit=3&metric=cosine").similar();
    let searched = search(&env, &["a.jpg", "--metric", "cosine", "--json"]);
    let expected = searched.exits(0).json()["neighbours"].clone();
    let expected: Vec<(String, f64)> = (expected.as_array().unwrap().iter())
        .map(|one| {
            let id = one["object_id"].as_str().unwrap().to_owned();
            (id, one["distance"].as_f64().unwrap())
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(ids(found), ["a.jpg", "b.jpg", "c.jpg"]);
}

#[test]
fn neighbours_come_up_to_a_distance_and_at_it() {
    let env = TestEnv::new();
    write_shard(&env, 0, &on_a_line(&["a.jpg", "b.jpg", "c.jpg"]));
    env.objects(&["a.jpg", "b.jpg", "c.jpg"]);
    let server = Server::start(&env, &[]);
    for (asked, expected) in [("1", 2), ("0.999", 1), ("0", 1), ("1e9", 3)] {
        let reply = server.get(&format!("/similar/a.jpg?maxDistance={asked}&limit=10"));
        assert_eq!(reply.similar().len(), expected, "{asked}");
    }
    let reply = server.get("/similar/a.jpg?maxDistance=1&metric=cosine&limit=2");
    assert_eq!(reply.similar().len(), 2);
    for wrong in ["-1", "NaN", "near", ""] {
        let reply = server.get(&format!("/similar/a.jpg?maxDistance={wrong}"));
        assert_eq!(reply.status, 400, "{wrong}");
    }
}

#[test]
fn neighbours_in_a_folder_and_through_an_index_are_those_of_search() {
    let (env, ids) = environment();
    // Without an index there is no approximate answer.
    let server = Server::start(&env, &[]);
    let approximate = |metric: &str| {
        server.get(&format!(
            "/similar/00002.jpg?limit=5&metric={metric}&approximate=true"
        ))
    };
    let refused = approximate("euclidean");
    assert_eq!(refused.status, 501, "{refused:?}");
    assert!(refused.error().contains("simsearch index"), "{refused:?}");
    std::fs::create_dir(env.path("features/model/index.usearch")).unwrap();
    let refused = approximate("euclidean");
    assert_eq!(refused.status, 501, "{refused:?}");
    assert!(!refused.error().contains("features/"), "{refused:?}");
    std::fs::remove_dir(env.path("features/model/index.usearch")).unwrap();
    env.run(["index", "--feature-dir", "features"]).exits(0);
    assert_eq!(approximate("cosine").status, 501);
    assert!(approximate("cosine").error().contains("--metric cosine"));
    // More than there are, so that the graph may miss none.
    let found = approximate("euclidean").similar();
    assert_eq!(found, server.similar("00002.jpg", 5));
    // What is said to be the way out is one, without another start.
    for metric in ["cosine", "euclidean"] {
        env.run(["index", "--feature-dir", "features", "--metric", metric])
            .exits(0);
        let found = approximate(metric).similar();
        let exact = server.get(&format!("/similar/00002.jpg?limit=5&metric={metric}"));
        assert_eq!(found, exact.similar());
    }

    let searched = |more: &[&str]| -> Vec<(String, f64)> {
        let media = ["--media-dir", "media", "--json", "-k", "11"];
        let outcome = search(&env, &[&[ids[2].as_str()][..], &media, more].concat());
        let json = outcome.exits(0).json();
        let neighbours = json["neighbours"].as_array().unwrap();
        let each = neighbours.iter().map(|one| {
            let id = one["object_id"].as_str().unwrap().to_owned();
            (id, one["distance"].as_f64().unwrap())
        });
        each.collect()
    };
    for (folder, count) in [("c", 9), ("a/", 1), (".", 11)] {
        let expected = searched(&["--within", folder]);
        assert_eq!(expected.len(), count);
        let found = server.get(&format!("/similar/00002.jpg?within={folder}"));
        assert_eq!(found.similar(), expected, "{folder}");
    }
    let everywhere = server.get("/similar/00002.jpg?within=").similar();
    assert_eq!(everywhere, searched(&[]));
    // The list says what is in a folder, as soon as it is another one.
    env.write(
        "media/objects.txt",
        "d/00002.jpg
a/00003.jpg
d/00004.jpg
",
    );
    client::eventually("the new folder", || {
        let reply = server.get("/similar/00002.jpg?within=d");
        reply.status == 200 && reply.similar().len() == 2
    });
}

#[test]
fn the_interface_is_described_for_programs() {
    let mut python = crate::need_python!("openapi_spec_validator", "jsonschema");
    let (env, _) = environment();
    let server = Server::start(&env, &[]);
    let url = format!("http://{}", server.address);
    let script = Path::new(ROOT).join("tests/openapi/check.py");
    let checked = succeed(python.arg(script).arg(url).arg("00000.jpg"));
    assert_eq!(checked, "18 answers are as described\n");
    let document = server.get("/openapi.json").json();
    assert!(document["paths"]["/similar"]["post"].is_object());
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    // Below a path, it says so.
    let server = Server::start(&env, &["--base-path", "/b", "--trust-proxy"]);
    for (headers, url) in [(&[][..], "/b"), (&[("X-Forwarded-Prefix", "/a")], "/a/b")] {
        let document = server.ask("GET", "/b/openapi.json", headers, b"").json();
        assert_eq!(document["servers"], serde_json::json!([{ "url": url }]));
    }
}

#[test]
fn a_hundred_neighbours_come_where_no_limit_is_given() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..103));
    env.objects(&numbered(0..103));
    let server = Server::start(&env, &[]);
    let found = server.get("/similar/00001.jpg").similar();
    let mut found: Vec<String> = found.into_iter().map(|(id, _)| id).collect();
    assert_eq!(found[0], "00001.jpg");
    // The features lie on a line, in the order of the ids.
    found.sort();
    assert_eq!(found, numbered(0..100));
}

#[test]
fn of_queries_at_once_each_gets_its_own_answer() {
    let (env, ids) = environment();
    let server = Server::start(&env, &[]);
    let alone: Vec<_> = ids.iter().map(|id| server.similar(id, 5)).collect();
    std::thread::scope(|scope| {
        for client in 0..16 {
            let (server, ids, alone) = (&server, &ids, &alone);
            scope.spawn(move || {
                for turn in 0..30 {
                    let query = (client + turn) % ids.len();
                    let limit = 1 + turn % 5;
                    let found = server.similar(&ids[query], limit);
                    assert_eq!(found, alone[query][..limit]);
                }
            });
        }
    });
    let asked = (ids.len() + 16 * 30) as f64;
    assert_eq!(server.metric("simsearch_queries_total"), asked);
    // That they share scans is tested in `src/server/scans.rs`, where chance has no part in it.
}

#[test]
fn an_uploaded_picture_is_nearest_to_itself_as_a_body_and_as_a_form() {
    need_runtime!();
    let env = TestEnv::new();
    let entries: Vec<String> = (0..6).map(|seed| format!("picture{seed}.ppm")).collect();
    for (seed, entry) in entries.iter().enumerate() {
        env.picture(entry, seed);
    }
    env.objects(&entries);
    env.extract("nhwc", &[]).exits(0);
    let model = crate::model_file("nhwc");
    let server = Server::start(&env, &["--model", model.to_str().unwrap()]);
    assert_eq!(server.get("/healthz").json()["uploads"], true);
    for (seed, entry) in entries.iter().enumerate() {
        let picture = ppm(30, 20, seed);
        let body = server.ask("POST", "/similar?limit=2", &[], &picture);
        assert_eq!(body.status, 200, "{body:?}");
        assert_eq!(body.json()["queryObjectId"], serde_json::Value::Null);
        let found = body.similar();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], (entry.clone(), 0.0));
        assert_eq!(body.json()["similarImages"][0]["path"], *entry);
        assert!(found[1].1 > 0.0, "{found:?}");
        let before = "--edge\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--edge\r\n\
            Content-Disposition: form-data; name=\"f\"; filename=\"p.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n";
        let form = [before.as_bytes(), &picture, b"\r\n--edge--\r\n"].concat();
        let kind = ("Content-Type", "multipart/form-data; boundary=edge");
        let form = server.ask("POST", "/similar?limit=2", &[kind], &form);
        assert_eq!(form.similar(), found);
    }
}

#[test]
fn the_picture_of_an_object_comes_as_it_is_and_small() {
    let (env, _) = environment();
    let server = Server::start(&env, &[]);
    let whole = server.get("/object/00000.jpg");
    assert_eq!(whole.status, 200);
    assert_eq!(whole.header("content-type"), "image/jpeg");
    assert_eq!(whole.body, stored_picture("jpeg_230x340.jpg"));
    // The bytes tell, not the name.
    let other = server.get("/object/00001.jpg");
    assert_eq!(other.header("content-type"), "image/x-portable-anymap");
    for (query, side) in [("", 256), ("?size=64", 64)] {
        let small = server.get(&format!("/thumbnail/00001.jpg{query}"));
        assert_eq!(small.header("content-type"), "image/jpeg");
        let mut reader = simsearch::pictures::PictureReader::new(Default::default());
        let (size, _) = reader.decode(&small.body).unwrap();
        assert_eq!(size.width, side);
        assert!(size.height.abs_diff(side / 3) <= 1, "{size:?}");
    }
}

#[test]
fn the_feature_of_an_object_is_given_and_is_a_query() {
    let (env, ids) = environment();
    // No model is there to be loaded.
    let server = Server::start(&env, &[]);
    let given = server.get(&format!("/feature/{}", ids[3])).json();
    assert_eq!(given["objectId"], ids[3]);
    let feature: Vec<f32> = serde_json::from_value(given["feature"].clone()).unwrap();
    let printed = search(&env, &[&ids[3], "--json", "--feature"]);
    let printed: Vec<f32> = serde_json::from_value(printed.json()["feature"].clone()).unwrap();
    assert_eq!(feature, printed);
    let ask = |body: &[u8]| server.ask("POST", "/similar?limit=5", &[], body);
    let found = ask(&feature_file(&feature)).similar();
    assert_eq!(found, server.similar(&ids[3], 5));
    for (body, why) in [
        (feature_file(&feature[1..]), "the features here have 5"),
        (feature_file(&feature)[..140].to_vec(), "bytes long"),
    ] {
        let refused = ask(&body);
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(refused.error().contains(why), "{refused:?}");
    }
    assert_eq!(server.get("/feature/nobody.jpg").status, 404);
    assert_eq!(server.get(&format!("/feature/{}?k=1", ids[3])).status, 400);
}

#[test]
fn the_page_and_what_a_machine_asks_are_there() {
    let (env, ids) = environment();
    let server = Server::start(&env, &[]);
    let page = server.get("/");
    assert!(page.header("content-type").starts_with("text/html"));
    let html = String::from_utf8(page.body).unwrap();
    let files: Vec<&str> = (html.split(['"']))
        .filter(|text| text.starts_with("page/"))
        .collect();
    assert!(files.len() >= 3, "{html}");
    for file in files {
        assert_eq!(server.get(&format!("/{file}")).status, 200, "{file}");
    }
    let health = server.get("/healthz").json();
    assert_eq!(
        (&health["status"], &health["objects"]),
        (&"ok".into(), &11.into())
    );
    // No model made these features, so that nothing can be compared with them.
    assert_eq!(health["uploads"], false);
    assert!(server.said.contains("pictures cannot be uploaded: "));
    let refused = server.ask("POST", "/similar", &[], &ppm(9, 9, 1));
    assert_eq!(refused.status, 501);
    assert!(!refused.error().contains("features/"), "{refused:?}");
    for limit in [1, 5, 1000] {
        let random = server.get(&format!("/random?limit={limit}")).json();
        let mut random: Vec<String> = serde_json::from_value(random["objectIds"].clone()).unwrap();
        assert!(random.iter().all(|id| ids.contains(id)), "{random:?}");
        random.sort();
        random.dedup();
        assert_eq!(random.len(), limit.min(ids.len()));
    }
    assert_eq!(server.metric("simsearch_objects"), 11.0);
    assert_eq!(server.metric("simsearch_shards"), 2.0);
    let random = r#"simsearch_request_seconds_count{endpoint="random",status="200"}"#;
    assert_eq!(server.metric(random), 3.0);
    // Buckets hold all that took less; the last holds everything.
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let buckets = text.lines().filter(|line| {
        line.starts_with("simsearch_request_seconds_bucket") && line.contains("\"random\"")
    });
    let counts: Vec<&str> = buckets
        .filter_map(|line| line.split(' ').next_back())
        .collect();
    assert!(counts.len() > 10 && counts.is_sorted(), "{text}");
    assert_eq!(counts.last(), Some(&"3"));
    assert!(text.contains("# TYPE simsearch_request_seconds histogram\n"));
}

#[test]
fn a_signal_ends_it_cleanly_whoever_is_still_connected() {
    let (env, _) = environment();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = Server::start(&env, &[]);
        let _idle = server.connect();
        assert_eq!(server.get("/healthz").status, 200);
        server.signal(signal).exits(0);
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (env, _) = environment();
    let server = Server::start(&env, &[]);
    let address = server.address.to_string();
    let arguments = [
        "serve",
        "--media-dir",
        "media",
        "--feature-dir",
        "features",
        "--listen",
        &address,
    ];
    let outcome = env.run(arguments);
    outcome.exits(1).says(&[&address, "--listen", "in use"]);
    env.run([&arguments[..5], &["--listen", "example.org:80"]].concat())
        .exits(2);
}
