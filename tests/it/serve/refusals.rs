//! What `simsearch serve` refuses, and what it stands.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::client::{Reply, Server, eventually, read_reply};
use super::environment;
use crate::{TestEnv, need_runtime, plain_ppm, stored_picture};

/// The headers that every answer has.
#[track_caller]
fn assert_guarded(reply: &Reply) {
    let policy = reply.header("content-security-policy");
    assert!(policy.contains("default-src 'none'"), "{reply:?}");
    assert!(!policy.contains("unsafe"), "{reply:?}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(reply.header(name), value, "{reply:?}");
    }
}

#[test]
fn ids_are_looked_up_and_lead_nowhere_else() {
    let (env, _) = environment();
    env.write("media/secret.txt", "secret: not listed");
    env.write("secret.txt", "secret: outside");
    // Pictures, so that nothing but where they are keeps them from being served.
    env.write("secret.jpg", stored_picture("jpeg_420.jpg"));
    env.write("media/unlisted.jpg", stored_picture("jpeg_420.jpg"));
    env.write("media/text.jpg", "secret: no picture");
    symlink(env.path("secret.jpg"), env.path("media/link.jpg")).unwrap();
    fs::create_dir(env.path("media/folder.jpg")).unwrap();
    let listed = "a/00000.jpg\nb/00001.jpg\ntext.jpg\nlink.jpg\nfolder.jpg\ngone.jpg\n../secret.jpg\n/etc/passwd\n";
    env.write("media/objects.txt", listed);
    let server = Server::start(&env, &[]);
    let long = "a".repeat(60_000);
    let ids = [
        "..%2fsecret.txt",
        "..%2fsecret.jpg",
        "secret.jpg",
        "unlisted.jpg",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/secret.txt",
        "../secret.txt",
        "a%2f00000.jpg",
        "%2fetc%2fpasswd",
        "passwd",
        "secret.txt",
        "objects.txt",
        "00000.jpg%00",
        "%00",
        "%ff%fe",
        "%",
        ".",
        "",
        &long,
        "text.jpg",
        "link.jpg",
        "folder.jpg",
        "gone.jpg",
        "00000.jpg%0d%0aSet-Cookie:x=1",
    ];
    for id in ids {
        for address in ["object", "thumbnail", "similar", "page"] {
            let reply = server.get(&format!("/{address}/{id}"));
            assert!(
                (400..500).contains(&reply.status),
                "{address} {id}: {reply:?}"
            );
            let body = String::from_utf8_lossy(&reply.body);
            assert!(
                !body.contains("secret:") && !body.contains("root:"),
                "{address} {id}"
            );
            assert!(!reply.error().is_empty());
            assert_guarded(&reply);
        }
    }
    for folder in ["/object", "/object/", "/page/", "/a/", "/media"] {
        assert_eq!(server.get(folder).status, 404, "{folder}");
    }
}

#[test]
fn pictures_behind_links_are_shown_where_that_is_asked_for_and_only_those_that_are_listed() {
    let env = TestEnv::new();
    let picture = stored_picture("jpeg_420.jpg");
    env.picture("object/a.jpg", 1);
    env.write("elsewhere/listed.jpg", &picture);
    env.write("elsewhere/text.txt", "secret: not a picture");
    symlink(env.path("elsewhere"), env.path("media/object/folder")).unwrap();
    env.list(&["--follow-links"]).exits(0);
    // It came after the list.
    env.write("elsewhere/unlisted.jpg", &picture);
    let ids = ["a.jpg", "listed.jpg", "unlisted.jpg", "text.txt"];
    crate::concat::write_features(&env, &ids);
    for (more, expected) in [
        (&[][..], [200, 404, 404, 404]),
        (&["--follow-links"], [200, 200, 404, 404]),
    ] {
        let server = Server::start(&env, more);
        // Nor is it told how long or how large a picture outside is.
        let groups = server.get("/duplicates?maxDistance=1e9").json();
        let members = groups["groups"][0].as_array().unwrap();
        for (id, expected) in ids.iter().zip(expected).take(2) {
            let member = members.iter().find(|member| member["objectId"] == *id);
            let member = member.unwrap_or_else(|| panic!("{id}: {groups}"));
            for fact in ["width", "height", "bytes"] {
                assert_eq!(member[fact].is_u64(), expected == 200, "{more:?} {member}");
            }
        }
        for (id, expected) in ids.iter().zip(expected) {
            for address in ["object", "thumbnail"] {
                let reply = server.get(&format!("/{address}/{id}"));
                assert_eq!(reply.status, expected, "{address} {id}: {reply:?}");
            }
        }
        let path = "/object/folder%2funlisted.jpg";
        assert_eq!(server.get(path).status, 404);
    }
}

#[test]
fn what_is_asked_in_the_wrong_way_is_told_so() {
    let (env, _) = environment();
    let server = Server::start(&env, &[]);
    for (path, status) in [
        ("/nothing", 404),
        ("/similar/none.jpg", 404),
        ("/similar/00000.jpg?limit=0", 400),
        ("/similar/00000.jpg?limit=10001", 400),
        ("/similar/00000.jpg?limit=-1", 400),
        ("/similar/00000.jpg?limit=many", 400),
        ("/random?limit=99999999999999999999", 400),
        ("/thumbnail/00000.jpg?size=15", 400),
        ("/thumbnail/00000.jpg?size=100000", 400),
        ("/similar", 400),
    ] {
        let reply = server.get(path);
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        assert!(!reply.error().is_empty());
        assert_guarded(&reply);
    }
    for method in ["PUT", "DELETE", "PATCH"] {
        assert_eq!(
            server.ask(method, "/object/00000.jpg", &[], b"").status,
            405
        );
    }
    for path in [
        "/",
        "/healthz",
        "/metrics",
        "/object/00000.jpg",
        "/similar/00000.jpg",
    ] {
        let reply = server.get(path);
        assert_eq!(reply.status, 200);
        assert_guarded(&reply);
    }
}

#[test]
fn parameters_and_metrics_that_do_not_exist_are_named() {
    let (env, _) = environment();
    let server = Server::start(&env, &[]);
    for (path, why) in [
        (
            "/similar/00000.jpg?metric=cosine&maxDistance=1&k=2",
            "there is no parameter `k`: this address takes `limit`, `metric`, `maxDistance`, `within`, `approximate`",
        ),
        (
            "/similar?k=2&text=red",
            "there is no parameter `k`: this address takes `limit`, `metric`, `maxDistance`, `within`, `approximate`, `text`",
        ),
        (
            "/similar/00000.jpg?text=red",
            "there is no parameter `text`: this address takes",
        ),
        (
            "/similar/00000.jpg?limit=2&limit=3",
            "the parameter `limit` is given twice",
        ),
        (
            "/similar/00000.jpg?limit=many",
            "the parameter `limit` cannot be `many`: ",
        ),
        ("/similar?limit=2", "the parameter `text` is missing"),
        (
            "/similar/00000.jpg?within=none",
            "no listed object is below",
        ),
        (
            "/similar/00000.jpg?within=../a",
            "no listed object is below",
        ),
        (
            "/similar/00000.jpg?within=a&approximate=true",
            "leave out `approximate`",
        ),
        (
            "/similar/00000.jpg?approximate=perhaps",
            "the parameter `approximate` cannot be `perhaps`",
        ),
        (
            "/similar/00000.jpg?maxDistance=-1",
            "maxDistance must be 0 or more",
        ),
        (
            "/duplicates?maxDistance=inf",
            "maxDistance must be 0 or more",
        ),
        ("/duplicates?maxDistance=1e999", "and finite"),
        ("/similar/00000.jpg?maxDistance=inf", "and finite"),
        (
            "/similar/00000.jpg?metric=manhattan",
            "`euclidean` or `cosine`",
        ),
        ("/similar/00000.jpg?metric=", "`euclidean` or `cosine`"),
        ("/similar/00000.jpg?metric=Cosine", "Cosine"),
        (
            "/random?metric=cosine",
            "there is no parameter `metric`: this address takes `limit`",
        ),
        ("/thumbnail/00000.jpg?limit=9", "limit"),
        (
            "/object/00000.jpg?size=64",
            "there is no parameter `size`: this address takes none",
        ),
        ("/openapi.json?x", "`x`"),
        ("/healthz?verbose", "verbose"),
        ("/metrics?format=json", "format"),
    ] {
        let reply = server.get(path);
        assert_eq!(reply.status, 400, "{path}: {reply:?}");
        assert!(reply.error().contains(why), "{path}: {}", reply.error());
        assert!(!reply.error().contains("deserialize"), "{}", reply.error());
        assert_guarded(&reply);
    }
    // The media directory is not for a client to find out.
    let absolute = format!("/similar/00000.jpg?within={}", env.argument("media/a"));
    assert_eq!(server.get(&absolute).status, 400);
    let reply = server.ask("POST", "/similar?k=2", &[], b"");
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(reply.error().contains("`k`"), "{}", reply.error());
}

#[test]
fn foreign_names_are_refused_unless_allowed() {
    let (env, _) = environment();
    let server = Server::start(&env, &[]);
    let status = |server: &Server, host: &str| {
        let reply = server.ask("GET", "/similar/00000.jpg", &[("Host", host)], b"");
        assert_guarded(&reply);
        reply.status
    };
    for host in ["localhost", "localhost:9999", "127.0.0.1:1", "[::1]:8080"] {
        assert_eq!(status(&server, host), 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "",
        "127.0.0.1.nip.io",
    ] {
        assert_eq!(status(&server, host), 421, "{host}");
    }
    let raw = |text: &str| server.send(text.as_bytes()).unwrap().status;
    assert_eq!(
        raw("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"),
        400
    );
    assert_eq!(
        raw(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        ),
        400
    );
    assert_eq!(
        raw(
            "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ),
        421
    );
    let server = Server::start(&env, &["--allow-host", "pictures.example"]);
    assert_eq!(status(&server, "pictures.example"), 200);
    assert_eq!(status(&server, "evil.example"), 421);
}

#[test]
fn pages_of_other_sites_are_refused_unless_one_is_allowed() {
    let (env, _) = environment();
    let ask = |server: &Server, method: &str, origin: &str| {
        server.ask(method, "/similar/00000.jpg", &[("Origin", origin)], b"")
    };
    let server = Server::start(&env, &[]);
    let own = format!("http://{}", server.address);
    assert_eq!(ask(&server, "GET", &own).status, 200);
    for origin in [
        "http://evil.example",
        "null",
        "https://localhost.evil.example",
    ] {
        let reply = ask(&server, "GET", origin);
        assert_eq!(reply.status, 403, "{origin}");
        assert_eq!(reply.header("access-control-allow-origin"), "");
    }
    let site = "http://site.example:3000";
    let server = Server::start(&env, &["--allow-origin", site]);
    let allowed = ask(&server, "GET", site);
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), site);
    let preflight = server.ask(
        "OPTIONS",
        "/similar",
        &[("Origin", site), ("Access-Control-Request-Method", "POST")],
        b"",
    );
    assert_eq!(preflight.status, 200);
    assert!(
        preflight
            .header("access-control-allow-methods")
            .contains("POST")
    );
    assert_eq!(ask(&server, "GET", "http://evil.example").status, 403);
}

#[test]
fn what_pages_of_other_sites_show_in_themselves_is_not_answered_and_links_from_there_are() {
    let (env, _) = environment();
    let status = |server: &Server, path: &str, site: &str, mode: &str, more: &[(&str, &str)]| {
        let sent = [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode)];
        let reply = server.ask("GET", path, &[&sent[..], more].concat(), b"");
        assert!(reply.header("content-security-policy").contains("'none'"));
        reply.status
    };
    let (document, image) = (("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Dest", "image"));
    let site = "http://site.example:3000";
    let paths = ["/", "/duplicates?maxDistance=0.1", "/thumbnail/00000.jpg"];
    let [plain, open] = [&[][..], &["--allow-origin", site]].map(|more| Server::start(&env, more));
    for server in [&plain, &open] {
        let is_open = std::ptr::eq(server, &open);
        for (path, is_picture) in paths.into_iter().zip([false, false, true]) {
            let status = |site, mode, more: &[_]| status(server, path, site, mode, more);
            for other in ["cross-site", "same-site", "anything"] {
                // Links; the first browsers that said from where did not say where to.
                assert_eq!(status(other, "navigate", &[document]), 200, "{path}");
                assert_eq!(status(other, "navigate", &[]), 200, "{path}");
                for dest in ["iframe", "embed", "object"] {
                    let framed = status(other, "navigate", &[("Sec-Fetch-Dest", dest)]);
                    let expected = if is_open && is_picture { 200 } else { 403 };
                    assert_eq!(framed, expected, "{path} {dest}");
                }
                // An image says nothing of its origin, so that of an allowed site cannot be told from any other.
                let shown = status(other, "no-cors", &[image]);
                let expected = if is_open && is_picture { 200 } else { 403 };
                assert_eq!(shown, expected, "{path}");
                let early = status(other, "navigate", &[document, ("Sec-Purpose", "prefetch")]);
                assert_eq!(early, expected, "{path}");
            }
            // The page itself, an address that somebody typed, and a page of this machine that says who it is.
            for own in ["same-origin", "none"] {
                assert_eq!(status(own, "no-cors", &[image]), 200, "{path}");
            }
            let local = [("Origin", "http://localhost:1234")];
            assert_eq!(status("cross-site", "cors", &local), 200, "{path}");
            let allowed = status("cross-site", "cors", &[("Origin", site)]);
            assert_eq!(allowed, if is_open { 200 } else { 403 }, "{path}");
            let evil = [("Origin", "http://evil.example")];
            assert_eq!(status("cross-site", "cors", &evil), 403, "{path}");
        }
    }
}

/// A server with a model: one that gives what it may for any picture.
fn with_uploads(env: &crate::TestEnv, more: &[&str]) -> Server {
    env.picture("one.ppm", 1);
    env.picture("two.ppm", 2);
    env.objects(&["one.ppm", "two.ppm"]);
    env.extract("nhwc", &[]).exits(0);
    let model = crate::model_file("nhwc");
    Server::start(env, &[&["--model", model.to_str().unwrap()], more].concat())
}

#[test]
fn uploads_have_limits() {
    need_runtime!();
    let env = crate::TestEnv::new();
    let server = with_uploads(&env, &[]);
    let post = |body: &[u8]| server.ask("POST", "/similar", &[], body);
    for (body, status, why) in [
        (&b""[..], 422, "empty"),
        (b"this is no picture", 422, "not a picture"),
        (&stored_picture("jpeg_truncated.jpg"), 422, "truncated"),
        (&stored_picture("png_huge_header.png"), 422, "limit"),
    ] {
        let reply = post(body);
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(reply.error().contains(why), "{}", reply.error());
    }
    // 10,001 x 10,000 pixels are one row over the limit; 70,000,000 pixels are not.
    let large = |width: usize, height: usize| format!("P4\n{width} {height}\n").into_bytes();
    assert!(post(&large(10_001, 10_000)).error().contains("limit"));
    assert!(post(&large(10_000, 7_000)).error().contains("truncated"));
    // What is announced to be too long is refused before it comes, and what turns out to be so on the way.
    let announced = "POST /similar HTTP/1.1\r\nHost: localhost\r\nContent-Length: 33554433\r\n\r\n";
    let mut stream = server.connect();
    stream.write_all(announced.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    let mut chunked = Vec::new();
    for _ in 0..33 {
        chunked.extend(b"100000\r\n");
        chunked.resize(chunked.len() + (1 << 20), 0);
        chunked.extend(b"\r\n");
    }
    let header = ("Transfer-Encoding", "chunked");
    let refused = server.ask("POST", "/similar", &[header], &chunked);
    assert_eq!(refused.status, 413);
    assert_eq!(refused.error(), "a picture may have at most 32 MiB");
    for (kind, body) in [
        ("multipart/form-data", "no boundary"),
        ("multipart/form-data; boundary=x", "no part"),
        (
            "multipart/form-data; boundary=x",
            "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--\r\n",
        ),
    ] {
        let reply = server.ask(
            "POST",
            "/similar",
            &[("Content-Type", kind)],
            body.as_bytes(),
        );
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
    }
    assert_eq!(post(&plain_ppm(200)).status, 200);
}

#[test]
fn only_so_many_uploads_at_once_are_taken() {
    need_runtime!();
    let env = crate::TestEnv::new();
    let server = with_uploads(&env, &[]);
    let mut held: Vec<_> = (0..16).map(|_| server.connect()).collect();
    for stream in &mut held {
        let begun = "POST /similar HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1213\r\n\r\nP6\n";
        stream.write_all(begun.as_bytes()).unwrap();
    }
    eventually("16 uploads", || server.metric("simsearch_uploads") == 16.0);
    let refused = server.ask("POST", "/similar", &[], &plain_ppm(9));
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), "1");
    // The others are served meanwhile, and those that go on are answered.
    assert_eq!(server.similar("one.ppm", 1)[0].0, "one.ppm");
    let rest = &plain_ppm(9)[3..];
    held[0].write_all(rest).unwrap();
    assert_eq!(read_reply(&mut held[0]).unwrap().status, 200);
    drop(held);
    eventually("no uploads", || server.metric("simsearch_uploads") == 0.0);
    assert_eq!(
        server.ask("POST", "/similar", &[], &plain_ppm(9)).status,
        200
    );
}

/// Far more than the second that the server gives a client, and less than hyper gives by itself, which is 30 s.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn slow_clients_are_cut_off_and_hold_up_nobody() {
    let (env, ids) = environment();
    // More than the sockets between the two hold.
    let long = [stored_picture("jpeg_230x340.jpg"), vec![0; 32 << 20]].concat();
    env.write("media/a/00000.jpg", long);
    let server = Server::start(&env, &["--timeout", "1"]);
    // Some send byte by byte, some stop in the middle, some say nothing, and some never read what they asked for:
    // together more than may be connected at once.
    let mut slow: Vec<_> = (0..560).map(|_| server.connect()).collect();
    let request = "GET /object/00000.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (number, stream) in slow.iter_mut().enumerate() {
        let sent = [0, 1, 30, request.len()][number % 4];
        stream.write_all(&request.as_bytes()[..sent]).unwrap();
    }
    // One byte after the other of a header that never ends.
    let started = Instant::now();
    let mut trickle = server.connect();
    trickle
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: ")
        .unwrap();
    while trickle.write_all(b"a").is_ok() {
        std::thread::sleep(Duration::from_millis(20));
        assert!(
            started.elapsed() < LIMIT,
            "a client may send bytes for as long as it likes"
        );
    }
    assert_eq!(server.similar(&ids[3], 1)[0].0, ids[3]);
    eventually("all slow clients are cut off", || {
        server.metric("simsearch_connections") == 1.0
    });
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
}

#[test]
fn who_does_not_send_the_picture_that_was_announced_is_cut_off() {
    need_runtime!();
    let env = crate::TestEnv::new();
    let server = with_uploads(&env, &["--timeout", "1"]);
    let mut stream = server.connect();
    // Where the server waits for ever, this ends it.
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let begun = "POST /similar HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1213\r\n\r\nP6\n";
    stream.write_all(begun.as_bytes()).unwrap();
    let started = Instant::now();
    let reply = read_reply(&mut stream).expect("an answer, and the end of the connection");
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    assert_eq!(reply.status, 408);
    assert!(!reply.error().is_empty());
    assert_guarded(&reply);
    eventually("no uploads", || server.metric("simsearch_uploads") == 0.0);
}

/// A request with something wrong, or just bytes.
fn malformed(random: &mut StdRng) -> Vec<u8> {
    const PIECES: [&str; 24] = [
        "GET ",
        "POST ",
        "/similar/",
        "/object/..",
        "00000.jpg",
        "?limit=",
        "%",
        "%zz",
        "\0",
        " HTTP/1.1",
        " HTTP/9.9",
        "\r\n",
        "\n",
        "Host: localhost",
        "Host: ",
        "Content-Length: 99999999999999999999",
        "Content-Length: -1",
        "Transfer-Encoding: chunked",
        "ffffffffffffffff\r\n",
        ": ",
        "\u{fffd}",
        "Expect: 100-continue",
        "\r\n\r\n",
        "a",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.random_range(1..14) {
        match random.random_range(0..12) {
            0 => bytes.extend((0..random.random_range(1..40)).map(|_| random.random::<u8>())),
            1 => bytes.extend("x".repeat(random.random_range(1..9000)).bytes()),
            _ => bytes.extend(PIECES[random.random_range(0..PIECES.len())].bytes()),
        }
    }
    bytes
}

#[test]
fn ten_thousand_malformed_requests_leave_it_serving() {
    let (env, ids) = environment();
    let server = Server::start(&env, &[]);
    let answers = std::thread::scope(|scope| {
        let client = |seed| {
            let server = &server;
            move || {
                let mut random = StdRng::seed_from_u64(seed);
                let mut answers = 0;
                for _ in 0..2500 {
                    let mut stream = server.connect();
                    let _ = stream.write_all(&malformed(&mut random));
                    let _ = stream.shutdown(Shutdown::Write);
                    let mut answer = Vec::new();
                    let ended = stream
                        .read_to_end(&mut answer)
                        .map_err(|error| error.kind());
                    assert_ne!(ended, Err(ErrorKind::WouldBlock), "the server hangs");
                    let text = String::from_utf8_lossy(&answer);
                    assert!(
                        answer.is_empty() || text.starts_with("HTTP/1.1 4"),
                        "{text}"
                    );
                    answers += usize::from(!answer.is_empty());
                }
                answers
            }
        };
        let clients: Vec<_> = (0..4).map(|seed| scope.spawn(client(seed))).collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum::<usize>()
    });
    assert!(
        answers > 1000,
        "{answers} were answered: the others say little about the server"
    );
    for id in &ids {
        assert_eq!(server.similar(id, 1)[0].0, *id);
    }
    eventually("no connection is left", || {
        server.metric("simsearch_connections") == 1.0
    });
}
