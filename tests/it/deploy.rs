//! The scripts in `deploy`, which drive the program in parts: with GNU parallel itself, and with a Slurm of a few lines
//! that runs each task where it is submitted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::extract::pictures;
use crate::packed_parts::{Rows, rows};
use crate::{Outcome, PROGRAM, ROOT, TestEnv, VARIABLES, finish, model_file, need_runtime, skip};

/// Runs the tasks of an array one after the other; the number of tasks in the array is a wrong one, as when some are
/// submitted again.
const SBATCH: &str = r#"#!/bin/bash
echo "sbatch $*" >> calls
tasks=none
while [[ $1 == --* ]]; do
    [[ $1 == --array=* ]] && tasks=${1#--array=}
    shift
done
echo 7
exec >> output 2>&1
if [ $tasks = none ]; then
    bash "$@"
else
    for task in $(seq ${tasks%-*} ${tasks#*-}); do
        SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_COUNT=2 bash "$@"
        echo "task $task: $?" >> calls
    done
fi
"#;

/// Takes nothing back into its queue.
const SCONTROL: &str = "#!/bin/bash\necho \"scontrol $*\" >> calls\nexit 1\n";

/// Twelve pictures, what one run makes of them and packs, and a folder for programs with `simsearch` in it.
fn twelve(env: &TestEnv) -> Rows {
    pictures(env, 12);
    env.extract("nhwc", &[]).exits(0);
    env.concat(&[]).exits(0);
    let single = rows(env, "nhwc");
    fs::remove_dir_all(env.path("features")).unwrap();
    fs::create_dir(env.path("bin")).unwrap();
    symlink(PROGRAM, env.path("bin/simsearch")).unwrap();
    single
}

fn program(env: &TestEnv, name: &str, script: &str) {
    let path = env.path("bin").join(name);
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A script, in an environment in which the programs of `bin` come first.
fn script(env: &TestEnv, runtime: &Path, path: &str) -> Command {
    let mut command = Command::new("bash");
    command
        .arg(Path::new(ROOT).join("deploy").join(path))
        .current_dir(env.path(""));
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bin = env.path("bin");
    let path = std::iter::once(bin).chain(std::env::split_paths(&path));
    command
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("ORT_DYLIB_PATH", runtime)
        .env("ONNX_MODEL_PATH", model_file("nhwc"));
    command
}

fn calls(env: &TestEnv) -> Vec<String> {
    let calls = fs::read_to_string(env.path("calls")).unwrap_or_default();
    calls.lines().map(str::to_owned).collect()
}

#[test]
fn gnu_parallel_makes_in_parts_what_one_run_makes_and_tries_a_part_again_that_was_killed() {
    let runtime = need_runtime!();
    if Command::new("parallel").arg("--version").output().is_err() {
        skip!("GNU parallel is not installed");
    }
    let env = TestEnv::new();
    let single = twelve(&env);
    // One part is killed the first time.
    fs::rename(env.path("bin/simsearch"), env.path("bin/the_program")).unwrap();
    let killed = r#"#!/bin/bash
[[ "$*" != *"--part 2/4"* ]] || [ -e killed ] || { touch killed; kill -9 $$; }
exec the_program "$@"
"#;
    program(&env, "simsearch", killed);
    let mut command = script(&env, &runtime, "parallel.sh");
    command
        .env("HOME", env.path(""))
        .env("PARALLEL", "--will-cite");
    command.args(["4", "media", "features", "--provider", "cpu"]);
    finish(command).exits(0).says(&["no problems"]);
    assert!(env.path("killed").exists());
    assert_eq!(rows(&env, "nhwc"), single);
    // A part that fails each time is said.
    program(
        &env,
        "simsearch",
        &killed.replace("] || [ -e killed ] ||", "] ||"),
    );
    let mut command = script(&env, &runtime, "parallel.sh");
    command
        .env("HOME", env.path(""))
        .env("PARALLEL", "--will-cite");
    command.args(["4", "media", "features", "--provider", "cpu"]);
    let outcome = finish(command);
    assert!(!outcome.exited_with(0), "{outcome}");
}

fn submit(env: &TestEnv, runtime: &Path, more: &[&str]) -> Outcome {
    let mut command = script(env, runtime, "slurm/submit.sh");
    command.args(["4", "media", "features"]).args(more);
    finish(command)
}

#[test]
fn slurm_makes_in_parts_what_one_run_makes() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    let single = twelve(&env);
    program(&env, "sbatch", SBATCH);
    program(&env, "scontrol", SCONTROL);
    let outcome = submit(&env, &runtime, &["--provider", "cpu"]);
    assert_eq!(outcome.exits(0).stdout, "parts: job 7, finish: job 7\n");
    assert_eq!(rows(&env, "nhwc"), single);
    let calls = calls(&env);
    assert!(calls[0].contains("--array=0-3 "), "{calls:?}");
    assert_eq!(
        calls[1..5],
        ["task 0: 0", "task 1: 0", "task 2: 0", "task 3: 0"]
    );
    assert!(calls[5].contains("--dependency=afterany:7 "), "{calls:?}");
    let output = fs::read_to_string(env.path("output")).unwrap();
    assert!(output.contains("no problems"), "{output}");
}

#[test]
fn a_task_of_slurm_goes_back_into_the_queue_when_it_fails_and_not_when_it_was_wrong_or_cancelled() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    twelve(&env);
    fs::remove_file(env.path("bin/simsearch")).unwrap();
    program(&env, "scontrol", SCONTROL);
    let task = |program_does: &str, restarts: &str| {
        program(&env, "simsearch", &format!("#!/bin/bash\n{program_does}\n"));
        let _ = fs::remove_file(env.path("calls"));
        let mut command = script(&env, &runtime, "slurm/part.sbatch");
        command.arg("4").env("SLURM_ARRAY_JOB_ID", "7");
        command
            .env("SLURM_ARRAY_TASK_ID", "3")
            .env("SLURM_RESTART_COUNT", restarts);
        let code = finish(command).status.code();
        (code, calls(&env).join(" "))
    };
    let back = "scontrol requeue 7_3".to_owned();
    let script = "$(ps -o ppid= $$)";
    assert_eq!(task("exit 0", "0"), (Some(0), String::new()));
    assert_eq!(task("exit 2", "0"), (Some(2), String::new()));
    assert_eq!(task("exit 1", "0"), (Some(1), back.clone()));
    assert_eq!(task("exit 1", "3"), (Some(1), String::new()));
    assert_eq!(task("kill -9 $$", "1"), (Some(137), back.clone()));
    // The time is up: the program gets a TERM.
    let ended = format!("trap 'exit 143' TERM; kill -USR1 {script}; while :; do sleep 0.01; done");
    assert_eq!(task(&ended, "0"), (Some(143), back));
    assert_eq!(
        task(&ended.replace("USR1", "TERM"), "0"),
        (Some(143), String::new())
    );
    assert_eq!(
        task(
            "[ \"$*\" = 'extract --part 3/4 --pack --workers 1 --fail-on none --grace 45' ]",
            "0"
        )
        .0,
        Some(0)
    );
}
