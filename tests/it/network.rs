//! The program makes no connection; `serve` takes those that others make.

use std::fs;

use object::{Object, read::elf::ElfFile64};

use crate::extract::pictures;
use crate::{PROGRAM, TestEnv, finish, need_runtime, skip};

/// Functions of the C library without which nothing gets to another machine by itself. (`serve` has those that wait for
/// others to come: `socket`, `bind`, `listen`, `accept4`.)
const NETWORK: [&str; 4] = ["connect", "sendto", "getaddrinfo", "gethostbyname"];

#[test]
fn the_program_has_no_function_that_could_reach_another_machine() {
    let bytes = fs::read(PROGRAM).unwrap();
    let Ok(program) = ElfFile64::<object::Endianness>::parse(&*bytes) else {
        skip!("the program is no 64-bit ELF file here");
    };
    let imports: Vec<String> = (program.imports().unwrap().iter())
        .map(|import| String::from_utf8_lossy(import.name()).into_owned())
        .collect();
    // It reads files: were these not seen, nothing would be.
    assert!(
        imports.iter().any(|name| name.starts_with("open")),
        "{imports:?}"
    );
    for name in NETWORK {
        assert!(
            !imports.iter().any(|import| import == name),
            "the program calls `{name}`"
        );
    }
}

/// ONNX Runtime has such functions: it must not use them.
#[test]
fn no_run_makes_a_socket_of_an_internet_family() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 3);
    let traced = |command: std::process::Command| {
        let mut strace = std::process::Command::new("strace");
        strace.args(["-f", "-qq", "-o", "trace", "-e", "trace=socket,connect"]);
        strace
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(env.path(""));
        for variable in crate::VARIABLES {
            strace.env_remove(variable);
        }
        strace
    };
    let mut tried = std::process::Command::new("strace");
    tried.args(["-qq", "-e", "trace=socket", "true"]);
    if !tried.output().is_ok_and(|output| output.status.success()) {
        skip!("strace is not on this machine, or may not trace");
    }
    // A program that does make one is seen.
    if let Some(mut python) = crate::python(&["socket"]) {
        python.args(["-c", "import socket; socket.socket()"]);
        finish(traced(python)).exits(0);
        let trace = fs::read_to_string(env.path("trace")).unwrap();
        assert!(trace.contains("AF_INET"), "{trace}");
    }
    for command in [
        env.command(["list", "--media-dir", "media"]),
        env.extract_command("nhwc", &[]),
        env.command(["concat", "--feature-dir", "features"]),
    ] {
        let outcome = finish(traced(command));
        outcome.exits(0);
        let trace = fs::read_to_string(env.path("trace")).unwrap();
        assert!(!trace.contains("AF_INET"), "{outcome}\n{trace}");
    }
}

/// ONNX Runtime 1.32 records events below it, to be uploaded some time, unless it is told not to before it is loaded.
#[test]
fn no_run_leaves_anything_in_the_home_of_who_runs_it() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 3);
    let home = env.path("home");
    fs::create_dir(&home).unwrap();
    let mut command = env.extract_command("nhwc", &[]);
    command.env("HOME", &home).env_remove("XDG_CACHE_HOME");
    finish(command).exits(0);
    assert_eq!(env.tree("home").into_keys().collect::<Vec<_>>(), [""; 0]);
}
