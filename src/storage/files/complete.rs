//! Files that are complete and durable, or not there at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{self, O_NOFOLLOW, O_NONBLOCK};

use super::folder_of;
use crate::support::fault;

/// Writes a file under the temporary name `.<name>.tmp` beside `path`, makes it durable and gives it its name.
/// Whatever was there before stays until then. Of several processes that write one file at once, each waits its
/// turn; what a killed one left is written over. A link is replaced, and nothing is written where it leads.
pub fn write(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    write_file(path, |file| content(file))
}

/// The same for what needs the file itself, which is empty.
pub fn write_file(
    path: &Path,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    put(path, content, true)
}

/// The same for a path that a user named: a link keeps leading where it led, and the file there is written, or made.
/// Where it leads to something that is not a regular file (a pipe, `/dev/null`), the content is written to that.
pub fn write_where_it_leads(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
            content(&mut OpenOptions::new().write(true).open(path)?)
        }
        _ => put(&where_it_leads(path)?, |file| content(file), true),
    }
}

/// The path of a file without links, which need not be there yet.
fn where_it_leads(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            // A circle of links is another error.
            Ok(target) => where_it_leads(&path.with_file_name("").join(target)),
            Err(_) => Ok(path.to_owned()),
        },
        found => found,
    }
}

/// The same for a file that must not be there yet: of several processes that make one file at once, the first does.
///
/// # Errors
/// `AlreadyExists` when something has that name.
pub fn create(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    put(path, |file| content(file), false)
}

/// Removes what a killed writer of this file left behind; while another process is writing it, there is nothing to do.
pub fn remove_leftover(path: &Path) -> io::Result<()> {
    let temporary = temporary_name(path)?;
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(O_NOFOLLOW | O_NONBLOCK);
    // There is none, or nothing that this program has written.
    let Ok(file) = options.open(&temporary) else {
        return Ok(());
    };
    if file.try_lock().is_ok() && has_name(&file, &temporary)? {
        remove(&temporary)?;
    }
    Ok(())
}

fn put(
    path: &Path,
    content: impl FnOnce(&mut File) -> io::Result<()>,
    may_replace: bool,
) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let directory = folder_of(path);
    let temporary = temporary_name(path)?;
    let mut file = open_locked(&temporary)?;
    // Nobody else can give the file its name now.
    look_anew(directory);
    if !may_replace && fs::symlink_metadata(path).is_ok() {
        let _ = remove(&temporary);
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let written = fault::step("empty the temporary file", || file.set_len(0))
        .and_then(|()| fault::step("write the content", || content(&mut file)))
        .and_then(|()| fault::step("sync the temporary file", || file.sync_all()))
        .and_then(|()| fault::step("rename", || fs::rename(&temporary, path)));
    if let Err(error) = written {
        let _ = remove(&temporary);
        let is_there = || {
            look_anew(directory);
            fs::symlink_metadata(path).is_ok()
        };
        // Where locks prove nothing, another process has given the temporary file its name meanwhile: it was the first.
        return Err(match error.kind() {
            io::ErrorKind::NotFound if !may_replace && is_there() => {
                io::ErrorKind::AlreadyExists.into()
            }
            _ => error,
        });
    }
    fault::step("sync the directory", || File::open(directory)?.sync_all())
}

fn remove(temporary: &Path) -> io::Result<()> {
    fault::step("remove the temporary file", || fs::remove_file(temporary))
}

/// Opens the temporary file, and makes sure that it still has its name once no other process holds it.
fn open_locked(temporary: &Path) -> io::Result<File> {
    loop {
        remove_what_is_not_a_leftover(temporary)?;
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(O_NOFOLLOW | O_NONBLOCK);
        let file = fault::step("create the temporary file", || options.open(temporary))?;
        if !fault::locks_prove_nothing()
            && let Err(error) = file.lock()
        {
            match error.raw_os_error() {
                // Such a file system has no locks. Of two that write there at once, one loses its temporary file.
                Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS) => {}
                _ => return Err(error),
            }
        }
        look_anew(temporary.parent().unwrap_or(Path::new(".")));
        if has_name(&file, temporary)? {
            return Ok(file);
        }
    }
}

/// Lets NFS ask its server what is in a directory, which it does when that is opened. Without this, one
/// of two first runs on two machines took the temporary file of the other for its own, and found no recipe.
fn look_anew(directory: &Path) {
    let _ = File::open(directory);
}

/// Makes way for a temporary file: a link, a pipe, or a file with a second name is nobody's unfinished file, and is not
/// to be written to.
fn remove_what_is_not_a_leftover(temporary: &Path) -> io::Result<()> {
    let Ok(there) = fs::symlink_metadata(temporary) else {
        return Ok(());
    };
    if there.is_dir() {
        let message = format!("{} is a directory; move it away", temporary.display());
        return Err(io::Error::new(io::ErrorKind::IsADirectory, message));
    }
    if there.is_file() && there.nlink() < 2 {
        return Ok(());
    }
    match remove(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether an open file still has its name: another process may have removed it, or put another one there.
pub fn has_name(file: &File, path: &Path) -> io::Result<bool> {
    let inode = file.metadata()?.ino();
    Ok(fs::symlink_metadata(path).is_ok_and(|metadata| metadata.ino() == inode))
}

/// `.<name>.tmp` beside the file.
fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parts = [".".as_ref(), name, ".tmp".as_ref()];
    Ok(path.with_file_name(parts.into_iter().collect::<OsString>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("objects.txt");
        fs::write(&path, "old").unwrap();
        let result = write(&path, |file| {
            file.write_all(b"half of the new")?;
            Err(io::Error::other("disk full"))
        });
        assert_eq!(result.unwrap_err().to_string(), "disk full");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn who_is_second_to_make_a_file_where_locks_prove_nothing_leaves_it_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recipe.json");
        let result = create(&path, |_| {
            // Another process, in the middle of this one.
            fs::rename(temporary_name(&path)?, &path)?;
            fs::write(&path, "the first")
        });
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "the first");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        // What is not there for another reason stays an error of its own.
        let other = directory.path().join("other.json");
        let result = create(&other, |_| fs::remove_file(temporary_name(&other)?));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn leftovers_of_a_killed_writer_are_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("objects.txt");
        fs::write(
            directory.path().join(".objects.txt.tmp"),
            "a long leftover of a killed process",
        )
        .unwrap();
        write(&path, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_to_what_is_not_there_yet_stays_and_the_file_is_made_where_it_leads() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("lists")).unwrap();
        let [link, next] = ["objects.txt", "lists/next"].map(|name| directory.path().join(name));
        std::os::unix::fs::symlink("lists/next", &link).unwrap();
        std::os::unix::fs::symlink("today.txt", &next).unwrap();
        write_where_it_leads(&link, |file| file.write_all(b"new")).unwrap();
        assert!(link.is_symlink() && next.is_symlink());
        let made = directory.path().join("lists/today.txt");
        assert_eq!(fs::read_to_string(made).unwrap(), "new");
        // Links in a circle are no file.
        fs::remove_file(&next).unwrap();
        std::os::unix::fs::symlink("../objects.txt", &next).unwrap();
        write_where_it_leads(&link, |file| file.write_all(b"new")).unwrap_err();
        assert!(link.is_symlink() && next.is_symlink());
    }

    #[test]
    fn links_are_written_through_only_where_that_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let [target, link] = ["target", "link"].map(|name| directory.path().join(name));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_where_it_leads(&link, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        write(&link, |file| file.write_all(b"newer")).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(fs::read_to_string(&link).unwrap(), "newer");
        assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
