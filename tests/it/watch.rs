//! `simsearch watch`: passes after changes, what ends it and what does not.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::crash::{need_fault_points, waiting_in_a_part};
use crate::extract::long_run;
use crate::follow::{Media, rows, sources_of};
use crate::serve::client::Server;
use crate::{Outcome, TestEnv, need_runtime, ppm, skip, until, wait};

/// A running `simsearch watch`; killed when it is dropped.
struct Watch {
    child: Option<Child>,
    said: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

/// `simsearch watch` on `media` and `features`, on the CPU.
fn watch_command(env: &TestEnv, more: &[&str]) -> Command {
    let model = crate::model_file("nhwc");
    let runtime = crate::runtime().unwrap();
    let arguments = ["watch", "--media-dir", "media", "--feature-dir", "features"];
    let mut command = env.command(arguments.iter().chain(more));
    command.args(["--provider", "cpu", "--model"]).arg(model);
    command.arg("--runtime").arg(runtime);
    command
}

impl Watch {
    /// Starts it, and waits until the first pass is over.
    fn start(env: &TestEnv, more: &[&str]) -> Self {
        let watch = Watch::spawn(watch_command(env, more));
        watch.says("; Ctrl-C ends it");
        watch
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = (command.stdout(Stdio::null()).stderr(Stdio::piped()))
            .spawn()
            .unwrap();
        let said = Arc::<Mutex<String>>::default();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let into = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in lines {
                let line = line.unwrap() + "\n";
                into.lock().unwrap().push_str(&line);
            }
        });
        Watch {
            child: Some(child),
            said,
            reader: Some(reader),
        }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said this.
    #[track_caller]
    fn says(&self, text: &str) {
        self.eventually(&format!("it says `{text}`"), || self.said().contains(text));
    }

    #[track_caller]
    fn eventually(&self, what: &str, answer: impl FnMut() -> bool) {
        assert!(
            until(answer),
            "never came true: {what}\n{}\n---",
            self.said()
        );
    }

    /// Sends a signal and waits for the end.
    #[track_caller]
    fn end(mut self, signal: Signal) -> Outcome {
        let child = self.child.take().unwrap();
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let mut outcome = wait(format!("simsearch watch and {signal}"), child);
        self.reader.take().unwrap().join().unwrap();
        outcome.stderr = self.said();
        outcome
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How many files of the model's directory end so; some may come and go meanwhile.
fn count_ending(env: &TestEnv, end: &str) -> usize {
    let entries = walkdir::WalkDir::new(env.path("features/nhwc")).into_iter();
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_owned()));
    names
        .filter(|name| name.to_string_lossy().ends_with(end))
        .count()
}

/// Whether all that is there is listed and extracted, and nothing else is.
fn is_up_to_date(env: &TestEnv, count: usize) -> bool {
    let places = ["--media-dir", "media", "--feature-dir", "features"];
    let status = env.run(["status", "--json"].iter().chain(&places)).json();
    let none = serde_json::json!([]);
    status["listed"] == count
        && ["pending", "failed", "unlisted"]
            .iter()
            .all(|name| status[name] == 0)
        && ["changed", "moved", "removed"]
            .iter()
            .all(|name| status[name] == none)
}

/// Fails unless the rows are those of a directory that is made afresh of the same tree, byte for byte.
#[track_caller]
fn assert_as_fresh(env: &TestEnv, count: usize) {
    env.concat(&[]).exits(0);
    let found = rows(&env.tree("features/nhwc"));
    assert_eq!(found.len(), count);
    fs::rename(env.path("features"), env.path("before")).unwrap();
    env.list(&[]).exits(0);
    env.extract("nhwc", &[]).exits(0);
    env.concat(&[]).exits(0);
    let fresh = rows(&env.tree("features/nhwc"));
    assert!(
        found == fresh,
        "{:#?}\n{:#?}",
        sources_of(&found),
        sources_of(&fresh)
    );
}

#[test]
fn whatever_is_edited_while_it_runs_the_rows_are_those_of_a_fresh_directory() {
    need_runtime!();
    // Two copies on one tree do no harm to each other.
    for (seed, copies) in [(1, 1), (2, 2)] {
        let env = TestEnv::new();
        let mut media = Media::new(&env, seed);
        for number in 0..24 {
            media.write(&format!("x/first{number:02}.jpg"), 9, number);
        }
        let watches: Vec<Watch> = (0..copies)
            .map(|_| Watch::start(&env, &["--rows", "5"]))
            .collect();
        let mut story = Vec::new();
        for _ in 0..3 {
            for _ in 0..5 {
                story.push(media.edit());
            }
            watches[0].eventually(&format!("all is done: {story:#?}"), || {
                is_up_to_date(&env, media.entries.len())
            });
        }
        for watch in watches {
            // A pass may have come to its end without this test's knowing.
            let outcome = watch.end(Signal::SIGINT);
            let codes = [0, 130].map(|code| outcome.exited_with(code));
            assert!(codes.contains(&true), "{outcome}");
        }
        assert!(count_ending(&env, ".features.npy") > 0);
        assert_as_fresh(&env, media.entries.len());
    }
}

#[test]
fn a_server_beside_it_shows_what_comes_changes_and_goes() {
    need_runtime!();
    let env = TestEnv::new();
    for seed in 0..4 {
        env.picture(&format!("x/{seed:04}.jpg"), seed);
    }
    let watch = Watch::start(&env, &[]);
    let server = Server::start(&env, &[]);
    let is_there = |id: &str| {
        let shown = server.get(&format!("/object/{id}")).status == 200;
        shown && server.get(&format!("/similar/{id}")).status == 200
    };
    assert!(is_there("0001.jpg") && !is_there("new.jpg"));
    // In a folder that is not watched yet.
    env.write("media/y/z/new.jpg", ppm(40, 30, 2));
    watch.eventually("a new picture is shown", || is_there("new.jpg"));
    assert_eq!(
        server.get("/object/new.jpg").body,
        fs::read(env.path("media/y/z/new.jpg")).unwrap()
    );
    let distance = || -> f64 {
        let found = server.similar("0000.jpg", 9);
        found
            .iter()
            .find(|(id, _)| id == "0001.jpg")
            .map_or(-1.0, |it| it.1)
    };
    assert!(distance() > 0.0);
    env.picture("x/0001.jpg", 0);
    watch.eventually("a picture that has changed is compared anew", || {
        distance() == 0.0
    });
    fs::remove_file(env.path("media/x/0003.jpg")).unwrap();
    watch.eventually("a picture that is gone is gone", || {
        server.get("/similar/0003.jpg").status == 404
    });
    watch.says("1 removed");
    watch.end(Signal::SIGTERM).exits(0);
}

#[test]
fn what_is_left_to_a_part_is_made_when_nobody_writes_that_any_more() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    env.picture("0001.jpg", 1);
    env.list(&[]).exits(0);
    let mut part = waiting_in_a_part(&env, "");
    let mut command = watch_command(&env, &[]);
    // What is waited for takes milliseconds.
    command.env("SIMSEARCH_FAULT", "hang 999");
    let watch = Watch::spawn(command);
    watch.says("1 listed object left to processes that write parts");
    part.kill().unwrap();
    part.wait().unwrap();
    watch.says("1 done in");
    watch.end(Signal::SIGTERM).exits(0);
}

#[test]
fn with_poll_it_looks_again_and_goes_on_when_a_tree_that_was_gone_is_back() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("x/0001.jpg", 1);
    let watch = Watch::start(&env, &["--poll", "1", "--objects", "list.txt"]);
    watch.says("looking at media every 1 s");
    env.picture("x/0002.jpg", 2);
    watch.says("2 objects listed");
    fs::rename(env.path("media"), env.path("aside")).unwrap();
    watch.says("cannot read the media directory media");
    fs::rename(env.path("aside"), env.path("media")).unwrap();
    env.picture("x/0003.jpg", 3);
    watch.says("3 objects listed");
    // What is not mounted looks empty.
    let list = env.path("list.txt");
    let listed = fs::read(&list).unwrap();
    fs::rename(env.path("media/x"), env.path("aside")).unwrap();
    watch.says("is the disk of media mounted");
    assert_eq!(fs::read(&list).unwrap(), listed);
    assert_eq!(count_ending(&env, ".jpg.npy"), 3);
    let written = || fs::metadata(&list).unwrap().modified().unwrap();
    let before = written();
    fs::rename(env.path("aside"), env.path("media/x")).unwrap();
    env.write("media/x/0002.jpg", ppm(50, 20, 9));
    watch.says("1 done, 1 of them changed");
    // A list that has not changed is not written: who reads it when it changes need not.
    assert_eq!(written(), before);
    let outcome = watch.end(Signal::SIGINT);
    outcome.exits(0);
    // It may have been gone for several passes.
    let told = outcome.stderr.matches("cannot read the media").count();
    assert_eq!(told, 1, "{outcome}");
    let told = outcome
        .stderr
        .matches("is the disk of media mounted")
        .count();
    assert_eq!(told, 1, "{outcome}");
}

#[test]
fn a_signal_ends_it_with_0_while_it_waits_and_else_as_it_ends_extract() {
    need_runtime!();
    let env = TestEnv::new();
    let all = long_run(&env);
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let _ = fs::remove_dir_all(env.path("features"));
        let slowly = ["--workers", "1", "--batch-size", "2"];
        let watch = Watch::spawn(watch_command(&env, &slowly));
        watch.eventually("a feature is there", || count_ending(&env, ".jpg.npy") > 0);
        let outcome = watch.end(signal);
        outcome
            .exits(code)
            .says(&["interrupted", "the same command goes on from here"]);
        let done = count_ending(&env, ".jpg.npy");
        assert!(done < all, "it was not interrupted\n{outcome}");
        let watch = Watch::start(&env, &[]);
        assert!(is_up_to_date(&env, all));
        watch.end(signal).exits(0).does_not_say("interrupted");
    }
}

#[test]
fn a_broken_picture_is_named_and_done_when_it_is_whole() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("x/0001.jpg", 1);
    let watch = Watch::start(&env, &[]);
    let whole = ppm(40, 30, 2);
    env.write("media/x/0002.jpg", &whole[..100]);
    watch.says("1 object failed; features/nhwc/failures.jsonl says why");
    env.write("media/x/0002.jpg", &whole);
    watch.eventually("it is done and no failure any more", || {
        is_up_to_date(&env, 2) && !env.path("features/nhwc/failures.jsonl").exists()
    });
    env.write("media/x/0003.jpg", "no picture");
    watch.eventually("another is told of anew", || {
        watch.said().matches("1 object failed").count() == 2
    });
    watch.end(Signal::SIGINT).exits(0);
}

#[test]
fn what_prune_asks_about_is_left_and_said_once() {
    need_runtime!();
    let env = TestEnv::new();
    for seed in 0..4 {
        env.picture(&format!("x/{seed:04}.jpg"), seed);
    }
    let watch = Watch::start(&env, &[]);
    for seed in 0..3 {
        fs::remove_file(env.path(format!("media/x/{seed:04}.jpg"))).unwrap();
    }
    watch.says("nothing is pruned: 3 of 4 features are not listed");
    let there = || count_ending(&env, ".jpg.npy");
    assert_eq!(there(), 4);
    for seed in 4..6 {
        env.picture(&format!("x/{seed:04}.jpg"), seed);
        watch.says(&format!("{} objects listed", seed - 2));
    }
    // Half of the features are not listed now.
    watch.says("3 removed");
    assert_eq!(there(), 3);
    let outcome = watch.end(Signal::SIGINT);
    let told = outcome.exits(0).stderr.matches("nothing is pruned").count();
    assert!((1..=2).contains(&told), "{outcome}");
}

#[test]
fn a_folder_named_object_that_comes_later_is_one_more_folder() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("x/0.jpg", 0);
    env.picture("x/1.jpg", 1);
    let watch = Watch::start(&env, &[]);
    env.picture("object/2.jpg", 2);
    watch.eventually("all three are done", || is_up_to_date(&env, 3));
    drop(watch);
    let only = "only media/object is walked, and there is more beside it; `.` walks the whole tree";
    env.list(&[]).exits(0).says(&["listed 1 object", only]);
    let whole = env.list(&["."]);
    assert!(!whole.exits(0).stderr.contains("only"), "{whole}");
    Watch::start(&env, &[]).says(only);
}

#[test]
fn pictures_that_are_there_and_not_listed_any_more_are_left_to_prune() {
    need_runtime!();
    let env = TestEnv::new();
    for seed in 0..8 {
        let end = ["jpg", "png"][usize::from(seed > 5)];
        env.picture(&format!("x/{seed}.{end}"), seed);
    }
    let watch = Watch::start(&env, &["--pictures"]);
    watch.says("8 done");
    watch.end(Signal::SIGINT).exits(0);
    let watch = Watch::start(&env, &[]);
    watch.says("nothing is pruned: 2 pictures, such as media/x/");
    watch.says("are still there, and not listed in media/objects.txt");
    watch.end(Signal::SIGINT).exits(0);
    assert_eq!(count_ending(&env, "g.npy"), 8);
    let places = ["--media-dir", "media", "--feature-dir", "features"];
    let pruned = env.run(["prune", "--yes"].iter().chain(&places));
    pruned.exits(0).says(&["removed 2 objects"]);
}

#[test]
fn the_pictures_of_another_tree_do_not_hide_that_all_of_the_first_are_gone() {
    need_runtime!();
    let env = TestEnv::new();
    for seed in 0..4 {
        env.picture(&format!("x/{seed}.jpg"), seed);
    }
    Watch::start(&env, &[]).end(Signal::SIGINT).exits(0);
    fs::rename(env.path("media"), env.path("aside")).unwrap();
    for seed in 4..14 {
        env.picture(&format!("y/{seed}.jpg"), seed);
    }
    let watch = Watch::start(&env, &[]);
    watch.says("nothing is pruned: 4 of 4 features are not listed");
    env.picture("y/14.jpg", 14);
    watch.says("11 objects listed");
    watch.end(Signal::SIGINT).exits(0);
    assert_eq!(count_ending(&env, ".jpg.npy"), 15);
}

#[test]
fn a_tar_that_comes_or_is_written_anew_is_done_and_one_that_is_torn_prunes_nothing() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("a.jpg", 1);
    let mut watch = watch_command(&env, &[]);
    watch.env("SIMSEARCH_STEPS", env.path("steps"));
    let watch = Watch::spawn(watch);
    watch.says("; Ctrl-C ends it");
    let bytes = |names: &[&str], seed: usize| {
        let mut tar = tar::Builder::new(Vec::new());
        for (number, name) in names.iter().enumerate() {
            let picture = crate::ppm(30, 20, seed + number);
            let mut header = tar::Header::new_gnu();
            header.set_size(picture.len() as u64);
            tar.append_data(&mut header, name, &picture[..]).unwrap();
        }
        tar.into_inner().unwrap()
    };
    // As whoever makes one should: under another name, or elsewhere.
    let put = |bytes: Vec<u8>| {
        env.write("media/b.tar.part", bytes);
        fs::rename(env.path("media/b.tar.part"), env.path("media/b.tar")).unwrap();
    };
    put(bytes(&["one.jpg", "two.jpg"], 10));
    watch.eventually("the tar is done", || is_up_to_date(&env, 3));
    put(bytes(&["two.jpg", "three.jpg"], 20));
    watch.eventually("it is done again", || is_up_to_date(&env, 3));
    watch.says("1 removed");
    let whole = bytes(&["two.jpg", "three.jpg"], 30);
    put(whole[..3000].to_vec());
    watch.says("it is cut off at byte 3000");
    watch.says("nothing is pruned, since not all folders and tar files can be read");
    assert_eq!(count_ending(&env, ".jpg.npy"), 3);
    put(whole);
    watch.eventually("it is whole", || is_up_to_date(&env, 3));
    watch.says("2 done, 2 of them changed in");
    watch.end(Signal::SIGINT).exits(0);
}

#[test]
fn nothing_is_pruned_while_a_folder_cannot_be_read() {
    need_runtime!();
    let env = TestEnv::new();
    for seed in 0..6 {
        let folder = ["shut", "open"][usize::from(seed > 1)];
        env.picture(&format!("x/{folder}/{seed:04}.jpg"), seed);
    }
    let mut command = watch_command(&env, &[]);
    if nix::unistd::geteuid().is_root() {
        // Root without the right to read everything.
        let mut without = Command::new("setpriv");
        without.arg("--bounding-set=-dac_override,-dac_read_search");
        if !without
            .arg("true")
            .status()
            .is_ok_and(|status| status.success())
        {
            skip!("`setpriv` cannot take rights from root here");
        }
        let mut without = Command::new("setpriv");
        without.arg("--bounding-set=-dac_override,-dac_read_search");
        without.arg(command.get_program()).args(command.get_args());
        without.current_dir(env.path(""));
        command = without;
    }
    let watch = Watch::spawn(command);
    watch.says("; Ctrl-C ends it");
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt;
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(env.path("media/x/shut"), permissions).unwrap();
    };
    mode(0o000);
    fs::remove_file(env.path("media/x/open/0002.jpg")).unwrap();
    watch.says("nothing is pruned, since not all folders and tar files can be read");
    let there = || count_ending(&env, ".jpg.npy");
    let before = there();
    mode(0o755);
    assert_eq!(before, 6);
    watch.says("1 removed");
    assert_eq!(there(), 5);
    watch.end(Signal::SIGINT).exits(0);
}

#[test]
fn features_that_are_gone_are_not_begun_again() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("x/0001.jpg", 1);
    let watch = Watch::start(&env, &["--poll", "1"]);
    fs::rename(env.path("features"), env.path("aside")).unwrap();
    watch.says("the directory of features features/nhwc is gone");
    assert!(!env.path("features").exists());
    fs::rename(env.path("aside"), env.path("features")).unwrap();
    env.picture("x/0002.jpg", 2);
    watch.says("2 objects listed");
    // One that ends while something is wrong says so.
    fs::rename(env.path("features"), env.path("aside")).unwrap();
    watch.eventually("it is gone again", || {
        watch.said().matches("nhwc is gone").count() == 2
    });
    watch.end(Signal::SIGINT).exits(1);
}

#[test]
fn what_ends_the_first_pass_ends_the_command() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("x/0001.jpg", 1);
    let run = |more: &[&str]| crate::finish(watch_command(&env, more));
    run(&["--objects", "-"])
        .exits(2)
        .says(&["--objects needs a file"]);
    for seconds in ["0", "18446744073709551615"] {
        run(&["--poll", seconds]).exits(2);
    }
    run(&["--yes"]).exits(2);
    fs::rename(env.path("media"), env.path("aside")).unwrap();
    for more in [&[][..], &["--poll", "1"]] {
        run(more)
            .exits(1)
            .says(&["cannot read the media directory"]);
    }
}

#[test]
fn too_many_folders_for_inotify_are_named_with_the_way_out() {
    need_runtime!();
    let env = TestEnv::new();
    for seed in 0..5 {
        env.picture(&format!("x{seed}/{seed:04}.jpg"), seed);
    }
    // A namespace has a limit of its own.
    let script = "echo 3 >/proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\"";
    let limited = |command: Command| {
        let mut limited = Command::new("unshare");
        limited.args(["--map-root-user", "sh", "-c", script]);
        limited.arg(command.get_program()).args(command.get_args());
        limited.current_dir(env.path(""));
        limited
    };
    let mut tried = Command::new("true");
    tried.current_dir(env.path(""));
    if !crate::finish(limited(tried)).exited_with(0) {
        skip!("this user may not have a limit of its own");
    }
    let outcome = crate::finish(limited(watch_command(&env, &[])));
    outcome.exits(1).says(&[
        "cannot watch 6 folders",
        "fs.inotify.max_user_watches",
        "--poll",
    ]);
    assert!(!env.path("features").exists());
    let watch = Watch::spawn(limited(watch_command(&env, &["--poll", "1"])));
    watch.says("; Ctrl-C ends it");
    watch.end(Signal::SIGINT).exits(0);
    assert!(is_up_to_date(&env, 5));
}

#[test]
fn links_are_followed_where_that_is_asked_for() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("x/0001.jpg", 1);
    fs::create_dir(env.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(env.path("elsewhere"), env.path("media/link")).unwrap();
    let watch = Watch::start(&env, &["--follow-links", "--pictures", "--exclude", "out*"]);
    for (number, path) in ["out/0009.jpg", "link/0002.JPG", "x/outer.jpg"]
        .iter()
        .enumerate()
    {
        env.write(Path::new("media").join(path), ppm(30, 20, number + 2));
    }
    watch.says("2 objects listed");
    watch.end(Signal::SIGINT).exits(0);
    let list = fs::read_to_string(env.path("media/objects.txt")).unwrap();
    assert_eq!(list, "link/0002.JPG\nx/0001.jpg\n");
}
