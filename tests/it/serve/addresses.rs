//! Where `simsearch serve` listens, below which path it stands, and under which names it is reached.

use std::fs;
use std::io::{Write, read_to_string};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::{Reply, Server, begin, read_reply};
use super::environment;
use crate::{PROGRAM, TestEnv, skip, wait};

const SERVE: [&str; 5] = ["serve", "--media-dir", "media", "--feature-dir", "features"];

/// A server at `unix:PATH`.
fn at_socket(env: &TestEnv, path: &str) -> Child {
    let listen = format!("unix:{path}");
    let (child, _, place) = begin(env.command([&SERVE[..], &["--listen", &listen]].concat()));
    assert_eq!(place, listen);
    child
}

/// What is answered at a Unix socket.
fn healthz(path: &Path) -> Reply {
    let mut stream = UnixStream::connect(path).unwrap();
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    read_reply(&mut stream).unwrap()
}

fn ends(child: Child) {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    wait("simsearch serve".into(), child).exits(0);
}

#[test]
fn a_unix_socket_is_listened_at_and_is_gone_at_the_end() {
    let (env, _) = environment();
    let child = at_socket(&env, "socket");
    assert_eq!(healthz(&env.path("socket")).json()["objects"], 11);
    ends(child);
    assert!(!env.path("socket").exists() && !env.path("socket.lock").exists());
}

#[test]
fn a_socket_is_replaced_only_where_nobody_answers() {
    let (env, _) = environment();
    let refused = |path: &str| {
        let listen = format!("unix:{path}");
        let outcome = env.run([&SERVE[..], &["--listen", &listen]].concat());
        outcome.exits(1).says(&[&listen, "in use"]);
    };
    let mut killed = at_socket(&env, "socket");
    refused("socket");
    assert_eq!(healthz(&env.path("socket")).status, 200);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(env.path("socket").exists());
    let child = at_socket(&env, "socket");
    assert_eq!(healthz(&env.path("socket")).status, 200);
    // Its file is that of another server by the time it ends.
    fs::remove_file(env.path("socket")).unwrap();
    let _other = UnixListener::bind(env.path("socket")).unwrap();
    ends(child);
    assert!(env.path("socket").exists());
    // Somebody who takes no connections is there all the same.
    refused("socket");
    // Nor is one that was made in the place of a killed server's.
    fs::remove_file(env.path("socket")).unwrap();
    let mut killed = at_socket(&env, "socket");
    killed.kill().unwrap();
    killed.wait().unwrap();
    fs::remove_file(env.path("socket")).unwrap();
    let _third = UnixListener::bind(env.path("socket")).unwrap();
    refused("socket");
    assert!(env.path("socket").exists());
    env.write("file", "keep");
    std::os::unix::fs::symlink("file", env.path("link")).unwrap();
    for path in ["file", "link"] {
        refused(path);
    }
    assert_eq!(fs::read_to_string(env.path("file")).unwrap(), "keep");
}

#[test]
fn a_list_from_standard_input_cannot_be_read_again_and_is_refused() {
    let (env, _) = environment();
    let outcome = env.run([&SERVE[..], &["--listen", "127.0.0.1:0", "--objects", "-"]].concat());
    outcome.exits(2).says(&["--objects needs a file"]);
}

#[test]
fn a_kernel_that_lets_no_picture_be_opened_is_named_at_the_start() {
    let (env, _) = environment();
    let mut tried = Command::new("strace");
    tried.args(["-qq", "-e", "inject=openat2:error=ENOSYS", "true"]);
    if !tried.output().is_ok_and(|output| output.status.success()) {
        skip!("strace is not on this machine, or may not trace");
    }
    let program = env.command([&SERVE[..], &["--listen", "127.0.0.1:0"]].concat());
    for error in ["ENOSYS", "EPERM"] {
        let mut traced = Command::new("strace");
        // It is the child that is traced, so that the server ends with it.
        traced.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e"]);
        traced.arg(format!("inject=openat2:error={error}"));
        traced.arg(PROGRAM).args(program.get_args());
        traced.current_dir(env.path("")).stdin(Stdio::null());
        let server = Server::of(traced);
        let said = ["no picture can be shown: openat2", error, "Linux 5.6"];
        assert!(
            said.iter().all(|part| server.said.contains(part)),
            "{}",
            server.said
        );
        // All else works.
        assert_eq!(server.similar("00000.jpg", 1).len(), 1);
        assert_eq!(server.get("/object/00000.jpg").status, 404);
    }
    let server = Server::start(&env, &[]);
    assert!(!server.said.contains("openat2"), "{}", server.said);
}

/// A server to which a socket is passed on as systemd does, with more arguments.
fn passed_on(env: &TestEnv, socket: OwnedFd, more: &[&str]) -> Command {
    // Standard input becomes the descriptor 3.
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 </dev/null";
    let mut command = Command::new("bash");
    command.args(["-c", script, PROGRAM]).args(SERVE).args(more);
    command.current_dir(env.path("")).stdin(Stdio::from(socket));
    command
}

#[test]
fn a_socket_that_systemd_passes_on_is_used_and_left_where_it_is() {
    let (env, _) = environment();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (child, _, place) = begin(passed_on(&env, socket.into(), &[]));
    assert_eq!(place, format!("http://{address}"));
    ends(child);

    let path = env.path("socket");
    let socket = UnixListener::bind(&path).unwrap();
    let again = socket.try_clone().unwrap();
    let (child, _, _) = begin(passed_on(&env, socket.into(), &[]));
    assert_eq!(healthz(&path).status, 200);
    ends(child);
    assert!(path.exists());

    let named = passed_on(&env, again.into(), &["--listen", "127.0.0.1:0"]);
    crate::finish(named)
        .exits(1)
        .says(&["systemd passes on a socket", "--listen"]);
    let no_socket = fs::File::open(env.path("media/objects.txt")).unwrap();
    crate::finish(passed_on(&env, no_socket.into(), &[]))
        .exits(1)
        .says(&["neither of TCP nor a Unix socket"]);
}

#[test]
fn below_a_path_all_addresses_are_and_none_elsewhere() {
    let (env, _) = environment();
    let server = Server::start(&env, &["--base-path", "/my/photos"]);
    let told = format!("listening on http://{}/my/photos/\n", server.address);
    assert!(server.said.ends_with(&told), "{}", server.said);
    for path in [
        "",
        "page/app.js",
        "similar/00000.jpg",
        "object/00000.jpg",
        "healthz",
        "metrics",
    ] {
        let reply = server.get(&format!("/my/photos/{path}"));
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
    }
    for path in [
        "/",
        "/healthz",
        "/my/",
        "/my/photosimilar",
        "/my/photos/nothing",
        "/page/app.js",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    let moved = server.get("/my/photos?id=00000.jpg");
    assert_eq!(moved.status, 308);
    // Relative to the folder of `/my/photos`.
    assert_eq!(moved.header("location"), "photos/?id=00000.jpg");
    assert_eq!(
        server.ask("POST", "/my/photos/random", &[], b"").status,
        405
    );
    let metrics = String::from_utf8(server.get("/my/photos/metrics").body).unwrap();
    for counted in [
        r#"simsearch_request_seconds_count{endpoint="similar",status="200"} 1"#,
        r#"simsearch_request_seconds_count{endpoint="page",status="308"} 1"#,
        r#"simsearch_request_seconds_count{endpoint="other",status="404"} 6"#,
    ] {
        assert!(metrics.contains(counted), "{counted}\n{metrics}");
    }
    for wrong in ["photos", "//evil.example", "/a/../b"] {
        env.run([&SERVE[..], &["--base-path", wrong]].concat())
            .exits(2)
            .says(&["such as /photos"]);
    }
}

#[test]
fn a_forwarded_prefix_counts_where_the_proxy_is_trusted() {
    let (env, _) = environment();
    let page = |server: &Server, path: &str, prefixes: &[&str]| {
        let headers: Vec<_> = prefixes
            .iter()
            .map(|prefix| ("X-Forwarded-Prefix", *prefix))
            .collect();
        let reply = server.ask("GET", path, &headers, b"");
        let status = reply.status;
        (status, read_to_string(&reply.body[..]).unwrap())
    };
    let server = Server::start(&env, &[]);
    let (_, plain) = page(&server, "/", &[]);
    assert!(!plain.contains("<base"), "{plain}");
    assert_eq!(page(&server, "/", &["/photos"]), (200, plain.clone()));

    let server = Server::start(&env, &["--trust-proxy"]);
    assert_eq!(page(&server, "/", &[]), (200, plain));
    for prefix in ["/photos", "/photos/"] {
        let (status, html) = page(&server, "/", &[prefix]);
        assert_eq!(status, 200);
        assert!(html.contains(r#"<base href="/photos/">"#), "{html}");
    }
    for wrong in [
        &["//evil.example"][..],
        &["https://evil.example"],
        &["/a\"><script>"],
        &["/a", "/b"],
        &[""],
    ] {
        let (status, html) = page(&server, "/", wrong);
        assert_eq!(status, 400, "{wrong:?}");
        assert!(
            !html.contains("evil") && !html.contains("<script"),
            "{html}"
        );
    }
    let server = Server::start(&env, &["--trust-proxy", "--base-path", "/b"]);
    let (_, html) = page(&server, "/b/", &["/a"]);
    assert!(html.contains(r#"<base href="/a/b/">"#), "{html}");
}

#[test]
fn names_that_requests_may_be_sent_to_are_said_and_those_that_cannot_match_refused() {
    let (env, _) = environment();
    let status =
        |server: &Server, host: &str| server.ask("GET", "/healthz", &[("Host", host)], b"").status;
    let server = Server::start(
        &env,
        &["--listen", "0.0.0.0:0", "--allow-host", "*.example.org"],
    );
    let names = "answers requests to localhost, 127.0.0.1, [::1], *.example.org; --allow-host";
    assert!(server.said.contains(names), "{}", server.said);
    for (host, expected) in [
        ("pictures.example.org", 200),
        ("localhost", 200),
        ("example.org", 421),
        ("0.0.0.0", 421),
    ] {
        assert_eq!(status(&server, host), expected, "{host}");
    }
    // Nobody else gets there.
    let local = Server::start(&env, &[]);
    assert!(!local.said.contains("--allow-host"), "{}", local.said);
    for wrong in ["*", "a.example:80", "0.0.0.0"] {
        let listen = ["--listen", "127.0.0.1:0", "--allow-host", wrong];
        let outcome = env.run([&SERVE[..], &listen].concat());
        outcome.exits(1).says(&[&format!("--allow-host {wrong}: ")]);
    }
}
