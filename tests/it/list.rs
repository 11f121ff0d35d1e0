//! `simsearch list`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::{PROGRAM, TestEnv, finish, skip, succeed};

/// What `find` and `sort` make of the media directory; the definition of what `list` writes.
fn find_and_sort(env: &TestEnv, find: &str) -> String {
    let line = format!("find {find} | LC_ALL=C sort");
    succeed(
        Command::new("sh")
            .args(["-c", &line])
            .current_dir(env.path("media")),
    )
}

fn listed(env: &TestEnv) -> String {
    fs::read_to_string(env.path("media/objects.txt")).unwrap()
}

/// Names that are hard to sort, to match or to print.
const NAMES: [&str; 16] = [
    "object/ab/cd/abcd.jpg",
    "object/ab/cd.jpg",
    "object/ab/cd-e.jpg",
    "object/ab-c/1.jpg",
    "object/ab.jpg",
    "object/ab.jpg.jpg",
    "object/B.jpg",
    "object/.jpg",
    "object/.hidden/2.jpg",
    "object/a b 'c' \"d\".jpg",
    "object/äöü.jpg",
    "object/日本/語.jpg",
    "object/😀.jpg",
    "object/back\\slash.jpg",
    "object/tab\there.jpg",
    "object/carriage\rreturn.jpg",
];

#[test]
fn the_list_is_what_find_and_sort_write() {
    let env = TestEnv::new();
    for name in NAMES {
        env.write(Path::new("media").join(name), "");
    }
    for other in [
        "object/upper.JPG",
        "object/x.jpeg",
        "object/x.jpg.png",
        "object/jpg",
        "object/xjpg",
        "elsewhere/y.jpg",
        "top.jpg",
    ] {
        env.write(Path::new("media").join(other), "");
    }
    fs::create_dir(env.path("media/object/directory.jpg")).unwrap();
    nix::unistd::mkfifo(
        &env.path("media/object/fifo.jpg"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    symlink("ab.jpg", env.path("media/object/link.jpg")).unwrap();
    symlink("../elsewhere", env.path("media/object/linked")).unwrap();

    env.list(&["--hidden"])
        .exits(0)
        .says(&["listed 16 objects in media/objects.txt"]);
    let expected = find_and_sort(&env, "object -type f -name '*.jpg'");
    assert_eq!(listed(&env), expected);
    assert_eq!(expected.lines().count(), NAMES.len());
    let whole = env.path("media/object");
    let outcome = env.list(&["--hidden", whole.to_str().unwrap(), "--output", "-"]);
    assert_eq!(outcome.exits(0).stdout, expected);

    let outcome = env.list(&["--hidden", "--output", "-"]);
    assert_eq!(outcome.exits(0).stdout, expected);
    let unasked = "3 pictures left out (1 in .JPG, 1 in .jpeg, 1 in .png); --pictures lists them\n\
                   2 links left out; --follow-links lists them\n\
                   only media/object is walked, and there is more beside it; `.` walks the whole tree\n";
    assert_eq!(outcome.stderr, unasked);

    env.list(&["--quiet", "--hidden", "--output", "elsewhere.txt"])
        .exits(0);
    assert_eq!(
        fs::read_to_string(env.path("elsewhere.txt")).unwrap(),
        expected
    );
}

#[test]
fn pictures_of_every_format_in_upper_and_lower_case_are_listed_when_asked_for() {
    let env = TestEnv::new();
    let names = [
        "a.JPG", "b.jpeg", "c.Png", "d.webp", "e.GIF", "f.bmp", "g.tif", "h.TIFF", "i.jpg", "j.QOI",
    ];
    for name in names.iter().chain(&["k.txt", "l.doc", "m", "jpeg"]) {
        env.write(Path::new("media/object").join(name), "");
    }
    let outcome = env.list(&[]);
    outcome.exits(0).says(&[
        "9 pictures left out (1 in .GIF, 1 in .JPG, 1 in .Png, 1 in .QOI, 1 in .TIFF); --pictures lists them",
        "listed 1 object in",
    ]);
    let outcome = env.list(&["--pictures"]);
    outcome.exits(0).does_not_say("left out");
    let mut expected = names.map(|name| format!("object/{name}\n"));
    expected.sort();
    assert_eq!(listed(&env), expected.concat());
    // Who chooses endings has chosen.
    env.list(&["--ext", "jpeg"])
        .exits(0)
        .does_not_say("left out");
    env.list(&["--pictures", "--ext", "jpeg"]).exits(2);
}

#[test]
fn what_no_build_reads_is_counted_also_where_pictures_of_all_kinds_are_asked_for() {
    let env = TestEnv::new();
    for name in ["a.jpg", "raw/b.NEF", "raw/c.nef", "film.MP4", "notes.txt"] {
        env.write(Path::new("media").join(name), "");
    }
    for more in [&[][..], &["--pictures"]] {
        env.list(more).exits(0).says(&[
            "3 files left out, which this program does not read (2 in .nef, 1 in .mp4)",
            "listed 1 object",
        ]);
    }
    // Who names endings knows of the others.
    env.list(&["--ext", "jpg", "--ext", "png"])
        .exits(0)
        .does_not_say("left out");
}

#[test]
fn hidden_files_and_those_in_hidden_folders_are_left_out_and_counted() {
    let env = TestEnv::new();
    let shown = ["a/seen.jpg", "a/x.@eaDir.jpg", "b/Thumbs.db.jpg"];
    let hidden = [
        "._x.jpg",
        "a/._y.jpg",
        ".Trashes/1.jpg",
        "a/@eaDir/2.jpg",
        "a/$RECYCLE.BIN/deep/3.jpg",
        ".thumbnails/4.jpg",
    ];
    for name in shown
        .iter()
        .chain(&hidden)
        .chain(&["a/Thumbs.db", "a/.notes", "objects"])
        // A directory of features may be in the tree: what the program hides in it is nobody's.
        .chain(&["features/model/.claims/0"])
    {
        env.write(Path::new("media").join(name), "");
    }
    let outcome = env.list(&[]);
    outcome
        .exits(0)
        .says(&["2 hidden pictures and 4 hidden folders left out; --hidden lists them"]);
    assert_eq!(listed(&env), shown.map(|name| format!("{name}\n")).concat());
    env.list(&["--hidden"]).exits(0).does_not_say("left out");
    let expected = find_and_sort(&env, "* .[!.]* -type f -name '*.jpg'");
    assert_eq!(listed(&env), expected);
    assert_eq!(expected.lines().count(), 9);
    // A folder that is named is walked.
    env.list(&[".Trashes"]).exits(0).does_not_say("left out");
    assert_eq!(listed(&env), ".Trashes/1.jpg\n");
}

#[test]
fn what_matches_a_pattern_of_gitignore_is_left_out() {
    let env = TestEnv::new();
    let names = [
        "a/1.jpg",
        "a/b/2.jpg",
        "b/3.jpg",
        "b/b/4.jpg",
        "c/b",
        "small.jpg",
    ];
    for name in names {
        env.write(Path::new("media").join(name), "");
    }
    env.write("media/c/b.jpg", "");
    for (patterns, expected) in [
        (vec!["b/"], vec!["a/1.jpg", "c/b.jpg", "small.jpg"]),
        (
            vec!["/b/"],
            vec!["a/1.jpg", "a/b/2.jpg", "c/b.jpg", "small.jpg"],
        ),
        (
            vec!["a/**", "small*"],
            vec!["b/3.jpg", "b/b/4.jpg", "c/b.jpg"],
        ),
        (vec!["*.jpg", "!/b/*.jpg"], vec!["b/3.jpg"]),
        (vec!["[0-3].jpg"], vec!["b/b/4.jpg", "c/b.jpg", "small.jpg"]),
    ] {
        let options: Vec<&str> = patterns.iter().flat_map(|it| ["--exclude", *it]).collect();
        env.list(&options).exits(0).does_not_say("left out");
        assert_eq!(
            listed(&env).lines().collect::<Vec<_>>(),
            expected,
            "{patterns:?}"
        );
        // With the other walk.
        env.list(&[&options[..], &["--follow-links"]].concat())
            .exits(0);
        assert_eq!(
            listed(&env).lines().collect::<Vec<_>>(),
            expected,
            "{patterns:?}"
        );
    }
    env.list(&["--exclude", "{a,b"])
        .exits(2)
        .says(&["--exclude", "{a,b"]);
}

#[test]
fn links_that_are_left_out_are_counted_and_no_others() {
    let env = TestEnv::new();
    env.write("media/object/a.jpg", "");
    env.write("elsewhere/b.jpg", "");
    for (target, link) in [
        ("a.jpg", "media/object/link.jpg"),
        ("../../elsewhere", "media/object/folder"),
        ("a.jpg", "media/object/link.txt"),
        ("nowhere", "media/object/broken"),
    ] {
        symlink(target, env.path(link)).unwrap();
    }
    env.list(&[])
        .exits(0)
        .says(&["2 links left out; --follow-links lists them"]);
    env.list(&["--follow-links"])
        .exits(3)
        .does_not_say("links left out");
    assert_eq!(
        listed(&env),
        "object/a.jpg\nobject/folder/b.jpg\nobject/link.jpg\n"
    );
}

#[test]
fn extensions_and_the_sub_directory_can_be_chosen() {
    let env = TestEnv::new();
    for name in [
        "object/a.jpg",
        "object/b.JPG",
        "object/c.png",
        "object/d.Png",
        "object/e.webp",
        "other/f.jpg",
        "other/deep/g.jpg",
    ] {
        env.write(Path::new("media").join(name), "");
    }
    for (arguments, find) in [
        (vec![], "object -type f -name '*.jpg'"),
        (
            vec!["--ext", "jpg", "--ext", "png"],
            "object -type f \\( -name '*.jpg' -o -name '*.png' \\)",
        ),
        (vec!["--ignore-case"], "object -type f -iname '*.jpg'"),
        (
            vec!["--ext", "PNG", "--ignore-case"],
            "object -type f -iname '*.png'",
        ),
        (vec!["other"], "other -type f -name '*.jpg'"),
        (vec!["other/deep"], "other/deep -type f -name '*.jpg'"),
    ] {
        let expected = find_and_sort(&env, find);
        assert!(!expected.is_empty());
        for ids in [&[][..], &["--ids", "path"]] {
            env.list(&[&arguments[..], ids].concat()).exits(0);
            assert_eq!(listed(&env), expected, "{arguments:?}");
        }
    }
}

#[test]
fn without_a_sub_directory_called_object_the_whole_tree_is_listed() {
    let env = TestEnv::new();
    for name in ["b/1.jpg", "a.jpg", "b.jpg"] {
        env.write(Path::new("media").join(name), "");
    }
    env.list(&[]).exits(0);
    assert_eq!(listed(&env), "a.jpg\nb.jpg\nb/1.jpg\n");
}

#[test]
fn the_media_directory_may_come_from_the_environment() {
    let env = TestEnv::new();
    env.write("media/object/a.jpg", "");
    let mut command = env.command(["list"]);
    command.env("MEDIA_DIR", env.path("media"));
    finish(command).exits(0);
    assert_eq!(listed(&env), "object/a.jpg\n");
    env.run(["list"]).exits(2).says(&["--media-dir"]);
}

#[test]
fn a_tree_without_pictures_gives_an_empty_list() {
    let env = TestEnv::new();
    fs::create_dir(env.path("media/object")).unwrap();
    env.list(&[]).exits(0).says(&["listed 0 objects"]);
    assert_eq!(listed(&env), "");
}

#[test]
fn where_nothing_is_found_it_says_what_else_is_there() {
    let env = TestEnv::new();
    for (name, count) in [("JPG", 3), ("png", 2), ("txt", 1)] {
        for number in 0..count {
            env.write(format!("media/object/{number}.{name}"), "");
        }
    }
    env.list(&[]).exits(0).says(&[
        "no file below media/object ends in .jpg",
        "but 3 in .JPG, 2 in .png; ",
        "--ignore-case",
    ]);
    assert_eq!(listed(&env), "");
    // Once is enough, and the list itself is nothing else.
    env.list(&[]).exits(0).does_not_say("left out");
    fs::create_dir(env.path("media/empty")).unwrap();
    env.list(&["empty", "--output", "media/empty/objects.txt"])
        .exits(0);
    env.list(&["empty", "--output", "media/empty/objects.txt"])
        .exits(0)
        .says(&["no file below media/empty ends in .jpg\n"]);
    env.list(&["--ext", "png"])
        .exits(0)
        .does_not_say("no file below");
    // An empty list in the place of one that is not would be the work of a disk that is not mounted.
    let before = listed(&env);
    env.list(&[])
        .exits(1)
        .says(&["3 in .JPG", "mounted", "objects.txt"]);
    assert_eq!(listed(&env), before);
    for extension in [".jpg", "*.jpg", "a/b", ""] {
        env.list(&["--ext", extension]).exits(2);
    }
}

#[test]
fn the_whole_tree_is_a_dot_and_a_linked_tree_needs_a_word() {
    let env = TestEnv::new();
    env.write("media/object/a.jpg", "");
    env.write("media/other/b.jpg", "");
    for whole in [".", "./"] {
        env.list(&[whole]).exits(0);
        assert_eq!(listed(&env), "object/a.jpg\nother/b.jpg\n");
    }
    env.list(&["./other"]).exits(0);
    assert_eq!(listed(&env), "other/b.jpg\n");
    fs::rename(env.path("media/object"), env.path("elsewhere")).unwrap();
    symlink("../elsewhere", env.path("media/object")).unwrap();
    env.list(&[])
        .exits(1)
        .says(&["media/object is a symbolic link", "--follow-links"]);
    env.list(&["--follow-links"]).exits(0);
    assert_eq!(listed(&env), "object/a.jpg\n");
}

#[test]
fn bad_directories_are_errors_that_leave_the_old_list() {
    let env = TestEnv::new();
    env.write("media/objects.txt", "old\n");
    env.write("media/object/a.jpg", "");
    for (arguments, say) in [
        (
            vec!["--media-dir", "nowhere"],
            "cannot read the media directory nowhere",
        ),
        (
            vec!["--media-dir", "media/object/a.jpg"],
            "is not a directory",
        ),
        (
            vec!["--media-dir", "media", "missing"],
            "cannot read media/missing",
        ),
        (
            vec!["--media-dir", "media", "../media"],
            "is not a plain path",
        ),
        (vec!["--media-dir", "media", "/etc"], "is not a plain path"),
        (
            vec!["--media-dir", "media", "--output", "no/such/list.txt"],
            "cannot write no/such/list.txt",
        ),
        (
            vec!["--media-dir", "media", "--output", "media/object"],
            "cannot write media/object",
        ),
    ] {
        env.run(["list"].iter().chain(&arguments))
            .exits(1)
            .says(&[say]);
        assert_eq!(listed(&env), "old\n", "{arguments:?}");
    }
}

#[test]
fn links_are_followed_only_when_asked() {
    let env = TestEnv::new();
    env.write("media/object/real.jpg", "");
    env.write("outside/far.jpg", "");
    symlink("real.jpg", env.path("media/object/to_file.jpg")).unwrap();
    symlink(
        env.path("outside"),
        env.path("media/object/to_directory.jpg"),
    )
    .unwrap();
    env.list(&[]).exits(0);
    assert_eq!(listed(&env), "object/real.jpg\n");
    env.list(&["--follow-links"]).exits(0);
    assert_eq!(
        listed(&env),
        find_and_sort(&env, "-L object -type f -name '*.jpg'")
    );
    assert!(listed(&env).contains("object/to_directory.jpg/far.jpg\n"));

    symlink("nowhere.jpg", env.path("media/object/broken.jpg")).unwrap();
    env.list(&[]).exits(0).does_not_say("broken.jpg");
    env.list(&["--follow-links"]).exits(3).says(&["broken.jpg"]);
}

#[test]
fn a_loop_of_links_is_an_error_that_names_the_link() {
    let env = TestEnv::new();
    env.write("media/objects.txt", "old\n");
    env.write("media/object/ab/a.jpg", "");
    symlink("../../object", env.path("media/object/ab/again")).unwrap();
    env.list(&["--follow-links"])
        .exits(1)
        .says(&["media/object/ab/again leads back to", "remove the link"]);
    assert_eq!(listed(&env), "old\n");
    env.list(&[]).exits(0);
    assert_eq!(listed(&env), "object/ab/a.jpg\n");
}

#[test]
fn a_link_to_itself_is_a_loop() {
    let env = TestEnv::new();
    env.write("media/object/a.jpg", "");
    symlink("itself", env.path("media/object/itself")).unwrap();
    env.list(&[]).exits(0);
    env.list(&["--follow-links"])
        .exits(1)
        .says(&["media/object/itself leads back to itself: a loop"]);
}

#[test]
fn a_path_that_begins_with_a_byte_order_mark_is_left_out() {
    let env = TestEnv::new();
    env.write("media/\u{feff}a.jpg", "");
    env.write("media/b.jpg", "");
    env.list(&[]).exits(3).says(&["byte order mark"]);
    assert_eq!(listed(&env), "b.jpg\n");
}

#[test]
fn paths_that_make_no_line_are_left_out_and_named() {
    let env = TestEnv::new();
    env.write("media/object/good.jpg", "");
    env.write("media/object/two\nlines.jpg", "");
    env.write("media/object/new\nline/inside.jpg", "");
    env.write(
        Path::new("media/object").join(OsStr::from_bytes(b"latin\xe4.jpg")),
        "",
    );
    // Files that are not asked for may have whatever name.
    env.write("media/object/other\nkind.png", "");
    env.list(&[])
        .exits(3)
        .says(&[
            r"two\nlines.jpg",
            r"new\nline/inside.jpg",
            r"latin\xE4.jpg",
            "not UTF-8",
            "newline",
        ])
        .does_not_say("kind.png");
    assert_eq!(listed(&env), "object/good.jpg\n");
}

#[test]
fn of_equal_file_names_the_first_is_kept_and_both_are_named() {
    let env = TestEnv::new();
    for name in [
        "object/b/same.jpg",
        "object/a/same.jpg",
        "object/c/same.jpg",
        "object/c/other.jpg",
    ] {
        env.write(Path::new("media").join(name), "");
    }
    env.list(&[]).exits(3).says(&[
        "object/b/same.jpg has the same object id as object/a/same.jpg",
        "object/c/same.jpg has the same object id as object/a/same.jpg",
        "--ids path, here and for a new directory of `extract`, takes all files of one name",
    ]);
    assert_eq!(listed(&env), "object/a/same.jpg\nobject/c/other.jpg\n");
    let outcome = env.list(&["--ids", "path"]);
    outcome.exits(0).does_not_say("same object id");
    let expected = find_and_sort(&env, "object -type f -name '*.jpg'");
    assert_eq!(listed(&env), expected);
    assert_eq!(expected.lines().count(), 4);
}

#[test]
fn an_unreadable_directory_is_named_and_the_rest_is_listed() {
    let env = TestEnv::new();
    env.write("media/object/open/a.jpg", "");
    env.write("media/object/shut/b.jpg", "");
    // Root reads everything: the run is somebody else's then, who needs a program that he can get at.
    let program = env.path("simsearch");
    fs::copy(PROGRAM, &program).unwrap();
    let mode = |path: &str, mode| {
        fs::set_permissions(env.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("", 0o755);
    mode("media/object/shut", 0o000);
    let mut command = Command::new(&program);
    command
        .args(["list", "--media-dir", "media", "--output", "-"])
        .current_dir(env.path(""));
    if nix::unistd::geteuid().is_root() {
        command.uid(65534);
    }
    if let Err(error) = command.output() {
        mode("media/object/shut", 0o755);
        skip!("this user cannot run a program as another one: {error}");
    }
    let outcome = finish(command);
    mode("media/object/shut", 0o755);
    outcome.exits(3).says(&["media/object/shut"]);
    assert_eq!(outcome.stdout, "object/open/a.jpg\n");
}

#[test]
fn a_write_that_fails_midway_leaves_the_old_list_and_no_other_file() {
    let env = TestEnv::new();
    env.write("media/objects.txt", "old\n");
    for index in 0..2000 {
        env.write(format!("media/object/{index:04}.jpg"), "");
    }
    let script = "ulimit -f 4; exec \"$0\" list --media-dir media";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, PROGRAM])
        .current_dir(env.path(""));
    finish(command).exits(1).says(&[
        "cannot write media/objects.txt",
        "raise the limit (`ulimit -f`)",
    ]);
    assert_eq!(listed(&env), "old\n");
    assert_eq!(fs::read_dir(env.path("media")).unwrap().count(), 2);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let env = TestEnv::new();
    env.write("media/object/a.jpg", "");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = env.command(["list", "--media-dir", "media", "--output", "-"]);
    let child = command
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let outcome = crate::wait("list into a closed pipe".into(), child);
    assert_eq!(outcome.exits(0).stderr, "");
}
