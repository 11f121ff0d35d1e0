//! `simsearch serve` beside the commands that change what it serves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::client::{Server, eventually};
use crate::concat::{numbered, write_features};
use crate::search::{on_a_line, write_loose, write_shard};
use crate::{TestEnv, finish, need_runtime, stored_picture};

fn objects(server: &Server) -> u64 {
    server.get("/healthz").json()["objects"].as_u64().unwrap()
}

#[test]
fn new_shards_files_and_lists_are_picked_up() {
    let env = TestEnv::new();
    let ids = numbered(0..30);
    write_features(&env, &ids[..10]);
    env.concat(&[]).exits(0);
    // All but one are listed.
    let mut listed = numbered(0..31);
    listed.remove(20);
    env.objects(&listed);
    let server = Server::start(&env, &[]);
    assert_eq!(objects(&server), 10);
    assert_eq!(server.get("/similar/00015.jpg").status, 404);
    // Per-object files, as `extract` writes them.
    write_features(&env, &ids);
    eventually("19 files are there", || objects(&server) == 29);
    assert_eq!(server.similar("00015.jpg", 30).len(), 29);
    // The same as shards.
    env.concat(&["--rows", "5"]).exits(0);
    eventually("they are in shards", || {
        server.metric("simsearch_shards") == 5.0
    });
    assert_eq!(objects(&server), 29);
    assert_eq!(
        server.similar("00029.jpg", 1),
        [("00029.jpg".to_owned(), 0.0)]
    );
    // A picture, once it is listed.
    env.write("media/b/00020.jpg", stored_picture("jpeg_420.jpg"));
    assert_eq!(server.get("/object/00020.jpg").status, 404);
    assert_eq!(server.get("/similar/00020.jpg").status, 404);
    listed.push("b/00020.jpg".to_owned());
    env.objects(&listed);
    eventually("the list is read again", || {
        server.get("/object/00020.jpg").status == 200
    });
    eventually("its feature is there, too", || objects(&server) == 30);
    assert_eq!(server.get("/similar/00020.jpg").status, 200);
    // A list that cannot be read leaves the one of before.
    std::fs::remove_file(env.path("media/objects.txt")).unwrap();
    write_features(&env, &numbered(0..31));
    eventually("one more", || objects(&server) == 31);
    assert_eq!(server.get("/object/00020.jpg").status, 200);
}

#[test]
fn an_id_whose_file_is_another_one_now_is_not_shown_until_that_is_extracted() {
    need_runtime!();
    let env = TestEnv::new();
    let write = |entry: &str, picture: &str| {
        env.write(Path::new("media").join(entry), stored_picture(picture));
    };
    write("2021/IMG_0001.jpg", "jpeg_420.jpg");
    write("2021/IMG_0002.jpg", "jpeg_230x340.jpg");
    env.list(&[]).exits(0);
    env.extract("nhwc", &[]).exits(0);
    env.concat(&[]).exits(0);
    let server = Server::start(&env, &[]);
    assert_eq!(server.similar("IMG_0001.jpg", 9).len(), 2);
    // It comes first in the list, and has no feature yet.
    write("2020/IMG_0001.jpg", "jpeg_230x340.jpg");
    env.list(&[]).exits(3);
    eventually("the old feature is gone", || {
        server.get("/similar/IMG_0001.jpg").status == 404
    });
    let ids = |found: Vec<(String, f64)>| found.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(server.similar("IMG_0002.jpg", 9)), ["IMG_0002.jpg"]);
    // A page that shows the old feature would get the new picture.
    assert_eq!(server.get("/object/IMG_0001.jpg").status, 404);
    env.extract("nhwc", &[]).exits(0);
    eventually("the new feature is there", || {
        server.get("/similar/IMG_0001.jpg").status == 200
    });
    let found = server.similar("IMG_0002.jpg", 9);
    let expected = ["IMG_0002.jpg", "IMG_0001.jpg"].map(|id| (id.to_owned(), 0.0));
    assert_eq!(found, expected);
    let picture = stored_picture("jpeg_230x340.jpg");
    assert_eq!(server.get("/object/IMG_0001.jpg").body, picture);
    env.concat(&[]).exits(0);
    assert_eq!(server.similar("IMG_0002.jpg", 9), expected);
    assert_eq!(server.get("/object/IMG_0001.jpg").body, picture);
}

#[test]
fn a_picture_that_is_replaced_is_not_shown_as_the_one_that_its_feature_is_of() {
    need_runtime!();
    for ids in ["name", "path"] {
        let env = TestEnv::new();
        env.write("media/a.jpg", stored_picture("jpeg_420.jpg"));
        env.list(&[]).exits(0);
        env.extract("nhwc", &["--ids", ids]).exits(0);
        let server = Server::start(&env, &[]);
        for packed in [false, true] {
            if packed {
                env.concat(&[]).exits(0);
                eventually("it is packed", || server.metric("simsearch_shards") == 1.0);
            }
            let addresses = ["/object/a.jpg", "/thumbnail/a.jpg"];
            let statuses = || addresses.map(|address| server.get(address).status);
            assert_eq!(statuses(), [200, 200]);
            // A browser that has the picture asks whether it is still the same.
            let tags = addresses.map(|address| {
                let reply = server.get(address);
                assert!(reply.header("cache-control").contains("no-cache"));
                reply.header("etag").to_owned()
            });
            let ask_again = || {
                [0, 1].map(|at| {
                    let known = ("If-None-Match", &*tags[at]);
                    let reply = server.ask("GET", addresses[at], &[known], b"");
                    (reply.status, reply.body.is_empty())
                })
            };
            assert_eq!(ask_again(), [(304, true); 2]);
            for tag in ["*", &format!("\"x\", W/{}", tags[0])] {
                let reply = server.ask("GET", addresses[0], &[("If-None-Match", tag)], b"");
                assert_eq!(reply.status, 304, "{tag}");
            }
            let new = ["jpeg_230x340.jpg", "jpeg_420.jpg"][usize::from(packed)];
            env.write("media/a.jpg", stored_picture(new));
            assert_eq!(statuses(), [404, 404]);
            let why = server.get(addresses[0]).json();
            let why = why["error"].as_str().unwrap();
            assert!(why.contains("has changed since its feature was made"));
            env.extract("nhwc", &[]).exits(0);
            eventually("the new feature is there", || statuses() == [200, 200]);
            assert_eq!(ask_again(), [(200, false); 2]);
            assert_eq!(server.get(addresses[0]).body, stored_picture(new));
        }
    }
}

#[test]
fn objects_whose_ids_are_paths_are_served_as_themselves() {
    need_runtime!();
    let env = TestEnv::new();
    let pictures = [
        ("2020/IMG_0001.jpg", "jpeg_420.jpg"),
        ("2021/IMG_0001.jpg", "jpeg_230x340.jpg"),
        ("2021/a b#?%2F&é..jpg", "jpeg_420.jpg"),
    ];
    for (entry, picture) in pictures {
        env.write(Path::new("media").join(entry), stored_picture(picture));
    }
    // There are no features yet, so that nothing says what the ids are.
    std::fs::create_dir_all(env.path("features/nhwc")).unwrap();
    env.list(&["--ids", "path"]).exits(0);
    let server = Server::start(&env, &["--model", "nhwc"]);
    env.extract("nhwc", &["--ids", "path"]).exits(0);
    eventually("they are there", || objects(&server) == 3);
    for packed in [false, true] {
        if packed {
            env.concat(&[]).exits(0);
            eventually("they are packed", || {
                server.metric("simsearch_shards") == 1.0
            });
        }
        for (entry, picture) in pictures {
            // As a page writes it, and, where that can be, as people do.
            let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            };
            let mut addresses = vec![entry.bytes().map(byte).collect::<String>()];
            if !entry.contains('#') {
                addresses.push(entry.to_owned());
            }
            for address in addresses {
                let found = server.get(&format!("/similar/{address}?limit=1")).json();
                assert_eq!(found["queryObjectId"], entry);
                assert_eq!(found["similarImages"][0]["objectId"], entry);
                assert_eq!(found["similarImages"][0]["path"], entry);
                let file = server.get(&format!("/object/{address}"));
                assert_eq!(file.body, stored_picture(picture), "{address}");
                let small = server.get(&format!("/thumbnail/{address}?size=64"));
                assert_eq!(small.status, 200);
            }
        }
        for address in ["IMG_0001.jpg", "2022/IMG_0001.jpg", "2020", "2020/", ""] {
            for kind in ["similar", "object", "thumbnail"] {
                let reply = server.get(&format!("/{kind}/{address}"));
                assert_eq!(reply.status, 404, "{kind} {address}");
            }
        }
        let random = server.get("/random?limit=9").json();
        let mut ids: Vec<String> = serde_json::from_value(random["objectIds"].clone()).unwrap();
        ids.sort();
        assert_eq!(ids, pictures.map(|(entry, _)| entry));
    }
}

#[test]
fn a_file_that_is_written_again_under_its_name_is_read_again() {
    let env = TestEnv::new();
    let mut rows = on_a_line(&["0000a.jpg", "0000b.jpg", "0000c.jpg"]);
    write_loose(&env, &rows);
    env.objects(&["0000a.jpg", "0000b.jpg", "0000c.jpg"]);
    let server = Server::start(&env, &[]);
    let neighbours = |id: &str, distances: [f64; 3]| {
        let of = |(id, distance): (&str, f64)| (id.to_owned(), distance);
        let expected = ["0000a.jpg", "0000b.jpg", "0000c.jpg"].into_iter();
        let mut expected: Vec<_> = expected.zip(distances).map(of).collect();
        expected.sort_by(|one, other| one.1.total_cmp(&other.1));
        server.similar(id, 3) == expected
    };
    assert!(neighbours("0000a.jpg", [0.0, 1.0, 2.0]));
    // As `extract` does for an object whose file was removed; there are as many files of the same lengths all the time.
    rows[1].1[0] = 7.0;
    write_loose(&env, &rows[1..2]);
    eventually("it is where it was moved to", || {
        neighbours("0000a.jpg", [0.0, 7.0, 2.0])
    });
    assert!(neighbours("0000b.jpg", [7.0, 0.0, 5.0]));
}

#[test]
fn no_object_is_missed_or_there_twice_while_concat_runs() {
    let env = TestEnv::new();
    let ids = numbered(0..900);
    let all: BTreeSet<String> = ids.iter().cloned().collect();
    env.objects(&ids);
    write_features(&env, &ids);
    let server = Server::start(&env, &[]);
    let mut answers = 0;
    std::thread::scope(|scope| {
        let concat = scope.spawn(|| {
            // Shard after shard, so that there is always one on its way when the server looks.
            let arguments = ["concat", "--feature-dir", "features", "--rows", "3"];
            finish(env.command(arguments))
        });
        let check = || {
            let found = server.similar("00450.jpg", 1000);
            let distinct: BTreeSet<String> = found.iter().map(|(id, _)| id.clone()).collect();
            assert_eq!(found.len(), distinct.len(), "some are there twice");
            assert_eq!(distinct, all);
        };
        while !concat.is_finished() {
            check();
            answers += 1;
        }
        concat.join().unwrap().exits(0);
        eventually("all is in shards", || {
            check();
            server.metric("simsearch_shards") == 300.0
        });
    });
    assert!(answers > 3, "only {answers} answers while it ran");
}

#[test]
fn shards_that_were_replaced_are_let_go() {
    let env = TestEnv::new();
    let mut rows = on_a_line(&["0000a.jpg", "0000b.jpg", "0000c.jpg"]);
    write_shard(&env, 0, &rows);
    env.objects(&["0000a.jpg", "0000b.jpg", "0000c.jpg"]);
    let server = Server::start(&env, &[]);
    let gone = || {
        let maps = fs::read_to_string(format!("/proc/{}/maps", server.process())).unwrap();
        let gone = maps.lines().filter(|line| line.ends_with(".npy (deleted)"));
        gone.map(str::to_owned).collect::<Vec<_>>()
    };
    let last = || server.similar("0000a.jpg", 3).pop().unwrap();
    assert_eq!(last(), ("0000c.jpg".to_owned(), 2.0));
    rows[2].1[0] = 7.0;
    write_shard(&env, 1, &rows);
    for part in ["features", "object_ids"] {
        fs::remove_file(env.path(format!("features/model/0000.{part}.npy"))).unwrap();
    }
    eventually("the new shard is read", || last().1 == 7.0);
    eventually("the old one is let go", || gone().is_empty());
}
