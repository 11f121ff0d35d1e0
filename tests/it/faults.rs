//! Faults of the machine: each ends in a message with the way out and the right exit code, keeps what is done, and the
//! same command goes on once the fault is gone.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use simsearch::storage::npy;

use crate::concat::{numbered, write_features};
use crate::extract::{failures, features, kinds, pictures};
use crate::{
    Outcome, PROGRAM, TestEnv, Tree, VARIABLES, assert_same_tree, finish, need_runtime, skip, tree,
    wait,
};

/// A small file system at `path`, seen only in a mount namespace of its own.
struct Disk {
    /// A shell in that namespace, which ends with its standard input.
    shell: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    path: PathBuf,
}

impl Disk {
    /// A file system with these mount options; `None` where this user may make none.
    fn mount(path: &Path, options: &str) -> Option<Disk> {
        fs::create_dir_all(path).unwrap();
        let mut shell = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let output = BufReader::new(shell.stdout.take().unwrap());
        let input = shell.stdin.take();
        let path = path.to_owned();
        let mut disk = Disk {
            shell,
            input,
            output,
            path,
        };
        let mount = format!("mount -t tmpfs -o {options} none '{}'", disk.path.display());
        disk.tell(&mount).then_some(disk)
    }

    /// Lets the shell run a command; whether that succeeded.
    fn tell(&mut self, command: &str) -> bool {
        let mut answer = String::new();
        if let Some(input) = &mut self.input
            && writeln!(input, "{command} && echo done || echo failed").is_ok()
        {
            let _ = self.output.read_line(&mut answer);
        }
        answer == "done\n"
    }

    fn remount(&mut self, options: &str) {
        let command = format!("mount -o remount,{options} '{}'", self.path.display());
        assert!(self.tell(&command), "{command}");
    }

    /// The same command, where the disk is mounted.
    fn run(&self, command: &Command, env: &TestEnv) -> Outcome {
        let mut inside = Command::new("nsenter");
        let shell = self.shell.id().to_string();
        inside.args([
            "--user",
            "--mount",
            "--preserve-credentials",
            "--target",
            &shell,
        ]);
        let script = "cd \"$0\" && exec \"$@\"";
        inside
            .args(["sh", "-c", script])
            .arg(env.path(""))
            .arg(command.get_program());
        inside.args(command.get_args()).stdin(Stdio::null());
        for variable in VARIABLES {
            inside.env_remove(variable);
        }
        finish(inside)
    }

    /// Where this process sees the disk.
    fn seen(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.shell.id()));
        root.join(self.path.strip_prefix("/").unwrap())
    }

    fn tree(&self) -> Tree {
        tree(&self.seen())
    }

    /// Leaves so much free space: pages of 4096 bytes, the unit of this file system.
    fn fill(&self, free_pages: u64) {
        let path = self.seen().join("fill");
        let mut file = File::create(path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let length = file.metadata().unwrap().len() / 4096;
        file.set_len((length - free_pages) * 4096).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.seen().join("fill")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.shell.wait();
    }
}

/// A file system of its own, or the end of the test.
macro_rules! need_disk {
    ($path:expr, $options:expr) => {
        match Disk::mount(&$path, $options) {
            Some(disk) => disk,
            None => skip!("this user may not mount a file system in a namespace"),
        }
    };
}

/// Fails unless every per-object file is complete and nothing else is left.
#[track_caller]
fn assert_whole(tree: &Tree) -> usize {
    let features = crate::files_ending(tree, ".npy");
    for (name, bytes) in &features {
        assert!(npy::feature_data(bytes).is_ok(), "{name} is half a file");
    }
    assert!(
        !tree.keys().any(|name| name.contains(".tmp")),
        "{:?}",
        tree.keys()
    );
    features.len()
}

#[test]
fn a_full_disk_keeps_the_features_that_are_done_and_the_run_goes_on_later() {
    need_runtime!();
    let env = TestEnv::new();
    let all = pictures(&env, 120).len();
    let mut disk = need_disk!(env.path("features"), "size=200k");
    let extract = env.extract_command("nhwc", &["--json"]);
    disk.run(&extract, &env).exits(1).says(&[
        "cannot write features/nhwc/0",
        "No space left on device",
        "free some space and run the same command again",
    ]);
    let done = assert_whole(&disk.tree());
    assert!(0 < done && done < all, "{done}");
    disk.remount("size=8m");
    let outcome = disk.run(&extract, &env);
    let (left, done) = ((all - done) as u64, done as u64);
    assert_eq!(outcome.exits(0).counts(), [left, done, 0, 0]);
    assert_eq!(assert_whole(&disk.tree()), all);
}

#[test]
fn a_full_disk_keeps_the_failures_that_are_reported() {
    need_runtime!();
    let env = TestEnv::new();
    let entries: Vec<String> = (0..400)
        .map(|index| format!("object/{index:04}.jpg"))
        .collect();
    env.write("media/text", "no picture");
    fs::create_dir(env.path("media/object")).unwrap();
    for entry in &entries {
        fs::hard_link(env.path("media/text"), env.path("media").join(entry)).unwrap();
    }
    env.objects(&entries);
    let mut disk = need_disk!(env.path("features"), "size=64k");
    let extract = env.extract_command("nhwc", &["--json"]);
    disk.run(&extract, &env).exits(1).says(&[
        "cannot write features/nhwc/failures.jsonl",
        "No space left on device",
        "free some space and run the same command again",
    ]);
    disk.remount("size=8m");
    let outcome = disk.run(&extract, &env);
    assert_eq!(outcome.exits(1).counts(), [0, 0, 400, 0]);
    let report = &disk.tree()["nhwc/failures.jsonl"];
    let ids: std::collections::BTreeSet<String> = (report.split(|byte| *byte == b'\n'))
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap())
        .map(|failure| failure["path"].as_str().unwrap().to_owned())
        .collect();
    assert!(ids.iter().eq(&entries), "{ids:?}");
}

#[test]
fn wherever_concat_meets_a_full_disk_it_changes_nothing_and_packs_later() {
    let env = TestEnv::new();
    let disk = need_disk!(env.path("features"), "size=2m");
    let ids = numbered(0..100);
    write_features(&env, &ids);
    let copied = Command::new("cp")
        .arg("-r")
        .arg(env.path("features/model"))
        .arg(disk.seen())
        .status();
    assert!(copied.unwrap().success());
    let concat = env.command(["concat", "--feature-dir", "features"]);
    let before = disk.tree();
    let mut failed = 0;
    loop {
        disk.fill(failed);
        let outcome = disk.run(&concat, &env);
        disk.make_room();
        if outcome.status.code() == Some(0) {
            break;
        }
        outcome.exits(1).says(&[
            "features/model",
            "No space left on device",
            "free some space and run the same command again",
        ]);
        assert_same_tree(&disk.tree(), &before);
        failed += 1;
    }
    // The name of the holder, the features and the ids take a page each.
    assert!(failed >= 3, "{failed}");
    let found = disk.tree();
    assert_eq!(
        npy::object_ids(&found["model/0000.object_ids.npy"]).unwrap(),
        ids
    );
}

#[test]
fn a_full_disk_leaves_the_old_list() {
    let env = TestEnv::new();
    env.picture("object/a.jpg", 1);
    let disk = need_disk!(env.path("lists"), "size=64k");
    fs::write(disk.seen().join("objects.txt"), "old\n").unwrap();
    disk.fill(0);
    let list = env.command([
        "list",
        "--media-dir",
        "media",
        "--output",
        "lists/objects.txt",
    ]);
    disk.run(&list, &env).exits(1).says(&[
        "cannot write lists/objects.txt",
        "No space left on device",
        "free some space and run the same command again",
    ]);
    disk.make_room();
    let expected = Tree::from([("objects.txt".to_owned(), b"old\n".to_vec())]);
    assert_same_tree(&disk.tree(), &expected);
    disk.run(&list, &env).exits(0);
    assert_eq!(disk.tree()["objects.txt"], b"object/a.jpg\n");
}

#[test]
fn a_read_only_file_system_is_named_and_left_as_it_is() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 4);
    let mut disk = need_disk!(env.path("features"), "size=2m");
    let extract = env.extract_command("nhwc", &["--json"]);
    let limited = env.extract_command("nhwc", &["--json", "--limit", "2"]);
    let list = env.command([
        "list",
        "--media-dir",
        "media",
        "--output",
        "features/objects.txt",
    ]);
    let concat = env.command(["concat", "--feature-dir", "features"]);
    let hint = [
        "Read-only file system",
        "mount it for writing, or name another directory",
    ];
    disk.remount("ro");
    disk.run(&extract, &env)
        .exits(1)
        .says(&["features/nhwc"])
        .says(&hint);
    disk.remount("rw");
    disk.run(&limited, &env).exits(0);
    let before = disk.tree();
    disk.remount("ro");
    for command in [&extract, &list, &concat] {
        disk.run(command, &env)
            .exits(1)
            .says(&["features/"])
            .says(&hint);
        assert_same_tree(&disk.tree(), &before);
    }
    disk.remount("rw");
    assert_eq!(disk.run(&extract, &env).exits(0).counts(), [2, 2, 0, 0]);
    disk.run(&list, &env).exits(0);
    disk.run(&concat, &env).exits(0);
}

#[test]
fn a_directory_that_may_not_be_written_is_named_and_left_as_it_is() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..3));
    let program = env.path("simsearch");
    fs::copy(PROGRAM, &program).unwrap();
    let mode = |path: &str, mode| {
        fs::set_permissions(env.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("", 0o755);
    mode("features/model", 0o555);
    mode("media", 0o555);
    let before = env.tree("");
    for (arguments, path) in [
        (["concat", "--feature-dir", "features"], "features/model"),
        (["list", "--media-dir", "media"], "media/objects.txt"),
    ] {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(env.path(""));
        if nix::unistd::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        if let Err(error) = command.output() {
            skip!("this user cannot run a program as another one: {error}");
        }
        finish(command).exits(1).says(&[
            path,
            "Permission denied",
            "check the owner and the mode, or name another path",
        ]);
        assert_same_tree(&env.tree(""), &before);
    }
    mode("features/model", 0o755);
    mode("media", 0o755);
}

#[test]
fn whatever_is_no_regular_file_is_reported_and_not_waited_for() {
    need_runtime!();
    let env = TestEnv::new();
    let mut entries = pictures(&env, 1);
    let path = |name: &str| env.path("media/object").join(name);
    let _listening = UnixListener::bind(path("socket.jpg")).unwrap();
    nix::unistd::mkfifo(&path("fifo.jpg"), Mode::S_IRWXU).unwrap();
    symlink("fifo.jpg", path("to_fifo.jpg")).unwrap();
    symlink("/dev/zero", path("to_zero.jpg")).unwrap();
    // A regular file that can be opened, and whose first byte cannot be read.
    symlink("/proc/self/mem", path("unreadable.jpg")).unwrap();
    let mut expected = vec![
        "fifo.jpg read not-a-file",
        "socket.jpg read not-a-file",
        "to_fifo.jpg read not-a-file",
        "to_zero.jpg read not-a-file",
        "unreadable.jpg read io",
    ];
    // Most users, and some containers, may make no device.
    let null = makedev(1, 3);
    if mknod(&path("device.jpg"), SFlag::S_IFCHR, Mode::S_IRWXU, null).is_ok() {
        expected.insert(0, "device.jpg read not-a-file");
    }
    let names = expected.iter().map(|kind| kind.split(' ').next().unwrap());
    entries.extend(names.map(|name| format!("object/{name}")));
    env.objects(&entries);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [1, 0, expected.len() as u64, 0]);
    assert_eq!(kinds(&env, "nhwc"), expected);
    // None of them is listed.
    env.list(&[]).exits(0);
    assert_eq!(
        fs::read_to_string(env.path("media/objects.txt")).unwrap(),
        "object/0000.jpg\n"
    );
}

#[test]
fn a_file_that_vanishes_or_shrinks_after_it_was_listed_is_tried_again() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = pictures(&env, 3);
    env.list(&[]).exits(0);
    let path = |index: usize| env.path("media").join(&entries[index]);
    fs::remove_file(path(0)).unwrap();
    File::options()
        .write(true)
        .open(path(1))
        .unwrap()
        .set_len(200)
        .unwrap();
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [1, 0, 2, 0]);
    assert_eq!(
        kinds(&env, "nhwc"),
        ["0000.jpg read missing", "0001.jpg decode truncated"]
    );
    pictures(&env, 3);
    // The third picture was written again, too.
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(0).counts(), [3, 0, 0, 0]);
}

#[test]
fn a_picture_that_was_still_being_written_is_tried_again() {
    need_runtime!();
    let env = TestEnv::new();
    // As text, so that decoding takes its time; and one number is missing.
    let side = 1200;
    let mut half = format!("P3\n{side} {side}\n255\n");
    half.push_str(&"123 ".repeat(side * side * 3 - 1));
    env.write("media/object/copied.jpg", &half);
    env.objects(&["object/copied.jpg"]);
    let path = env.path("media/object/copied.jpg");
    let inotify = Inotify::init(InitFlags::empty()).unwrap();
    inotify
        .add_watch(&path, AddWatchFlags::IN_CLOSE_NOWRITE)
        .unwrap();
    let mut command = env.extract_command("nhwc", &["--json"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The rest comes between reading and the end of decoding.
    inotify.read_events().unwrap();
    File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"45\n")
        .unwrap();
    let outcome = wait(format!("{command:?}"), child);
    assert_eq!(outcome.exits(1).counts(), [0, 0, 1, 0]);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(0).counts(), [1, 0, 0, 0]);
}

#[test]
fn a_part_of_the_tree_that_is_not_mounted_stops_the_run() {
    need_runtime!();
    let env = TestEnv::new();
    let mut entries = Vec::new();
    for disk in ["one", "two"] {
        for seed in 0..100 {
            let entry = format!("object/{disk}/{}/{disk}{seed:03}.jpg", seed % 2);
            env.picture(&entry, seed);
            entries.push(entry);
        }
    }
    env.objects(&entries);
    let two = env.path("media/object/two");
    fs::rename(&two, env.path("away")).unwrap();
    fs::create_dir(&two).unwrap();
    env.extract("nhwc", &[]).exits(1).says(&[
        "media/object/two is empty",
        "mount its disk and run the same command again",
    ]);
    assert_eq!(failures(&env, "nhwc"), Vec::<serde_json::Value>::new());
    fs::remove_dir(&two).unwrap();
    fs::rename(env.path("away"), &two).unwrap();
    env.extract("nhwc", &[]).exits(0);
    assert_eq!(features(&env, "nhwc").len(), 200);
}

#[test]
fn the_object_directory_that_is_not_mounted_stops_the_run() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 100);
    env.extract("nhwc", &["--limit", "50"]).exits(0);
    fs::rename(env.path("media/object"), env.path("away")).unwrap();
    fs::create_dir(env.path("media/object")).unwrap();
    env.extract("nhwc", &[]).exits(1).says(&["mounted"]);
    assert_eq!(failures(&env, "nhwc"), Vec::<serde_json::Value>::new());
    env.list(&[])
        .exits(1)
        .says(&["media/objects.txt lists some", "mounted"]);
    fs::remove_dir(env.path("media/object")).unwrap();
    fs::rename(env.path("away"), env.path("media/object")).unwrap();
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(0).counts(), [50, 50, 0, 0]);
}

#[test]
fn pictures_that_were_deleted_after_they_were_done_keep_nothing_from_being_done() {
    need_runtime!();
    let env = TestEnv::new();
    let mut entries = pictures(&env, 70);
    env.extract("nhwc", &[]).exits(0);
    fs::remove_dir_all(env.path("media/object")).unwrap();
    env.picture("later/later.jpg", 71);
    entries.push("later/later.jpg".into());
    env.objects(&entries);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(0).counts(), [1, 70, 0, 0]);
}

#[test]
fn pictures_that_were_deleted_are_reported_one_by_one() {
    need_runtime!();
    let env = TestEnv::new();
    let mut entries = pictures(&env, 70);
    // An album that was emptied, and one that was deleted.
    fs::create_dir(env.path("media/emptied")).unwrap();
    entries.extend((0..63).map(|index| format!("emptied/gone{index:02}.jpg")));
    entries.extend((0..80).map(|index| format!("deleted/away{index:02}.jpg")));
    env.objects(&entries);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [70, 0, 143, 0]);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [0, 70, 143, 0]);
}

/// The command under a limit of the shell's `ulimit`.
pub(crate) fn limited(limit: &str, command: &Command, env: &TestEnv) -> Outcome {
    let mut shell = Command::new("sh");
    let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
    shell
        .args(["-c", &script])
        .arg(command.get_program())
        .args(command.get_args());
    shell.current_dir(env.path("")).stdin(Stdio::null());
    for variable in VARIABLES {
        shell.env_remove(variable);
    }
    finish(shell)
}

#[test]
fn too_few_file_descriptors_stop_a_run_before_it_leaves_anything_out() {
    need_runtime!();
    let env = TestEnv::new();
    // Deep, since a walk holds a descriptor for each level.
    for index in 0..20 {
        env.picture(
            &format!("object/{index}/a/b/c/d/e/f/g/h/{index:04}.jpg"),
            index,
        );
    }
    env.write("media/objects.txt", "old\n");
    let list = env.command(["list", "--media-dir", "media"]);
    let extract = env.extract_command("nhwc", &["--workers", "8"]);
    let concat = env.command(["concat", "--feature-dir", "features"]);
    let listed = || fs::read_to_string(env.path("media/objects.txt")).unwrap();
    // Whether it went through; else it says why.
    let goes = |limit: u32, command: &Command| {
        let outcome = limited(&format!("-n {limit}"), command, &env);
        if outcome.status.code() == Some(0) {
            return true;
        }
        outcome
            .exits(1)
            .says(&["Too many open files", "raise the limit (`ulimit -n`)"]);
        false
    };
    assert!(!goes(10, &list));
    assert_eq!(listed(), "old\n");
    assert!(goes(64, &list));
    assert_eq!(listed().lines().count(), 20);

    assert!(!goes(12, &extract));
    // Without a descriptor it cannot even list what to tidy: the next run does.
    assert!(goes(64, &extract));
    assert_eq!(assert_whole(&env.tree("features")), 20);

    let before = env.tree("features");
    assert!(!goes(5, &concat));
    assert_same_tree(&env.tree("features"), &before);
    assert!(goes(64, &concat));
    assert_eq!(
        env.tree("features/nhwc")
            .keys()
            .filter(|name| name.ends_with(".npy"))
            .count(),
        3
    );
}

#[test]
fn a_limit_of_file_size_is_an_error_that_names_it() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    let extract = env.extract_command("nhwc", &["--json"]);
    let concat = env.command(["concat", "--feature-dir", "features"]);
    let says = [
        "features/nhwc",
        "File too large",
        "raise the limit (`ulimit -f`)",
    ];
    limited("-f 0", &extract, &env).exits(1).says(&says);
    assert_eq!(assert_whole(&env.tree("features")), 0);
    assert_eq!(
        env.extract("nhwc", &["--json"]).exits(0).counts(),
        [2, 0, 0, 0]
    );
    let before = env.tree("features");
    limited("-f 0", &concat, &env).exits(1).says(&says);
    assert_same_tree(&env.tree("features"), &before);
    env.concat(&[]).exits(0);
    // A pair, its sources, their checksums, and the recipe.
    assert_eq!(env.tree("features/nhwc").len(), 5);
}

#[test]
fn threads_that_cannot_be_started_are_an_error_that_says_so() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..3));
    let before = env.tree("features");
    // Room for the program, and not for the stacks of its threads.
    let concat = env.command(["concat", "--feature-dir", "features"]);
    limited("-v 40000", &concat, &env).exits(1).says(&[
        "cannot start 16 threads",
        "raise the limits (`ulimit -v`, `ulimit -u`)",
    ]);
    assert_same_tree(&env.tree("features"), &before);
    env.concat(&[]).exits(0);
}

#[test]
fn a_feature_directory_that_is_a_file_is_named() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 1);
    env.write("features", "a file");
    env.extract("nhwc", &[])
        .exits(1)
        .says(&["cannot make the directory features/nhwc", "Not a directory"]);
    env.concat(&[]).exits(1).says(&[
        "cannot read the feature directory features",
        "Not a directory",
    ]);
    assert_eq!(fs::read(env.path("features")).unwrap(), b"a file");
}

#[test]
fn the_directory_for_temporary_files_is_of_no_concern() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    for mut command in [
        env.command(["list", "--media-dir", "media"]),
        env.extract_command("nhwc", &[]),
        env.command(["concat", "--feature-dir", "features"]),
    ] {
        command.env("TMPDIR", "/nowhere");
        finish(command).exits(0);
    }
    assert_eq!(rows_of(&env), 2);
}

fn rows_of(env: &TestEnv) -> usize {
    let tree = env.tree("features/nhwc");
    npy::object_ids(&tree["0000.object_ids.npy"]).unwrap().len()
}

#[test]
fn an_output_that_takes_nothing_does_not_change_the_exit_code() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    let run = |redirections: &str, command: &Command| {
        let mut shell = Command::new("sh");
        let script = format!("exec \"$0\" \"$@\" {redirections}");
        shell
            .args(["-c", &script])
            .arg(command.get_program())
            .args(command.get_args());
        shell.current_dir(env.path(""));
        for variable in VARIABLES {
            shell.env_remove(variable);
        }
        finish(shell)
    };
    let list = env.command(["list", "--media-dir", "media"]);
    let nowhere = env.command(["list", "--media-dir", "nowhere"]);
    let extract = env.extract_command("nhwc", &["--json"]);
    let concat = env.command(["concat", "--feature-dir", "features", "--json"]);
    for (redirections, command, code) in [
        (">&- 2>&-", &list, 0),
        ("2>/dev/full", &nowhere, 1),
        (">&- 2>&-", &extract, 0),
        ("2>/dev/full", &extract, 0),
        (">&- 2>&-", &concat, 0),
        ("2>/dev/full", &concat, 0),
    ] {
        run(redirections, command).exits(code);
    }
    // Nothing was written where standard output would have been.
    assert_eq!(
        fs::read_to_string(env.path("media/objects.txt"))
            .unwrap()
            .lines()
            .count(),
        2
    );
    assert_eq!(rows_of(&env), 2);
    // What was asked for and cannot be had is an error, unless its reader went away.
    let mut paths = env.command([
        "search",
        "--feature-dir",
        "features",
        "--media-dir",
        "media",
    ]);
    paths.args(["--format", "paths0", "0000.jpg"]);
    for command in [
        &extract,
        &concat,
        &env.command(["list", "--media-dir", "media", "--output", "-"]),
        // Without a line break in it.
        &paths,
    ] {
        run(">/dev/full", command)
            .exits(1)
            .says(&["cannot write to standard output", "free some space"]);
    }
    let holder = simsearch::storage::model_dir::ModelDir::open(&env.path("features/nhwc")).unwrap();
    let _held = holder.lock_packing(&|_| {}).unwrap();
    run("2>/dev/full", &concat).exits(11);
}
