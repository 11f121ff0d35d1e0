//! The integration tests, in one binary: a file per part of the tool.

mod completions;
mod concat;
mod crash;
mod deploy;
mod descriptor;
mod doctor;
mod duplicates;
mod examples;
mod export;
mod extract;
mod faults;
mod fetch_model;
mod follow;
mod golden;
#[cfg(feature = "heic")]
mod heic;
mod hostile_directories;
mod hostile_pictures;
mod index;
mod layers;
mod list;
mod model_files;
mod mutants;
mod network;
mod outputs;
mod packed_parts;
mod path_ids;
mod pixels;
mod precision;
mod preprocess;
mod runtime;
mod search;
mod serve;
mod sources;
mod status;
mod summaries;
mod tar;
mod verify;
mod version;
mod watch;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, SigHandler, Signal};
use simsearch::storage::npy;
use tempfile::TempDir;

/// The project's folder.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_simsearch");
/// Variables that change what the program does; no test inherits them.
const VARIABLES: [&str; 6] = [
    "SIMSEARCH_FAULT",
    "SIMSEARCH_STEPS",
    "MEDIA_DIR",
    "FEATURE_DIR",
    "ONNX_MODEL_PATH",
    "ORT_DYLIB_PATH",
];
/// A process that takes longer than this hangs. (The slowest needs seconds.)
const PATIENCE: Duration = Duration::from_secs(120);

/// Says why a test cannot run here, and ends it. Written past the test harness, which shows what a test prints only
/// when it fails.
macro_rules! skip {
    ($($why:tt)*) => {{
        use std::io::Write as _;
        let test = std::thread::current();
        let line = format!("skipped: {}: {}\n", test.name().unwrap_or("a test"), format!($($why)*));
        std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
        return;
    }};
}
pub(crate) use skip;

/// A temporary tree with a media and a feature directory, and the program to run in it.
pub(crate) struct TestEnv {
    root: TempDir,
}

impl TestEnv {
    /// An empty media directory; the feature directory is not there yet.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("media")).unwrap();
        TestEnv { root }
    }

    /// A path in the temporary tree.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(relative)
    }

    /// A path in the temporary tree, as an argument.
    pub fn argument(&self, relative: impl AsRef<Path>) -> String {
        self.path(relative).to_str().unwrap().to_owned()
    }

    /// Writes a file and the directories above it.
    pub fn write(&self, relative: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes a picture to `media/<entry>`; every seed gives another one.
    pub fn picture(&self, entry: &str, seed: usize) {
        self.write(Path::new("media").join(entry), ppm(30, 20, seed));
    }

    /// Writes `media/objects.txt`.
    pub fn objects(&self, entries: &[impl AsRef<str>]) {
        let lines = entries.iter().map(|entry| entry.as_ref().to_owned() + "\n");
        self.write("media/objects.txt", lines.collect::<String>());
    }

    /// The program with these arguments, in a clean environment.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        heed_signals();
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .current_dir(self.root.path())
            .stdin(Stdio::null());
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command
    }

    /// Runs the program to its end.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        finish(self.command(arguments))
    }

    /// `simsearch list` on the media directory.
    pub fn list(&self, more: &[&str]) -> Outcome {
        self.run(["list", "--media-dir", "media"].iter().chain(more))
    }

    /// `simsearch extract` with a model of `tests/data/models`, on the CPU.
    pub fn extract_command(&self, model: &str, more: &[&str]) -> Command {
        let mut arguments: Vec<OsString> = [
            "extract",
            "--media-dir",
            "media",
            "--feature-dir",
            "features",
        ]
        .map(OsString::from)
        .into();
        arguments.extend(["--model".into(), model_file(model).into()]);
        if !more.contains(&"--provider") {
            arguments.extend(["--provider".into(), "cpu".into()]);
        }
        if let (Some(runtime), false) = (runtime(), more.contains(&"--runtime")) {
            arguments.extend(["--runtime".into(), runtime.into()]);
        }
        arguments.extend(more.iter().map(OsString::from));
        self.command(arguments)
    }

    /// Runs `simsearch extract`.
    pub fn extract(&self, model: &str, more: &[&str]) -> Outcome {
        finish(self.extract_command(model, more))
    }

    /// `simsearch concat` on the feature directory.
    pub fn concat(&self, more: &[&str]) -> Outcome {
        self.run(["concat", "--feature-dir", "features"].iter().chain(more))
    }

    /// The files and directories below a path, without the lock file.
    pub fn tree(&self, relative: &str) -> Tree {
        tree(&self.path(relative))
    }
}

/// What is below a directory: directories end in `/`, files have their content.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// The files and directories below a path; none where it does not exist. The files for locks, which stay, are left out.
/// The lines of the records of sources are in one, in order and each once: killed runs and other threads make others of
/// it, which say the same.
pub fn tree(path: &Path) -> Tree {
    let mut found = Tree::new();
    let mut records: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let entries = walkdir::WalkDir::new(path).min_depth(1).into_iter();
    for entry in entries.filter(|_| path.exists()) {
        // What a process has removed since it was listed is not there.
        let entry = match entry {
            Err(error) if error.io_error().is_some_and(is_gone) => continue,
            entry => entry.unwrap(),
        };
        let name = entry
            .path()
            .strip_prefix(path)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let is_for_locks = |part: &str| part == ".lock" || part == ".claims";
        if name.split('/').any(is_for_locks) {
            continue;
        }
        if entry.file_type().is_dir() {
            found.insert(name + "/", Vec::new());
        } else {
            if is_record_of_sources(&name) && entry.file_type().is_file() {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                let lines = records.entry(folder.to_owned()).or_default();
                let text = match fs::read_to_string(entry.path()) {
                    Err(error) if is_gone(&error) => continue,
                    text => text.unwrap(),
                };
                lines.extend(text.lines().map(|line| line.to_owned() + "\n"));
                continue;
            }
            let content = if entry.file_type().is_file() {
                match fs::read(entry.path()) {
                    Err(error) if is_gone(&error) => continue,
                    content => content.unwrap(),
                }
            } else {
                b"special".to_vec()
            };
            found.insert(name, content);
        }
    }
    for (folder, lines) in records {
        let path = Path::new(&folder).join("sources.jsonl");
        let lines: String = lines.into_iter().collect();
        found.insert(path.to_str().unwrap().to_owned(), lines.into());
    }
    found
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Whether it is the record of sources of one run or of several, which has ended.
fn is_record_of_sources(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap();
    name.starts_with("sources.") && name.ends_with(".jsonl")
}

/// The files of a tree whose name ends so.
pub fn files_ending(tree: &Tree, end: &str) -> Tree {
    let files = tree.iter().filter(|(name, _)| name.ends_with(end));
    files
        .map(|(name, content)| (name.clone(), content.clone()))
        .collect()
}

/// Compares two trees and names what differs.
#[track_caller]
pub fn assert_same_tree(found: &Tree, expected: &Tree) {
    let mut different = Vec::new();
    for name in expected.keys().filter(|name| !found.contains_key(*name)) {
        different.push(format!("missing: {name}"));
    }
    for (name, content) in found {
        match expected.get(name) {
            None => different.push(format!("not expected: {name}")),
            Some(wanted) if wanted != content => {
                let sizes = (content.len(), wanted.len());
                different.push(format!(
                    "not the same: {name}, {} bytes, expected {}",
                    sizes.0, sizes.1
                ));
            }
            Some(_) => {}
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// How a run of the program ended.
pub struct Outcome {
    command: String,
    /// The exit code, or the signal.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Outcome {
    /// Fails unless the program ended by itself with this code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert!(self.exited_with(code), "expected exit code {code}\n{self}");
        self
    }

    /// Whether the program was killed by SIGKILL.
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(nix::libc::SIGKILL)
    }

    /// Whether the program ended by itself with this code.
    pub fn exited_with(&self, code: i32) -> bool {
        self.status.code() == Some(code)
    }

    /// Fails unless stderr holds all of these.
    #[track_caller]
    pub fn says(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "stderr should hold `{text}`\n{self}"
            );
        }
        self
    }

    /// Fails when stderr holds this.
    #[track_caller]
    pub fn does_not_say(&self, text: &str) -> &Self {
        assert!(
            !self.stderr.contains(text),
            "stderr should not hold `{text}`\n{self}"
        );
        self
    }

    /// The one JSON object on stdout.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is no JSON object: {error}\n{self}"))
    }

    /// The counts `[done, skipped, failed, left]` of `extract --json`.
    #[track_caller]
    pub fn counts(&self) -> [u64; 4] {
        let json = self.json();
        ["done", "skipped", "failed", "left"].map(|name| {
            json[name]
                .as_u64()
                .unwrap_or_else(|| panic!("`{name}` is no number\n{self}"))
        })
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ended = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exited with {code}"),
            (None, signal) => format!("was killed by signal {signal:?}"),
        };
        let Outcome {
            command,
            stdout,
            stderr,
            ..
        } = self;
        write!(
            to,
            "{command}\n{ended}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---"
        )
    }
}

/// Runs a command to its end; kills it and fails when it hangs.
#[track_caller]
pub fn finish(mut command: Command) -> Outcome {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    wait(format!("{command:?}"), child)
}

/// Waits for a process whose stdout and stderr may be pipes.
#[track_caller]
pub fn wait(command: String, mut child: Child) -> Outcome {
    fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).unwrap();
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }
    let [stdout, stderr] = [drain(child.stdout.take()), drain(child.stderr.take())];
    let mut ended = None;
    let in_time = until(|| {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    if !in_time {
        child.kill().unwrap();
    }
    let status = ended.unwrap_or_else(|| child.wait().unwrap());
    let [stdout, stderr] = [stdout, stderr].map(|pipe| pipe.join().unwrap());
    let outcome = Outcome {
        command,
        status,
        stdout,
        stderr,
    };
    assert!(in_time, "it hangs, and was killed\n{outcome}");
    outcome
}

/// Asks again and again until the answer is yes; gives up, with `false`, when something must have gone wrong.
pub fn until(mut answer: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while !answer() {
        if started.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// A model of `tests/data/models`, or a file elsewhere.
pub fn model_file(name: &str) -> PathBuf {
    match name.contains('/') {
        true => PathBuf::from(name),
        false => Path::new(ROOT)
            .join("tests/data/models")
            .join(format!("{name}.onnx")),
    }
}

/// A picture of `tests/data/pictures`.
pub fn stored_picture(name: &str) -> Vec<u8> {
    fs::read(Path::new(ROOT).join("tests/data/pictures").join(name)).unwrap()
}

/// A picture in the PNM format: different in every corner and channel, and for every seed.
pub fn ppm(width: usize, height: usize, seed: usize) -> Vec<u8> {
    let mut bytes = format!("P6\n{width} {height}\n255\n").into_bytes();
    for y in 0..height {
        for x in 0..width {
            let level = |value: usize| (value % 256) as u8;
            bytes.extend([
                level(x * 255 / width + seed * 29),
                level(y * 255 / height + seed * 53),
                level((x * 3 + y * 7 + seed * 101) / 2),
            ]);
        }
    }
    bytes
}

/// How many random cases a test tries: as many as `SIMSEARCH_CASES` says, or else few.
pub fn seeds(few: u64) -> u64 {
    let named = std::env::var("SIMSEARCH_CASES").ok();
    named.map_or(few, |cases| cases.parse().expect("a whole number"))
}

/// A picture of one colour.
pub fn plain_ppm(level: u8) -> Vec<u8> {
    [&b"P6\n20 20\n255\n"[..], &[level; 1200]].concat()
}

/// The bytes of a per-object file.
pub fn feature_file(feature: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    npy::append_feature(feature, &mut bytes);
    bytes
}

/// The numbers of a per-object file.
#[track_caller]
pub fn read_feature(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let data =
        npy::feature_data(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    npy::floats(data).collect()
}

/// The cosine of each feature in one tree and its namesake in another.
#[track_caller]
pub fn npy_cosines(one: &Tree, other: &Tree) -> Vec<f64> {
    assert!(one.keys().eq(other.keys()), "the trees have other files");
    let numbers = |file: &[u8]| -> Vec<f32> {
        let data = npy::feature_data(file).unwrap();
        npy::floats(data).collect()
    };
    let pairs = one.values().zip(other.values());
    pairs
        .map(|(one, other)| cosine(&numbers(one), &numbers(other)))
        .collect()
}

/// The cosine of two features.
pub fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let product = |one: &[f32], other: &[f32]| -> f64 {
        let pairs = one.iter().zip(other);
        pairs
            .map(|(one, other)| f64::from(*one) * f64::from(*other))
            .sum()
    };
    product(one, other) / (product(one, one) * product(other, other)).sqrt()
}

/// ONNX Runtime, where this machine has it.
pub fn runtime() -> Option<PathBuf> {
    let named = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    let library_path = std::env::var_os("LD_LIBRARY_PATH");
    simsearch::inference::library::find(
        named.as_deref(),
        Some(Path::new(PROGRAM)),
        library_path.as_deref(),
    )
    .ok()
}

/// ONNX Runtime, or the end of the test.
macro_rules! need_runtime {
    () => {
        match crate::runtime() {
            Some(runtime) => runtime,
            None => crate::skip!("ONNX Runtime was not found; `make setup` fetches it"),
        }
    };
}
pub(crate) use need_runtime;

/// The folder with the large test data: `SIMSEARCH_SHARED`, or beside the project.
pub fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("SIMSEARCH_SHARED").map(PathBuf::from);
    let path = named.unwrap_or_else(|| Path::new(ROOT).join("../shared"));
    path.is_dir().then_some(path)
}

/// The folder with the large test data, or the end of the test.
macro_rules! need_shared {
    () => {
        match crate::shared() {
            Some(shared) => shared,
            None => crate::skip!("neither SIMSEARCH_SHARED nor ../shared is a folder"),
        }
    };
}
pub(crate) use need_shared;

/// Has the programs that the tests start heed the signals that ask them to stop: whoever started the tests may have them
/// ignored, as a shell does for what runs in the background of a script.
fn heed_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: no handler is installed.
            #[allow(
                unsafe_code,
                reason = "what a signal does is a matter of the whole process"
            )]
            unsafe { signal::signal(signal, SigHandler::SigDfl) }.unwrap();
        }
    });
}

/// A Python that has these modules: the one named by `SIMSEARCH_PYTHON`, or `python3`.
pub fn python(modules: &[&str]) -> Option<Command> {
    /// To import them takes seconds.
    const LOOK: &str = "
import importlib.util, sys
sys.exit(not all(importlib.util.find_spec(name) for name in sys.argv[1:]))
";
    let python = std::env::var_os("SIMSEARCH_PYTHON").unwrap_or_else(|| "python3".into());
    let tried = Command::new(&python)
        .args(["-c", LOOK])
        .args(modules)
        .output();
    tried
        .is_ok_and(|output| output.status.success())
        .then(|| Command::new(python))
}

/// A Python that has these modules, or the end of the test.
macro_rules! need_python {
    ($($module:literal),+) => {
        match crate::python(&[$($module),+]) {
            Some(python) => python,
            None => crate::skip!(
                "the Python that SIMSEARCH_PYTHON names (default python3) lacks one of {}",
                [$($module),+].join(", ")
            ),
        }
    };
}
pub(crate) use need_python;

/// Runs a helper program that must succeed.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
