//! A server under test, and the least of a client: what it sends, it sends as it is.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Outcome, TestEnv, runtime, until, wait};

/// A running server; killed when it is dropped.
pub struct Server {
    child: Option<Child>,
    /// What it says from then on, once it has ended.
    later: Option<JoinHandle<String>>,
    pub address: SocketAddr,
    /// What it said when it began.
    pub said: String,
}

/// What a server says before it listens, where it does, and the process.
pub fn begin(command: Command) -> (Child, String, String) {
    let (child, said, place, _) = begin_and_hear(command);
    (child, said, place)
}

/// The same, and what it says later.
fn begin_and_hear(mut command: Command) -> (Child, String, String, JoinHandle<String>) {
    if let Some(runtime) = runtime() {
        command.env("ORT_DYLIB_PATH", runtime);
    }
    let mut child = (command.stdout(Stdio::null()).stderr(Stdio::piped()))
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    let place = loop {
        let before = said.len();
        assert_ne!(lines.read_line(&mut said).unwrap(), 0, "{said}");
        if let Some(place) = said[before..].strip_prefix("listening on ") {
            break place.trim().to_owned();
        }
    };
    // What it says later must not fill the pipe.
    let later = std::thread::spawn(move || {
        let mut later = String::new();
        lines.read_to_string(&mut later).unwrap();
        later
    });
    (child, said, place, later)
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Server {
    /// Starts a server on `media` and `features`, on a port that is free.
    pub fn start(env: &TestEnv, more: &[&str]) -> Self {
        Self::start_with(env, more, &[])
    }

    /// The same with variables of the environment.
    pub fn start_with(env: &TestEnv, more: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut arguments = vec!["serve", "--media-dir", "media", "--feature-dir", "features"];
        if !more.contains(&"--listen") {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        arguments.extend(more);
        let mut command = env.command(arguments);
        command.envs(variables.iter().copied());
        Self::of(command)
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The server that a command starts.
    pub fn of(command: Command) -> Self {
        let (child, said, place, later) = begin_and_hear(command);
        let address = place.strip_prefix("http://").unwrap();
        let address = address.split('/').next().unwrap().parse().unwrap();
        Server {
            child: Some(child),
            later: Some(later),
            address,
            said,
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).unwrap();
        stream
    }

    /// Sends bytes, and takes what comes until the server closes the connection; none where that is no HTTP.
    pub fn send(&self, bytes: &[u8]) -> Option<Reply> {
        let mut stream = self.connect();
        // The server may have answered and closed before it has read all.
        let _ = stream.write_all(bytes);
        read_reply(&mut stream)
    }

    /// A request with these headers besides `Host`.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut lines = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            lines += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            lines += &format!("{name}: {value}\r\n");
        }
        if method == "POST" && !headers.iter().any(|(name, _)| *name == "Transfer-Encoding") {
            lines += &format!("Content-Length: {}\r\n", body.len());
        }
        let request = [lines.as_bytes(), b"\r\n", body].concat();
        self.send(&request)
            .unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], b"")
    }

    /// The value of a metric.
    pub fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .parse()
            .unwrap()
    }

    /// Ids and distances that are similar to an object.
    #[track_caller]
    pub fn similar(&self, id: &str, limit: usize) -> Vec<(String, f64)> {
        let reply = self.get(&format!("/similar/{id}?limit={limit}"));
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.similar()
    }

    /// Sends a signal and waits for the end.
    pub fn signal(mut self, signal: Signal) -> Outcome {
        let child = self.child.take().unwrap();
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let mut outcome = wait("simsearch serve".into(), child);
        outcome.stderr = self.later.take().unwrap().join().unwrap();
        outcome
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The line of an error.
    #[track_caller]
    pub fn error(&self) -> String {
        let json = self.json();
        let error = json["error"].as_str();
        error.unwrap_or_else(|| panic!("no error: {json}")).into()
    }

    /// Ids and distances of an answer.
    #[track_caller]
    pub fn similar(&self) -> Vec<(String, f64)> {
        let json = self.json();
        let images = json["similarImages"].as_array().expect("similarImages");
        let image = |image: &serde_json::Value| {
            let id = image["objectId"].as_str().unwrap().to_owned();
            (id, image["distance"].as_f64().unwrap())
        };
        images.iter().map(image).collect()
    }
}

/// Reads until the server closes.
pub fn read_reply(stream: &mut impl Read) -> Option<Reply> {
    let mut bytes = Vec::new();
    // What came before a reset counts.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_lowercase(), value.to_owned()))
    });
    Some(Reply {
        status: status.parse().ok()?,
        headers: headers.collect(),
        body: bytes[end + 4..].to_vec(),
    })
}

/// Asks again and again until the answer is yes.
#[track_caller]
pub fn eventually(what: &str, answer: impl FnMut() -> bool) {
    assert!(until(answer), "never came true: {what}");
}
