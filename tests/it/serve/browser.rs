//! The page of `simsearch serve`, and that of `simsearch search --html`, in a real browser.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::client::{Server, begin};
use crate::concat::{numbered, write_features};
use crate::{ROOT, TestEnv, need_python, need_runtime, ppm, skip, stored_picture, succeed, until};

/// Where the screenshots are left, to be looked at.
const SCREENSHOTS: &str = "target/page";

/// `page.py` with the browser, and a scene of it.
macro_rules! need_browser {
    ($scene:literal) => {{
        let Some(chromium) = chromium() else {
            skip!("Chromium is not on this machine; `make browser-test` installs it");
        };
        let mut python = need_python!("json");
        python
            .arg(Path::new(ROOT).join("tests/browser/page.py"))
            .arg(chromium)
            .arg(Path::new(ROOT).join(SCREENSHOTS))
            .arg($scene);
        python
    }};
}

#[test]
fn the_page_works_in_chromium() {
    need_runtime!();
    let mut browser = need_browser!("works");
    let env = TestEnv::new();
    // Stretched or not, bright or dark: neighbours at distances of all kinds, and more than the page asks for.
    let mut entries: Vec<String> = (0..130)
        .map(|seed| format!("picture{seed:03}.ppm"))
        .collect();
    for (seed, entry) in entries.iter().enumerate() {
        let picture = ppm(90 + 7 * (seed % 9), 60 + 11 * (seed % 5), seed);
        env.write(Path::new("media").join(entry), jpeg(&picture));
    }
    // What no browser shows.
    env.write("media/scan.tif", stored_picture("tiff_strips.tif"));
    env.write("media/raw.ppm", ppm(600, 400, 7));
    entries.extend(["scan.tif", "raw.ppm"].map(str::to_owned));
    env.objects(&entries);
    env.extract("nhwc", &[]).exits(0);
    env.concat(&[]).exits(0);
    let model = crate::model_file("nhwc");
    let server = Server::start(&env, &["--model", model.to_str().unwrap()]);
    let picture = env.path("media/picture007.ppm");
    works(browser.arg(url(&server)).arg(picture));
}

#[test]
fn the_page_works_behind_nginx_below_a_path() {
    let Some(nginx) = nginx() else {
        skip!("nginx is not on this machine (Debian: apt-get install nginx-light)");
    };
    need_browser!("below");
    let env = TestEnv::new();
    let ids = numbered(0..6);
    write_features(&env, &ids);
    for (seed, id) in ids.iter().enumerate() {
        env.write(Path::new("media").join(id), jpeg(&ppm(300, 200, seed)));
    }
    env.objects(&ids);
    let server = Server::start(&env, &[]);
    let below = Server::start(&env, &["--base-path", "/kept"]);
    let serve = ["serve", "--media-dir", "media", "--feature-dir", "features"];
    let at_socket = ["--trust-proxy", "--listen", "unix:socket"];
    let (at_socket, _, _) = begin(env.command([&serve[..], &at_socket].concat()));
    let _at_socket = Killed(at_socket);

    let port = (TcpListener::bind("127.0.0.1:0").unwrap())
        .local_addr()
        .unwrap()
        .port();
    let (server, below, socket) = (server.address, below.address, env.argument("socket"));
    // The path is taken off, passed on, or taken off and named; without its slash at the end nginx leads on from the
    // first two.
    let configuration = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}
        http {{
            access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            server {{
                listen 127.0.0.1:{port};
                location /removed/ {{ proxy_pass http://{server}/; }}
                location /kept/ {{ proxy_pass http://{below}; }}
                location = /named {{ proxy_pass http://unix:{socket}:/; proxy_set_header X-Forwarded-Prefix /named; }}
                location /named/ {{ proxy_pass http://unix:{socket}:/; proxy_set_header X-Forwarded-Prefix /named; }}
            }}
        }}"
    );
    env.write("nginx.conf", configuration);
    let mut command = Command::new(nginx);
    command.args(["-c", "nginx.conf", "-p"]).arg(env.path(""));
    let _nginx = Killed(command.stderr(Stdio::null()).spawn().unwrap());
    assert!(until(|| TcpStream::connect(("127.0.0.1", port)).is_ok()));
    for path in ["removed/", "kept/", "named"] {
        let mut browser = need_browser!("below");
        works(browser.arg(format!("http://127.0.0.1:{port}/{path}")));
    }
}

/// A server of 150 pictures in two folders, wide, high and as wide as high, and one of them.
fn pictures_in_folders(env: &TestEnv) -> Server {
    let entries: Vec<String> = (0..150)
        .map(|seed| {
            let (folder, shape) = (["a", "b/c"][seed % 2], ["wide", "high", "even"][seed % 3]);
            format!("{folder}/{shape}{seed:03}.jpg")
        })
        .collect();
    for (seed, entry) in entries.iter().enumerate() {
        let (width, height) = [(60, 40), (40, 60), (50, 50)][seed % 3];
        env.write(
            Path::new("media").join(entry),
            jpeg(&ppm(width, height, seed)),
        );
    }
    env.objects(&entries);
    env.extract("nhwc", &[]).exits(0);
    env.concat(&[]).exits(0);
    let model = crate::model_file("nhwc");
    Server::start(env, &["--model", model.to_str().unwrap()])
}

#[test]
fn the_page_shows_those_of_a_folder_a_distance_or_an_orientation_and_as_many_as_there_are() {
    need_runtime!();
    let mut browser = need_browser!("filters");
    let env = TestEnv::new();
    let server = pictures_in_folders(&env);
    let picture = env.path("media/a/wide000.jpg");
    works(browser.arg(url(&server)).arg(picture));
}

#[test]
fn groups_of_duplicates_are_looked_through_and_decided_with_the_keyboard() {
    let mut browser = need_browser!("groups");
    let env = super::groups::environment();
    for id in super::groups::IDS {
        // Those of a group are equal, so that the order is that of their age.
        let seed = usize::from(id.as_bytes()[0]);
        env.write(Path::new("media").join(id), jpeg(&ppm(300, 200, seed)));
    }
    let server = Server::start(&env, &["--allow-changes"]);
    let axe = axe().map_or(String::new(), |path| path.to_str().unwrap().to_owned());
    works(browser.arg(url(&server)).arg(axe));
    let decided = std::fs::read_to_string(env.path("features/model.decisions.jsonl")).unwrap();
    let expected = [
        r#"{"object_ids":["b1.jpg","b0.jpg"],"keep":null}"#,
        r#"{"object_ids":["b1.jpg","b2.jpg"],"keep":null}"#,
        r#"{"object_ids":["a0.jpg","a1.jpg"],"keep":"a1.jpg"}"#,
        r#"{"object_ids":["c0.jpg","c1.jpg"],"keep":null}"#,
    ];
    assert_eq!(decided.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn axe_core_finds_nothing_that_keeps_people_from_using_the_page() {
    need_runtime!();
    let mut browser = need_browser!("accessible");
    let Some(axe) = axe() else {
        skip!("axe-core is not in target/axe; `make axe` fetches it, where there is npm");
    };
    let env = TestEnv::new();
    let server = pictures_in_folders(&env);
    works(browser.arg(url(&server)).arg(axe).arg("wide000.jpg"));
}

#[test]
fn the_page_opens_with_a_token_once() {
    let mut browser = need_browser!("token");
    let (env, token) = (TestEnv::new(), "a-token-of-this-test");
    let ids = numbered(0..6);
    write_features(&env, &ids);
    for (seed, id) in ids.iter().enumerate() {
        env.write(Path::new("media").join(id), jpeg(&ppm(300, 200, seed)));
    }
    env.objects(&ids);
    env.write("token", token);
    let server = Server::start(&env, &["--auth-token-file", "token"]);
    works(browser.arg(url(&server)).arg(token));
}

#[test]
fn a_page_of_another_site_links_to_the_server_and_shows_nothing_of_it() {
    let mut browser = need_browser!("elsewhere");
    let env = TestEnv::new();
    let ids = numbered(0..6);
    write_features(&env, &ids);
    for (seed, id) in ids.iter().enumerate() {
        env.write(Path::new("media").join(id), jpeg(&ppm(300, 200, seed)));
    }
    env.objects(&ids);
    let server = Server::start(&env, &[]);
    works(browser.arg(url(&server)).arg(&ids[0]));
    // A browser would not show the answers either; they are not made.
    for (endpoint, status) in [("thumbnail", 403), ("random", 403), ("page", 200)] {
        let count = format!(
            r#"simsearch_request_seconds_count{{endpoint="{endpoint}",status="{status}"}}"#
        );
        assert!(server.metric(&count) >= 1.0, "{count}");
    }
}

#[test]
fn words_are_looked_up_in_the_page() {
    need_runtime!();
    need_python!("onnx", "tokenizers");
    let mut browser = need_browser!("words");
    let env = crate::words::environment("clip");
    let folder = env.path("models/clip");
    let server = Server::start(&env, &["--model", folder.to_str().unwrap()]);
    works(browser.arg(url(&server)));
}

#[test]
fn a_file_that_is_dropped_where_uploads_are_off_changes_nothing() {
    let mut browser = need_browser!("without-uploads");
    let env = TestEnv::new();
    let ids = numbered(0..2);
    write_features(&env, &ids);
    for (seed, id) in ids.iter().enumerate() {
        env.write(Path::new("media").join(id), jpeg(&ppm(300, 200, seed)));
    }
    env.objects(&ids);
    let server = Server::start(&env, &[]);
    let picture = env.path("media/00001.jpg");
    works(browser.arg(url(&server)).arg(picture));
}

#[test]
fn a_page_without_features_says_what_to_do_and_shows_those_that_come() {
    let mut browser = need_browser!("fills");
    let env = TestEnv::new();
    let ids = numbered(0..3);
    env.objects(&ids);
    write_features(&env, &ids);
    std::fs::rename(env.path("features/model"), env.path("later")).unwrap();
    std::fs::create_dir(env.path("features/model")).unwrap();
    let server = Server::start(&env, &["--model", "model.onnx"]);
    let (from, to) = (env.path("later"), env.path("features/model"));
    works(browser.arg(url(&server)).arg(from).arg(to));
}

#[test]
fn a_page_of_search_shows_its_pictures_and_asks_for_nothing() {
    let mut browser = need_browser!("file");
    let env = TestEnv::new();
    let ids = numbered(0..5);
    write_features(&env, &ids);
    for (seed, id) in ids.iter().enumerate() {
        env.write(Path::new("media").join(id), ppm(300, 200, seed));
    }
    env.objects(&ids);
    let places = ["--feature-dir", "features", "--media-dir", "media"];
    let page = ["--html", "page.html"];
    env.run([&["search", &ids[0], &ids[3]][..], &places, &page].concat())
        .exits(0);
    works(browser.arg(env.path("page.html")));
}

#[track_caller]
fn works(browser: &mut Command) {
    assert_eq!(succeed(browser), "the page works\n");
}

fn url(server: &Server) -> String {
    format!("http://{}", server.address)
}

/// A browser shows no PNM.
fn jpeg(ppm: &[u8]) -> Vec<u8> {
    let mut reader = simsearch::pictures::PictureReader::new(Default::default());
    let (size, pixels) = reader.decode(ppm).unwrap();
    simsearch::pictures::thumbnail::jpeg(pixels, size)
}

/// A process that ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// axe-core, where `make axe` has fetched it.
fn axe() -> Option<PathBuf> {
    let path = Path::new(ROOT).join("target/axe/axe-4.14.1.min.js");
    path.exists().then_some(path)
}

/// Debian's is where only root looks.
fn nginx() -> Option<&'static str> {
    let names = ["nginx", "/usr/sbin/nginx"];
    names.into_iter().find(|name| {
        let tried = Command::new(name).arg("-v").output();
        tried.is_ok_and(|output| output.status.success())
    })
}

fn chromium() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| {
        let tried = Command::new(name).arg("--version").output();
        tried.is_ok_and(|output| output.status.success())
    })
}
