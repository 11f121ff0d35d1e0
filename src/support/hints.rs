//! Hints: what to do about errors of the system, and those that concern a whole run.

use std::error::Error;
use std::io;

use nix::errno::Errno;
use thiserror::Error;

/// It is something else: a directory, a pipe, a device, or a link where none may be.
#[derive(Debug, Error)]
#[error("not a regular file")]
pub(crate) struct NotRegular;

/// What the user can do about an error, where its own text leaves that open.
pub fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let cause = cause(error)?;
    if is_not_regular(cause) {
        return Some("name a regular file, or move it away and run the same command again");
    }
    Some(match Errno::from_raw(cause.raw_os_error()?) {
        Errno::ENOSPC => "free some space and run the same command again",
        Errno::EDQUOT => "the quota is used up; free some space and run the same command again",
        Errno::EFBIG => "raise the limit (`ulimit -f`) and run the same command again",
        Errno::EROFS => "mount it for writing, or name another directory",
        Errno::EACCES | Errno::EPERM => "check the owner and the mode, or name another path",
        Errno::EMFILE => "raise the limit (`ulimit -n`) and run the same command again",
        Errno::ENFILE => "the whole system has none left; run the same command again later",
        Errno::EAGAIN => {
            "free some memory or raise the limits (`ulimit -v`, `ulimit -u`), and run the same command again"
        }
        Errno::ENOMEM => {
            "free some memory or raise the limit (`ulimit -v`), and run the same command again"
        }
        Errno::EIO => {
            "the disk may be failing (see `dmesg`); run the same command again once it is repaired"
        }
        Errno::EISDIR => {
            "it is a directory; name a file, or move it away and run the same command again"
        }
        Errno::ENOTCONN | Errno::EHOSTDOWN | Errno::ESTALE | Errno::ETIMEDOUT => {
            "mount it again and run the same command again"
        }
        _ => return None,
    })
}

/// Whether an error concerns the whole run rather than one file: no space, too few file descriptors, too little memory,
/// a file system that is gone or became read-only.
pub(crate) fn concerns_the_run(error: &(dyn Error + 'static)) -> bool {
    let code = cause(error).and_then(io::Error::raw_os_error);
    matches!(
        code.map(Errno::from_raw),
        Some(
            Errno::ENOSPC
                | Errno::EDQUOT
                | Errno::EFBIG
                | Errno::EROFS
                | Errno::EMFILE
                | Errno::ENFILE
                | Errno::ENOMEM
                | Errno::ENOTCONN
                | Errno::EHOSTDOWN
                | Errno::ESTALE
                | Errno::ETIMEDOUT
        )
    )
}

/// Whether an error of writing one file would happen with the next one too: what concerns the run, a failing disk, and
/// a directory that may not be written.
pub(crate) fn concerns_all_writing(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    concerns_the_run(error) || matches!(code, Some(Errno::EIO | Errno::EACCES | Errno::EPERM))
}

/// The error of the system below the others.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let below = error.source().and_then(cause);
    below.or_else(|| error.downcast_ref())
}

/// Whether an error says that something is not a regular file.
pub(crate) fn is_not_regular(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<NotRegular>())
}
