//! Where the ONNX Runtime library is, and whether it can be loaded without harm.

mod elf;
mod trial;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use object::ReadCache;
use thiserror::Error;

use crate::storage::checksum;
pub use elf::missing_libraries;
pub use trial::try_apart;

/// The file that `make setup` writes beside the library: lines of `sha256sum`.
const CHECKSUMS: &str = "SHA256SUMS";
/// The folder that `make setup` fills, below a directory that holds the program (`target/release` is two below).
const PROJECT_FOLDER: &str = "runtime";
/// Names under which the library is looked for.
const LIBRARY_NAMES: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so.1"];
/// What mends most of it.
const HINT: &str = "run `make setup` in the project's folder, or name a libonnxruntime.so with --runtime or ORT_DYLIB_PATH";

/// Why there is no library to load.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// It was nowhere.
    #[error("ONNX Runtime was not found in {}; {HINT}", list(.looked_in))]
    NotFound {
        /// The places, in order.
        looked_in: Vec<PathBuf>,
    },
    /// What was named is not there, or cannot be read.
    #[error("cannot read ONNX Runtime at {}; {HINT}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not a shared library, or only a part of one. Loading it would kill the process (SIGBUS).
    #[error("{} is not a complete shared library: {reason}; {HINT}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Finds the library and checks that it is whole. `named` is what the user asked for (a library, or a folder with
/// one); else the order is: next to the program, the project's `runtime` folder, the folders of `LD_LIBRARY_PATH`
/// (`library_path`), the system's.
pub fn find(
    named: Option<&Path>,
    program: Option<&Path>,
    library_path: Option<&OsStr>,
) -> Result<PathBuf, LibraryError> {
    let candidates = match named {
        Some(path) if path.is_dir() => vec![path.to_owned()],
        Some(path) => return check(path).map(|()| path.to_owned()),
        None => {
            let beside = program.and_then(Path::parent).map(Path::to_owned);
            let project = program
                .into_iter()
                .flat_map(|program| program.ancestors().skip(2).take(3));
            let project = project
                .map(|ancestor| ancestor.join(PROJECT_FOLDER))
                .filter(|folder| folder.is_dir());
            beside
                .into_iter()
                .chain(project)
                .chain(library_folders(library_path))
                .collect()
        }
    };
    let found = candidates
        .iter()
        .flat_map(|folder| LIBRARY_NAMES.map(|name| folder.join(name)));
    let found = found.into_iter().find(|path| path.exists());
    match found.or_else(|| versioned(named?)) {
        Some(path) => check(&path).map(|()| path),
        None => Err(LibraryError::NotFound {
            looked_in: candidates,
        }),
    }
}

/// The library in a folder that the user named, under a name with its whole version: Python's packages have no other.
fn versioned(folder: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.file_name());
    let begins = |name: &OsString| name.as_encoded_bytes().starts_with(b"libonnxruntime.so.1.");
    names.filter(begins).max().map(|name| folder.join(name))
}

/// The folders in which the system looks for libraries, those of `LD_LIBRARY_PATH` first.
pub fn library_folders(library_path: Option<&OsStr>) -> Vec<PathBuf> {
    let own = library_path
        .map(std::env::split_paths)
        .into_iter()
        .flatten();
    let own = own.filter(|folder| folder.is_absolute());
    let mut folders: Vec<PathBuf> = own.collect();
    let mut configured = Vec::new();
    let mut read = HashSet::new();
    read_loader_configuration(Path::new("/etc/ld.so.conf"), &mut read, &mut configured);
    let usual = [
        "/usr/local/lib",
        "/lib/x86_64-linux-gnu",
        "/usr/lib/x86_64-linux-gnu",
        "/lib/aarch64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/lib64",
        "/usr/lib64",
        "/lib",
        "/usr/lib",
    ];
    for folder in configured.into_iter().chain(usual.map(PathBuf::from)) {
        if folder.is_dir() && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// Reads a file such as `/etc/ld.so.conf` once: a folder a line, and `include` lines whose pattern ends in `/*.conf`. One
/// that is not absolute, as on Fedora and SUSE, is beside the file.
fn read_loader_configuration(path: &Path, read: &mut HashSet<PathBuf>, folders: &mut Vec<PathBuf>) {
    if !read.insert(path.to_owned()) {
        return;
    }
    let Ok(text) = fs::read_to_string(path) else {
        return;
    };
    for line in text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
    {
        if let Some(pattern) = line.strip_prefix("include").map(str::trim) {
            let pattern = path.with_file_name("").join(pattern);
            let Some(Ok(entries)) = pattern.parent().map(fs::read_dir) else {
                continue;
            };
            let mut files: Vec<_> = entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect();
            files.sort();
            for file in files
                .iter()
                .filter(|file| file.extension() == Some(OsStr::new("conf")))
            {
                read_loader_configuration(file, read, folders);
            }
        } else if line.starts_with('/') {
            folders.push(PathBuf::from(line));
        }
    }
}

/// Checks that a library can be loaded without harm: a regular file, every segment and section inside it, and, where
/// `make setup` left a checksum, the very bytes that it put there.
pub fn check(path: &Path) -> Result<(), LibraryError> {
    let unreadable = |source| LibraryError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let broken = |reason: String| LibraryError::Broken {
        path: path.to_owned(),
        reason,
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(broken("it is not a regular file".into()));
    }
    let cache = ReadCache::new(File::open(path).map_err(unreadable)?);
    elf::end(&cache)
        .and_then(|end| {
            let length = metadata.len();
            (end <= length)
                .then_some(())
                .ok_or_else(|| format!("it is {length} bytes long and should be {end} or more"))
        })
        .map_err(broken)?;
    if let Some(expected) = recorded_checksum(path) {
        let found = checksum::of_file(path).map_err(unreadable)?;
        if found != expected {
            return Err(broken(format!(
                "its SHA-256 is {found}, `make setup` put one with {expected} there"
            )));
        }
    }
    Ok(())
}

/// The version in the name of a library's file, such as `libonnxruntime.so.1.32.0`.
pub fn version(library: &Path) -> Option<String> {
    let file = fs::canonicalize(library).ok()?;
    let name = file.file_name()?.to_str()?;
    name.strip_prefix("libonnxruntime.so.").map(str::to_owned)
}

/// Whether `make setup` left a checksum of a library, which [`check`] then compares.
pub fn has_checksum(library: &Path) -> bool {
    recorded_checksum(library).is_some()
}

fn recorded_checksum(library: &Path) -> Option<String> {
    // The name may be a link to the versioned file that the checksum is for.
    let library = fs::canonicalize(library).ok()?;
    let name = library.file_name()?.to_str()?;
    let text = fs::read_to_string(library.with_file_name(CHECKSUMS)).ok()?;
    text.lines()
        .find_map(|line| line.split_once("  ").filter(|(_, file)| *file == name))
        .map(|(sum, _)| sum.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library that every machine has: the one that this test is linked with.
    fn a_library() -> PathBuf {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps
            .lines()
            .find(|line| line.contains("libc.so"))
            .expect("the test is linked with libc");
        PathBuf::from(line.split_whitespace().last().unwrap())
    }

    #[test]
    fn files_that_the_configuration_of_the_loader_includes_are_read_from_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        fs::create_dir(path("ld.so.conf.d")).unwrap();
        fs::write(
            path("ld.so.conf"),
            "include ld.so.conf.d/*.conf\n/opt/last # the last\n",
        )
        .unwrap();
        // Includes itself too.
        let all = format!(
            "/opt/cuda\ninclude {}\n",
            path("ld.so.conf.d/*.conf").display()
        );
        fs::write(path("ld.so.conf.d/cuda.conf"), all).unwrap();
        fs::write(path("ld.so.conf.d/more.conf"), "/opt/more\n").unwrap();
        fs::write(path("ld.so.conf.d/other"), "/opt/other\n").unwrap();
        let mut folders = Vec::new();
        read_loader_configuration(&path("ld.so.conf"), &mut HashSet::new(), &mut folders);
        assert_eq!(
            folders,
            ["/opt/cuda", "/opt/more", "/opt/last"].map(PathBuf::from)
        );
    }

    #[test]
    fn a_truncated_library_is_recognised() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("libonnxruntime.so");
        let bytes = fs::read(a_library()).unwrap();
        fs::write(&copy, &bytes).unwrap();
        check(&copy).unwrap();
        for length in [0, 3, 64, 4096, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&copy, &bytes[..length]).unwrap();
            assert!(
                matches!(check(&copy), Err(LibraryError::Broken { .. })),
                "{length} of {} bytes",
                bytes.len()
            );
        }
    }

    #[test]
    fn a_library_for_another_processor_is_recognised() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("libonnxruntime.so");
        let mut bytes = fs::read(a_library()).unwrap();
        // `e_machine`; 8 is MIPS.
        bytes[18..20].copy_from_slice(&[8, 0]);
        fs::write(&copy, &bytes).unwrap();
        let error = check(&copy).unwrap_err().to_string();
        assert!(error.contains("another kind of processor"), "{error}");
    }

    #[test]
    fn a_library_that_setup_did_not_put_there_is_recognised() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("libonnxruntime.so.1.0.0");
        fs::copy(a_library(), &copy).unwrap();
        let link = directory.path().join("libonnxruntime.so");
        std::os::unix::fs::symlink(&copy, &link).unwrap();
        let checksums = directory.path().join(CHECKSUMS);
        fs::write(
            &checksums,
            format!(
                "{}  libonnxruntime.so.1.0.0\n",
                checksum::of_file(&copy).unwrap()
            ),
        )
        .unwrap();
        check(&link).unwrap();
        fs::write(
            &checksums,
            format!(
                "{}  libonnxruntime.so.1.0.0\n",
                checksum::of_bytes(b"another")
            ),
        )
        .unwrap();
        assert!(matches!(check(&link), Err(LibraryError::Broken { .. })));
    }

    #[test]
    fn a_named_folder_may_have_it_under_its_whole_version() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        fs::write(folder.join("libonnxruntime_providers_shared.so"), "").unwrap();
        let error = find(Some(folder), None, None).unwrap_err();
        assert!(matches!(error, LibraryError::NotFound { .. }), "{error}");
        let library = folder.join("libonnxruntime.so.1.32.0");
        fs::copy(a_library(), &library).unwrap();
        assert_eq!(find(Some(folder), None, None).unwrap(), library);
        // The system would not find it there.
        let found = find(None, None, Some(folder.as_os_str()));
        assert!(found.is_err_and(|error| !error.to_string().contains("1.32.0")));
    }

    #[test]
    fn the_order_is_program_then_project() {
        let directory = tempfile::tempdir().unwrap();
        let release = directory.path().join("target/release");
        let project = directory.path().join("runtime");
        [&release, &project]
            .into_iter()
            .for_each(|folder| fs::create_dir_all(folder).unwrap());
        let program = release.join("simsearch");
        fs::copy(a_library(), project.join("libonnxruntime.so")).unwrap();
        assert_eq!(
            find(None, Some(&program), None).unwrap(),
            project.join("libonnxruntime.so")
        );
        fs::copy(a_library(), release.join("libonnxruntime.so.1")).unwrap();
        assert_eq!(
            find(None, Some(&program), None).unwrap(),
            release.join("libonnxruntime.so.1")
        );
        assert_eq!(
            find(Some(&project), Some(&program), None).unwrap(),
            project.join("libonnxruntime.so")
        );
        let error = find(
            Some(&directory.path().join("absent.so")),
            Some(&program),
            None,
        )
        .unwrap_err();
        assert!(error.to_string().contains("make setup"), "{error}");
    }
}
