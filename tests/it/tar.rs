//! Pictures in tar files, which are folders to the program.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::crash::need_fault_points;
use crate::mutants::mutant;
use crate::serve::client::Server;
use crate::{
    Outcome, TestEnv, assert_same_tree, files_ending, finish, need_python, need_runtime, ppm, skip,
    stored_picture, succeed, wait,
};

/// Writes a tar to `media/<entry>`, of these members in this order.
fn write_tar(env: &TestEnv, entry: &str, members: &[(&str, Vec<u8>)]) {
    let path = env.path("media").join(entry);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.finish().unwrap();
}

/// Pictures for a tar; every seed gives another one.
fn pictures<'n>(names: &[&'n str], seed: usize) -> Vec<(&'n str, Vec<u8>)> {
    let picture = |(number, name): (usize, &&'n str)| (*name, ppm(30, 20, seed + number));
    names.iter().enumerate().map(picture).collect()
}

fn listed(env: &TestEnv) -> Vec<String> {
    let list = fs::read_to_string(env.path("media/objects.txt")).unwrap();
    list.lines().map(str::to_owned).collect()
}

fn extract(env: &TestEnv, more: &[&str]) -> Outcome {
    env.extract("nhwc", &[&["--json"], more].concat())
}

/// The same, and how often it read the headers of a tar.
fn extract_and_count(env: &TestEnv, more: &[&str]) -> (Outcome, usize) {
    let record = env.path("steps");
    fs::write(&record, "").unwrap();
    let mut command = env.extract_command("nhwc", &[&["--json"], more].concat());
    command.env("SIMSEARCH_STEPS", &record);
    let outcome = finish(command);
    let steps = fs::read_to_string(&record).unwrap();
    let reads = |step: &&str| *step == "read the headers of a tar";
    (outcome, steps.lines().filter(reads).count())
}

/// The paths of the features in the order in which they were made.
fn made(env: &TestEnv) -> Vec<String> {
    let record = fs::read_to_string(env.path("features/nhwc/sources.jsonl")).unwrap();
    let path = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["path"].as_str().unwrap().to_owned()
    };
    record.lines().map(path).collect()
}

/// The lines of the report of failures: path, class, message.
fn failures(env: &TestEnv) -> Vec<[String; 3]> {
    let report = fs::read_to_string(env.path("features/nhwc/failures.jsonl")).unwrap();
    let failure = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        ["path", "class", "message"].map(|name| line[name].as_str().unwrap().to_owned())
    };
    report.lines().map(failure).collect()
}

/// Names that are hard to put into a header.
const NAMES: [&str; 5] = [
    "000000000.jpg",
    "deep/and/deeper/000000001.jpg",
    "with a blank and 'quotes'.jpg",
    "this-folder-has-a-name-of-more-than-sixty-characters-to-fill-it-up/and-this-one-has-one-as-well-so-that-the-two-are-long/2.jpg",
    "straße/日本/語.jpg",
];

/// What writes tars of a folder; `$1` is the format of Python or of GNU tar.
const PYTHON: &str = "\
import sys, tarfile
formats = {'v7': tarfile.USTAR_FORMAT, 'ustar': tarfile.USTAR_FORMAT, 'gnu': tarfile.GNU_FORMAT, 'pax': tarfile.PAX_FORMAT}
with tarfile.open(sys.argv[2], 'w', format=formats[sys.argv[1]]) as tar:
    for name in sys.argv[4:]:
        tar.add(sys.argv[3] + '/' + name, name)
";

#[test]
fn what_a_tar_holds_is_what_a_folder_of_its_name_holds() {
    let python = need_python!("tarfile");
    need_runtime!();
    let (packed, plain) = (TestEnv::new(), TestEnv::new());
    let mut seed = 0;
    let mut with_pictures = |tar: &str, names: &[&str]| {
        for name in names {
            seed += 1;
            plain.picture(&format!("{tar}/{name}"), seed);
        }
    };
    fs::create_dir(packed.path("media/python")).unwrap();
    for format in ["ustar", "gnu", "pax"] {
        let tar = format!("python/{format}.tar");
        with_pictures(&tar, &NAMES);
        let (from, to) = (
            plain.path("media").join(&tar),
            packed.path("media").join(&tar),
        );
        let mut python = Command::new(python.get_program());
        python.args(["-c", PYTHON, format]).args([to, from]);
        succeed(python.args(NAMES));
    }
    for format in ["v7", "oldgnu", "gnu", "ustar", "posix"] {
        // V7 has no room for long names.
        let names = if format == "v7" { &NAMES[..3] } else { &NAMES };
        let tar = format!("{format}.TAR");
        with_pictures(&tar, names);
        let (from, to) = (
            plain.path("media").join(&tar),
            packed.path("media").join(&tar),
        );
        let mut tar = Command::new("tar");
        tar.arg(format!("--format={format}")).arg("-cf").arg(to);
        // With folders, and with `./` before each name.
        succeed(tar.arg("-C").arg(from).arg("."));
    }
    packed
        .list(&["--ids", "path"])
        .exits(0)
        .says(&["listed 38 objects", "8 tar files were walked as folders"]);
    plain
        .list(&["--ids", "path"])
        .exits(0)
        .does_not_say("tar files");
    assert_eq!(listed(&packed), listed(&plain));
    for env in [&packed, &plain] {
        let counts = extract(env, &["--ids", "path"]).exits(0).counts();
        assert_eq!(counts, [38, 0, 0, 0]);
    }
    let features = |env: &TestEnv| files_ending(&env.tree("features"), ".npy");
    assert_eq!(features(&packed).len(), 38);
    assert_same_tree(&features(&packed), &features(&plain));
}

#[test]
fn object_ids_are_names_or_paths_and_the_first_of_a_name_is_the_object() {
    need_runtime!();
    let env = TestEnv::new();
    write_tar(&env, "0.tar", &pictures(&["aaa.jpg", "bbb.jpg"], 0));
    write_tar(&env, "1.tar", &pictures(&["aaa.jpg", "ccc.jpg"], 10));
    env.list(&[])
        .exits(3)
        .says(&["left out: 1.tar/aaa.jpg has the same object id as 0.tar/aaa.jpg"]);
    assert_eq!(
        listed(&env),
        ["0.tar/aaa.jpg", "0.tar/bbb.jpg", "1.tar/ccc.jpg"]
    );
    assert_eq!(extract(&env, &[]).exits(0).counts(), [3, 0, 0, 0]);
    assert!(env.path("features/nhwc/aa/a./aaa.jpg.npy").exists());
    // A tar that has another name now is moved, and so are its pictures.
    fs::rename(env.path("media/0.tar"), env.path("media/0-moved.tar")).unwrap();
    env.list(&[]).exits(3);
    let outcome = extract(&env, &[]);
    assert_eq!(outcome.exits(0).counts(), [0, 3, 0, 0]);
    assert_eq!(outcome.json()["moved"], 2, "{outcome}");

    // Another member of the same tar has not moved there.
    let folders = TestEnv::new();
    write_tar(
        &folders,
        "0.tar",
        &pictures(&["one/aaa.jpg", "two/aaa.jpg"], 0),
    );
    folders.objects(&["0.tar/one/aaa.jpg"]);
    assert_eq!(extract(&folders, &[]).exits(0).counts(), [1, 0, 0, 0]);
    folders.objects(&["0.tar/two/aaa.jpg"]);
    assert_eq!(extract(&folders, &[]).exits(0).counts(), [1, 0, 0, 0]);

    let by_path = TestEnv::new();
    write_tar(&by_path, "0.tar", &pictures(&["aaa.jpg", "bbb.jpg"], 0));
    write_tar(&by_path, "1.tar", &pictures(&["aaa.jpg", "ccc.jpg"], 10));
    by_path.list(&["--ids", "path"]).exits(0);
    let counts = extract(&by_path, &["--ids", "path"]).exits(0).counts();
    assert_eq!(counts, [4, 0, 0, 0]);
}

#[test]
fn the_files_that_webdataset_and_img2dataset_write_beside_pictures_are_passed_over() {
    let env = TestEnv::new();
    // As img2dataset has it: in the order in which the downloads ended.
    for shard in ["00000", "00001"] {
        let mut members = Vec::new();
        for key in ["000000002", "000000000", "000000001"] {
            let name = |end: &str| format!("{shard}{}.{end}", &key[5..]);
            members.push((name("jpg"), ppm(3, 2, 1)));
            members.push((name("json"), b"{}".to_vec()));
            members.push((name("txt"), b"a caption".to_vec()));
        }
        let members: Vec<(&str, Vec<u8>)> = (members.iter())
            .map(|(name, bytes)| (name.as_str(), bytes.clone()))
            .collect();
        write_tar(&env, &format!("{shard}.tar"), &members);
        env.write(format!("media/{shard}.parquet"), "PAR1");
        env.write(format!("media/{shard}_stats.json"), "{}");
    }
    let outcome = env.list(&[]);
    outcome.exits(0).says(&["listed 6 objects", "2 tar files"]);
    outcome.does_not_say("left out");
    let expected = ["00000", "00001"]
        .map(|shard| ["0000", "0001", "0002"].map(|key| format!("{shard}.tar/{shard}{key}.jpg")));
    assert_eq!(listed(&env), expected.concat());
}

#[test]
fn what_is_no_plain_picture_in_a_tar_is_named_and_left_out() {
    need_runtime!();
    let env = TestEnv::new();
    fs::create_dir(env.path("media/folder.tar")).unwrap();
    env.picture("folder.tar/in-a-folder.jpg", 1);
    env.write("media/no.tar", [1; 3000]);
    env.write("media/empty.tar", "");
    let mut tar = tar::Builder::new(File::create(env.path("media/a.tar")).unwrap());
    let picture = ppm(30, 20, 2);
    for (kind, name, bytes) in [
        (b'0', "./plain.jpg", &picture[..]),
        (b'0', "twice.jpg", b"not this one"),
        (b'0', "/etc/absolute.jpg", b""),
        (b'0', "a/../../out.jpg", b""),
        (b'0', "new\nline.jpg", b""),
        (b'1', "hard.jpg", b""),
        (b'2', "soft.jpg", b""),
        (b'S', "sparse.jpg", b""),
        (b'6', "pipe.jpg", b""),
        (b'2', "soft.txt", b""),
        (b'0', ".hidden.jpg", b""),
        (b'0', ".hidden/x.jpg", b""),
        (b'0', "drafts/x.jpg", b""),
        (b'0', "other.png", b""),
        (b'0', "twice.jpg", &picture),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(bytes.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    }
    tar.finish().unwrap();
    symlink("a.tar", env.path("media/link.tar")).unwrap();
    let outcome = env.list(&["--exclude", "drafts/", "--ids", "path"]);
    outcome.exits(3).says(&[
        "listed 3 objects",
        "2 tar files",
        "empty.tar\": it is cut off at byte 0",
        "left out, its path is absolute: \"a.tar//etc/absolute.jpg\"",
        "left out, its path holds a `..` component: \"a.tar/a/../../out.jpg\"",
        "left out, its path holds a NUL or a newline: \"a.tar/new\\nline.jpg\"",
        "left out, a link in a tar: \"a.tar/hard.jpg\"",
        "left out, a link in a tar: \"a.tar/soft.jpg\"",
        "left out, a sparse member of a tar: \"a.tar/sparse.jpg\"",
        "left out, no file in a tar: \"a.tar/pipe.jpg\"",
        "no.tar\": it is no tar file",
        "1 picture left out (1 in .png)",
        "1 link left out; --follow-links",
        "2 hidden pictures left out",
    ]);
    outcome.does_not_say("soft.txt");
    let expected = [
        "a.tar/plain.jpg",
        "a.tar/twice.jpg",
        "folder.tar/in-a-folder.jpg",
    ];
    assert_eq!(listed(&env), expected);
    assert_eq!(
        extract(&env, &["--ids", "path"]).exits(0).counts(),
        [3, 0, 0, 0]
    );

    // Longer than pictures are; the bytes are holes.
    let mut header = tar::Header::new_gnu();
    header.set_path("huge.jpg").unwrap();
    header.set_size(600 << 20);
    header.set_cksum();
    env.write("media/huge.tar", header.as_bytes());
    let huge = File::options().write(true).open(env.path("media/huge.tar"));
    huge.unwrap().set_len(512 + (600 << 20) + 1024).unwrap();

    // A list that was made otherwise gives a failure for each.
    env.objects(&[
        "huge.tar/huge.jpg",
        "a.tar/soft.jpg",
        "a.tar/sparse.jpg",
        "a.tar/none.jpg",
        "no.tar/x.jpg",
    ]);
    assert_eq!(
        extract(&env, &["--ids", "path"]).exits(1).counts(),
        [0, 0, 5, 0]
    );
    let mut failures = failures(&env);
    failures.sort();
    let expected = [
        ("a.tar/none.jpg", "missing", "no such member"),
        ("a.tar/soft.jpg", "not-a-file", "not a regular file"),
        ("a.tar/sparse.jpg", "unsupported", "sparse"),
        ("huge.tar/huge.jpg", "too-large", "more than the limit"),
        ("no.tar/x.jpg", "corrupt", "it is no tar file"),
    ];
    for ([path, class, message], (tar, expected, said)) in failures.iter().zip(expected) {
        assert_eq!((path.as_str(), class.as_str()), (tar, expected));
        assert!(message.contains(said), "{message}");
    }

    env.list(&["--exclude", "*.tar", "--output", "-"])
        .exits(0)
        .says(&["no file below"]);
    env.list(&["--follow-links", "--hidden", "--ids", "path"])
        .exits(3);
    let followed = listed(&env);
    for name in [
        "link.tar/plain.jpg",
        "a.tar/.hidden/x.jpg",
        "a.tar/.hidden.jpg",
    ] {
        assert!(followed.iter().any(|entry| entry == name), "{followed:?}");
    }
}

#[test]
fn of_a_tar_that_is_cut_off_what_is_whole_is_done_and_the_tear_is_named() {
    need_runtime!();
    let env = TestEnv::new();
    write_tar(
        &env,
        "t.tar",
        &pictures(&["aaa.jpg", "bbb.jpg", "ccc.jpg"], 0),
    );
    env.picture("ddd.jpg", 9);
    let path = env.path("media/t.tar");
    // In the middle of the second picture.
    let bytes = fs::read(&path).unwrap();
    let member = 512 + ppm(30, 20, 0).len().next_multiple_of(512);
    fs::write(&path, &bytes[..member + 1000]).unwrap();
    env.list(&[]).exits(3).says(&[
        &format!("media/t.tar\": it is cut off at byte {}", member + 1000),
        "listed 2 objects",
    ]);
    assert_eq!(listed(&env), ["ddd.jpg", "t.tar/aaa.jpg"]);
    env.objects(&["ddd.jpg", "t.tar/aaa.jpg", "t.tar/bbb.jpg"]);
    assert_eq!(extract(&env, &[]).exits(3).counts(), [2, 0, 1, 0]);
    let [path_of_failure, class, message] = &failures(&env)[0];
    assert_eq!(
        (path_of_failure.as_str(), class.as_str()),
        ("t.tar/bbb.jpg", "corrupt")
    );
    assert!(message.contains("cut off at byte"), "{message}");
    // It is not looked at again as long as it is the same.
    let (outcome, reads) = extract_and_count(&env, &[]);
    assert_eq!((outcome.exits(3).counts(), reads), ([0, 2, 1, 0], 0));
    // Once it is whole it is done, and what failed as well.
    fs::write(&path, &bytes).unwrap();
    env.list(&[]).exits(0);
    let outcome = extract(&env, &[]);
    assert_eq!(outcome.exits(0).counts(), [3, 1, 0, 0]);
    assert!(!env.path("features/nhwc/failures.jsonl").exists());
}

#[test]
fn headers_are_read_once_and_members_in_the_order_of_their_tar() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    // The order in the tar is none that names have.
    let tars = ["0.tar", "1.tar", "deep/2.tar"];
    let names = ["mmm.jpg", "zzz.jpg", "aaa.jpg", "yyy.jpg", "bbb.jpg"];
    for (number, tar) in tars.iter().enumerate() {
        write_tar(&env, tar, &pictures(&names, 10 * number));
    }
    for seed in 0..6 {
        env.picture(&format!("plain-{seed}.jpg"), 40 + seed);
    }
    env.list(&["--ids", "path"]).exits(0);
    let run = |more: &[&str]| extract_and_count(&env, &[&["--ids", "path"], more].concat());
    let (outcome, reads) = run(&["--workers", "1"]);
    assert_eq!(outcome.exits(0).counts(), [21, 0, 0, 0]);
    assert_eq!(reads, tars.len());
    let order = made(&env);
    for tar in tars {
        let of_tar: Vec<String> = names.iter().map(|name| format!("{tar}/{name}")).collect();
        let begin = order.iter().position(|path| *path == of_tar[0]).unwrap();
        assert_eq!(
            order.get(begin..begin + names.len()),
            Some(&of_tar[..]),
            "{order:?}"
        );
    }
    // Where nothing has changed, no tar is opened.
    let (outcome, reads) = run(&[]);
    assert_eq!((outcome.exits(0).counts(), reads), ([0, 21, 0, 0], 0));
    let (outcome, reads) = run(&["--assume-unchanged"]);
    assert_eq!((outcome.exits(0).counts(), reads), ([0, 21, 0, 0], 0));

    // A tar that was written anew is done again, and no other.
    let before = files_ending(&env.tree("features"), ".npy");
    let others: Vec<&str> = names[1..].to_vec();
    write_tar(&env, "1.tar", &pictures(&others, 70));
    let status = || {
        let arguments = [
            "status",
            "--json",
            "--media-dir",
            "media",
            "--feature-dir",
            "features",
        ];
        env.run(arguments).json()
    };
    // The first member is gone, and what is gone keeps its feature as long as it is listed.
    let found = status();
    assert_eq!(
        found["removed"],
        serde_json::json!(["1.tar/mmm.jpg"]),
        "{found}"
    );
    assert_eq!(found["changed"].as_array().unwrap().len(), 4, "{found}");
    let (outcome, reads) = run(&[]);
    assert_eq!((outcome.exits(0).counts(), reads), ([4, 17, 0, 0], 1));
    assert_eq!(outcome.json()["changed"], 4);
    let after = files_ending(&env.tree("features"), ".npy");
    let same = after
        .iter()
        .filter(|(path, bytes)| before.get(*path) == Some(bytes));
    assert_eq!((after.len(), same.count()), (21, 17));
    env.list(&["--ids", "path"]).exits(0);
    assert_eq!(run(&[]).0.exits(0).counts(), [0, 20, 0, 0]);
}

#[test]
fn a_part_holds_whole_tars_as_python_divides_them() {
    let mut python = need_python!("hashlib");
    need_runtime!();
    let env = TestEnv::new();
    let tars: Vec<String> = (0..12).map(|number| format!("d/{number:05}.tar")).collect();
    for (number, tar) in tars.iter().enumerate() {
        let names = [0, 1, 2].map(|at| format!("{number:05}{at:04}.jpg"));
        write_tar(
            &env,
            tar,
            &pictures(&names.each_ref().map(String::as_str), number),
        );
    }
    env.picture("plain.jpg", 1);
    env.list(&[]).exits(0);
    // The line of docs/commands.md.
    let documented = fs::read_to_string(Path::new(crate::ROOT).join("docs/commands.md")).unwrap();
    let lines = documented.lines().map(str::trim_start);
    let lines: Vec<&str> = lines
        .filter(|line| line.starts_with("tar = re.match") || line.starts_with("int.from_bytes"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let script = format!(
        "import hashlib, re\nN = 3\nfor entry in open('media/objects.txt').read().splitlines():\n    \
         object_id = entry.rsplit('/')[-1]\n    {}\n    \
         print(next(I for I in range(N) if {}), entry)",
        lines[0], lines[1]
    );
    let divided = succeed(python.current_dir(env.path("")).args(["-c", &script]));
    for part in 0..3 {
        extract(&env, &["--part", &format!("{part}/3")]).exits(0);
        let record = env.path("features/nhwc/sources.jsonl");
        let made = fs::read_to_string(record).unwrap();
        let expected = divided
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("{part} ")));
        let expected: Vec<&str> = expected.collect();
        assert_eq!(made.lines().count(), expected.len());
        assert!(expected.len() > 3, "{divided}");
        for entry in &expected {
            assert!(made.contains(&format!("\"{entry}\"")), "{entry}: {made}");
        }
        for tar in &tars {
            let count = expected
                .iter()
                .filter(|entry| entry.starts_with(tar))
                .count();
            assert!([0, 3].contains(&count), "{tar}: {count}");
        }
        fs::remove_dir_all(env.path("features")).unwrap();
    }
}

#[test]
fn a_picture_that_became_a_link_in_its_tar_is_gone_and_keeps_its_feature() {
    need_runtime!();
    let env = TestEnv::new();
    write_tar(&env, "a.tar", &pictures(&["one.jpg", "two.jpg"], 1));
    env.objects(&["a.tar/one.jpg", "a.tar/two.jpg"]);
    extract(&env, &[]).exits(0);
    let mut tar = tar::Builder::new(File::create(env.path("media/a.tar")).unwrap());
    for (kind, name) in [(b'0', "two.jpg"), (b'2', "one.jpg")] {
        let bytes = ppm(30, 20, 3);
        let bytes = if kind == b'0' { &bytes[..] } else { b"" };
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    }
    tar.finish().unwrap();
    drop(tar);
    let outcome = extract(&env, &[]);
    assert_eq!(outcome.exits(0).counts(), [1, 1, 0, 0], "{outcome}");
}

#[test]
fn copies_share_one_tar_and_do_nothing_twice() {
    need_runtime!();
    let env = TestEnv::new();
    let names: Vec<String> = (0..120).map(|number| format!("{number:04}.jpg")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    write_tar(&env, "one.tar", &pictures(&names, 0));
    env.list(&[]).exits(0);
    let copies: Vec<Child> = (0..3)
        .map(|_| {
            let mut command = env.extract_command("nhwc", &["--json", "--workers", "1"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let counts = copies
        .into_iter()
        .map(|copy| wait("a copy".into(), copy).exits(0).counts());
    let counts: Vec<[u64; 4]> = counts.collect();
    // As in `crash::copies`: next to nothing.
    let twice = counts.iter().map(|[done, ..]| done).sum::<u64>() - 120;
    assert!(twice * 50 < 120, "{counts:?}");
    assert!(
        counts
            .iter()
            .all(|[done, skipped, ..]| done + skipped == 120),
        "{counts:?}"
    );
    assert_eq!(files_ending(&env.tree("features"), ".npy").len(), 120);
}

#[test]
fn a_query_a_sheet_and_the_server_show_members() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    let jpeg = stored_picture("jpeg_230x340.jpg");
    let mut members = pictures(&["first.jpg", "third.jpg"], 3);
    members.insert(1, ("a/second.jpg", jpeg.clone()));
    write_tar(&env, "t.tar", &members);
    env.list(&["--ids", "path"]).exits(0);
    extract(&env, &["--ids", "path"]).exits(0);
    let model = crate::model_file("nhwc");
    let more = [
        "search",
        "--feature-dir",
        "features",
        "--media-dir",
        "media",
        "--json",
        "-k",
        "1",
        "--sheet",
        "sheet.jpg",
        "--html",
        "page.html",
        "media/t.tar/a/second.jpg",
    ];
    let mut command = env.command(more);
    command
        .arg("--model")
        .arg(model)
        .arg("--runtime")
        .arg(runtime);
    let found = finish(command);
    let neighbour = &found.exits(0).json()["neighbours"][0];
    assert_eq!(neighbour["object_id"], "t.tar/a/second.jpg", "{found}");
    assert_eq!(neighbour["distance"], 0.0, "{found}");
    let page = fs::read_to_string(env.path("page.html")).unwrap();
    assert_eq!(page.matches("data:image/jpeg").count(), 2, "{page}");

    let server = Server::start(&env, &[]);
    let reply = server.get("/object/t.tar%2Fa%2Fsecond.jpg");
    assert_eq!(
        (reply.status, reply.headers["content-type"].as_str()),
        (200, "image/jpeg")
    );
    assert!(reply.body == jpeg, "{} bytes", reply.body.len());
    let reply = server.get("/thumbnail/t.tar%2Ffirst.jpg");
    assert_eq!((reply.status, &reply.body[..2]), (200, &b"\xff\xd8"[..]));
    // Of a tar that was written anew nothing is shown in the place of what was there.
    write_tar(&env, "t.tar", &pictures(&["first.jpg"], 50));
    for (path, said) in [
        ("t.tar%2Ffirst.jpg", "has changed"),
        ("t.tar%2Fthird.jpg", "is gone"),
    ] {
        let reply = server.get(&format!("/object/{path}"));
        assert_eq!(reply.status, 404);
        assert!(reply.error().contains(said), "{reply:?}");
    }
}

#[test]
fn duplicates_are_found_in_tars_and_nothing_is_done_to_them() {
    need_runtime!();
    let env = TestEnv::new();
    let bytes = ppm(30, 20, 1);
    env.write("media/plain/copy.jpg", &bytes);
    // The older one is the first of its group.
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let copy = File::options()
        .write(true)
        .open(env.path("media/plain/copy.jpg"))
        .unwrap();
    copy.set_modified(old).unwrap();
    write_tar(
        &env,
        "t.tar",
        &[("member.jpg", bytes), ("other.jpg", ppm(20, 30, 7))],
    );
    env.list(&[]).exits(0);
    extract(&env, &[]).exits(0);
    let tar = fs::read(env.path("media/t.tar")).unwrap();
    let act = |more: &[&str]| {
        let arguments = [
            "duplicates",
            "--media-dir",
            "media",
            "--feature-dir",
            "features",
        ];
        env.run(
            arguments
                .iter()
                .chain(&["--max-distance", "0.001"])
                .chain(more),
        )
    };
    let size = ppm(30, 20, 1).len();
    let found = act(&[]);
    found.exits(4);
    assert!(
        found
            .stdout
            .contains(&format!("t.tar/member.jpg 0 30x20 {size}")),
        "{found}"
    );
    for action in [
        &["--move-to", "doubles"][..],
        &["--hard-link"],
        &["--symlink"],
    ] {
        let outcome = act(action);
        assert!(
            outcome.stderr.contains("t.tar/member.jpg")
                && outcome.stderr.contains("member of a tar"),
            "{outcome}"
        );
    }
    // Where the member is the first, its group is left.
    copy.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(1000))
        .unwrap();
    extract(&env, &[]).exits(0);
    let outcome = act(&["--move-to", "doubles"]);
    assert!(
        outcome.stderr.contains("member of a tar") && outcome.stderr.contains("nothing is done"),
        "{outcome}"
    );
    assert!(env.path("media/plain/copy.jpg").exists());
    assert!(fs::read(env.path("media/t.tar")).unwrap() == tar);
}

#[test]
fn of_a_broken_tar_each_listed_member_has_a_feature_or_a_failure() {
    need_runtime!();
    let env = TestEnv::new();
    let long = "a/long/name/".repeat(20) + "of-a-picture.jpg";
    let mut originals = Vec::new();
    for with_pax in [false, true] {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in pictures(&["one.jpg", &long, "./three.jpg", "four.jpg"], 0) {
            if with_pax {
                let path = format!("pax/{name}");
                let records = [("path", path.as_bytes()), ("comment", b"a\nb")];
                tar.append_pax_extensions(records).unwrap();
            }
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, &bytes[..]).unwrap();
        }
        originals.push((format!("{with_pax}.tar"), tar.into_inner().unwrap()));
    }
    for number in 0..300 {
        let (name, bytes) = mutant(&originals, number);
        env.write(Path::new("media").join(name), bytes);
    }
    let outcome = env.list(&["--ids", "path"]);
    outcome
        .exits(3)
        .says(&["tar files were walked", "cut off", "damaged at byte"]);
    let walked = 300 - outcome.stderr.matches("it is no tar file").count();
    for line in outcome.stderr.lines() {
        let known = [
            "listed ",
            &format!("{walked} tar files "),
            "warning: left out, ",
            "warning: \"media/",
        ];
        assert!(
            known.iter().any(|known| line.starts_with(known)),
            "{line}\n{outcome}"
        );
    }
    let listed = listed(&env).len() as u64;
    assert!(listed > 300, "{outcome}");
    let outcome = extract(&env, &["--ids", "path"]);
    let [done, _, failed, left] = outcome.exits(3).counts();
    assert_eq!((done + failed, left), (listed, 0), "{outcome}");
    outcome.does_not_say("panicked");
}

#[test]
fn sparse_members_of_gnu_tar_are_named_and_what_comes_after_them_is_read() {
    need_runtime!();
    let env = TestEnv::new();
    env.write("from/zzz.jpg", ppm(30, 20, 1));
    let mut holes = Vec::new();
    // More than there is room for in the first header.
    for _ in 0..30 {
        holes.extend([7; 4096]);
        holes.resize(holes.len() + (1 << 20), 0);
    }
    let path = env.path("from/holes.jpg");
    env.write(&path, "");
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(holes.len() as u64).unwrap();
    for at in (0..holes.len()).step_by(4096 + (1 << 20)) {
        std::os::unix::fs::FileExt::write_all_at(&file, &[7; 4096], at as u64).unwrap();
    }
    for arguments in [
        &["--format=gnu"][..],
        &["--format=oldgnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let mut tar = Command::new("tar");
        tar.current_dir(env.path("")).args(arguments);
        tar.args(["--sparse", "-cf", "media/t.tar", "-C", "from"]);
        succeed(tar.args(["holes.jpg", "zzz.jpg"]));
        let length = fs::metadata(env.path("media/t.tar")).unwrap().len();
        if length > holes.len() as u64 {
            skip!("the file system of the tests has no holes, or tar does not see them");
        }
        env.list(&[])
            .exits(3)
            .says(&["left out, a sparse member of a tar: \"t.tar/holes.jpg\""]);
        assert_eq!(listed(&env), ["t.tar/zzz.jpg"], "{arguments:?}");
        let counts = extract(&env, &[]).exits(0).counts();
        assert_eq!(counts[0] + counts[1], 1, "{arguments:?}");
    }
}
