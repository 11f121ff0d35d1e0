//! `models/fetch_model.py`, which `make model NAME=…` runs, against a server of this test.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use simsearch::inference::Preprocess;

use crate::{Outcome, ROOT, TestEnv, finish, need_python, python};

/// What the server does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Sends what is asked for.
    Plain,
    /// Sends so many bytes of what is asked for, and hangs up.
    HangsUpAfter(usize),
    /// Sends everything, whatever part is asked for.
    KnowsNoRanges,
}

/// A server on a port of its own, whose file is at every address; `requests` has a line for each request: the path, and
/// the byte from which it asks.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(content: &[u8], manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/models", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (content, seen) = (content.to_vec(), requests.clone());
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who hangs up early is not waited for.
                let _ = answer(stream, &content, manner, &seen);
            }
        });
        Server { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    content: &[u8],
    manner: Manner,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap()?;
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let mut from = 0;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap();
        }
    }
    seen.lock().unwrap().push(format!("{path} {from}"));
    let (status, from) = match from {
        1.. if manner != Manner::KnowsNoRanges => ("206 Partial Content", from),
        _ => ("200 OK", 0),
    };
    let rest = &content[from..];
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\nConnection: close\r\n\r\n",
        rest.len(),
        content.len() - 1,
        content.len()
    )?;
    let sent = match manner {
        Manner::HangsUpAfter(bytes) => bytes.min(rest.len()),
        _ => rest.len(),
    };
    stream.write_all(&rest[..sent])
}

/// What the model's file holds: nothing that repeats, so that a wrong part would be noticed.
fn content() -> Vec<u8> {
    (0..300_000_u32)
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// A table with the model `small`, of one file.
fn write_table(env: &TestEnv, content: &[u8], sha256: &str) {
    let table = serde_json::json!({"small": {
        "what": "nothing",
        "license": "none",
        "from": "http://127.0.0.1:1/",
        "files": {"onnx/model.onnx": {"bytes": content.len(), "sha256": sha256}},
        "preprocessor_config": {"do_resize": false},
    }});
    env.write("models.json", table.to_string());
}

fn sha256(content: &[u8]) -> String {
    simsearch::storage::checksum::of_bytes(content)
}

fn fetch(env: &TestEnv, name: &str, address: Option<&str>) -> Outcome {
    let mut python = python(&["json"]).unwrap();
    python.arg(format!("{ROOT}/models/fetch_model.py"));
    python.arg(name).arg("--into").arg(env.path("models"));
    python.arg("--table").arg(env.path("models.json"));
    if let Some(address) = address {
        python.args(["--from", address]);
    }
    finish(python)
}

#[test]
fn a_model_comes_with_its_preprocessing_and_is_not_fetched_twice() {
    need_python!("json");
    let env = TestEnv::new();
    let content = content();
    write_table(&env, &content, &sha256(&content));
    let server = Server::start(&content, Manner::Plain);
    fetch(&env, "small", Some(&server.address)).exits(0);
    assert_eq!(
        fs::read(env.path("models/small/onnx/model.onnx")).unwrap(),
        content
    );
    let config = fs::read(env.path("models/small/preprocessor_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config, serde_json::json!({"do_resize": false}));
    assert!(!env.path("models/.small").exists());

    fetch(&env, "small", Some(&server.address)).exits(0);
    assert_eq!(server.requests(), ["/models/onnx/model.onnx 0"]);
}

#[test]
fn a_broken_connection_goes_on_where_it_broke() {
    need_python!("json");
    let env = TestEnv::new();
    let content = content();
    write_table(&env, &content, &sha256(&content));
    let server = Server::start(&content, Manner::HangsUpAfter(500_000));
    fetch(&env, "small", Some(&server.address)).exits(0);
    assert_eq!(
        fs::read(env.path("models/small/onnx/model.onnx")).unwrap(),
        content
    );
    let asked = [0, 500_000, 1_000_000].map(|from| format!("/models/onnx/model.onnx {from}"));
    assert_eq!(server.requests(), asked);
}

#[test]
fn what_an_interrupted_run_has_fetched_is_used() {
    need_python!("json");
    let content = content();
    for (manner, begun) in [
        (Manner::Plain, &content[..700_000]),
        (Manner::KnowsNoRanges, &content[..700_000]),
        // More than there is: of another file.
        (Manner::Plain, &[&content[..], b"more"].concat()[..]),
    ] {
        let env = TestEnv::new();
        write_table(&env, &content, &sha256(&content));
        env.write("models/.small/onnx-model.onnx", begun);
        let server = Server::start(&content, manner);
        fetch(&env, "small", Some(&server.address)).exits(0);
        assert_eq!(
            fs::read(env.path("models/small/onnx/model.onnx")).unwrap(),
            content
        );
        let from = if begun.len() < content.len() {
            begun.len()
        } else {
            0
        };
        assert_eq!(
            server.requests(),
            [format!("/models/onnx/model.onnx {from}")]
        );
    }
}

#[test]
fn another_file_is_refused_and_does_not_get_its_name() {
    need_python!("json");
    let env = TestEnv::new();
    let content = content();
    write_table(&env, &content, &sha256(b"another"));
    let server = Server::start(&content, Manner::Plain);
    let outcome = fetch(&env, "small", Some(&server.address));
    outcome.exits(1);
    assert!(outcome.stderr.contains(&sha256(&content)), "{outcome}");
    assert!(outcome.stderr.contains("another file"), "{outcome}");
    assert!(!env.path("models/small").exists());
    // What was wrong is not gone on with.
    assert!(!env.path("models/.small/onnx-model.onnx").exists());
}

#[test]
fn where_nobody_answers_it_says_what_else_can_be_done() {
    need_python!("json");
    let env = TestEnv::new();
    write_table(&env, b"x", &sha256(b"x"));
    let outcome = fetch(&env, "small", None);
    outcome.exits(1);
    assert!(
        outcome
            .stderr
            .contains("cannot fetch http://127.0.0.1:1/onnx/model.onnx"),
        "{outcome}"
    );
    assert!(outcome.stderr.contains("mirror"), "{outcome}");
    assert!(!outcome.stderr.contains("Traceback"), "{outcome}");
    let outcome = fetch(&env, "large", None);
    outcome.exits(1);
    assert!(outcome.stderr.contains("known are: small"), "{outcome}");
}

#[test]
fn the_table_names_files_with_checksums_and_preprocessing_that_the_program_reads() {
    let table = fs::read(format!("{ROOT}/models/models.json")).unwrap();
    let table: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&table).unwrap();
    assert!(!table.is_empty());
    for (name, model) in &table {
        for (file, known) in model["files"].as_object().unwrap() {
            let sha256 = known["sha256"].as_str().unwrap();
            assert!(
                sha256.len() == 64 && sha256.bytes().all(|digit| digit.is_ascii_hexdigit()),
                "{name}, {file}"
            );
            assert!(known["bytes"].as_u64().unwrap() > 1000, "{name}, {file}");
        }
        let env = TestEnv::new();
        env.write("config.json", model["preprocessor_config"].to_string());
        let config = env.argument("config.json");
        let read = Preprocess::find(&config, None)
            .unwrap()
            .map(|found| found.0);
        let preset = name.split('-').next().unwrap();
        let expected = Preprocess::find(preset, None).unwrap().map(|found| found.0);
        assert!(
            expected.is_some() && read == expected,
            "{name}: {read:?}, {expected:?}"
        );
    }
}
