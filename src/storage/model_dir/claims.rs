//! What tells the processes that share a directory which objects each of them has claimed.

use std::array;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::openat;
use nix::libc;
use nix::sys::stat::{Mode, mkdirat};

use super::locks::{lock_byte, open_lock};
use super::{DIRECTORY, ModelDir, not_opened};
use crate::storage::object_id::ObjectId;
use crate::support::fault;

/// The directory below a model's directory that holds the files whose locks are the claims.
pub(crate) const CLAIMS: &str = ".claims";

/// How many such files there are. Linux keeps the locks of a file in one list, and goes through all of it for each new
/// one, while every other thread has to wait: with 14,000 claims in one file a claim takes 1.2 ms. (That many are
/// held while a GPU gets ready and 16 processors decode ahead. There 20,000 pictures took 15 s more of the processors'
/// time.)
const FILES: usize = 16;

impl ModelDir {
    /// Makes room for the claims of this process.
    pub fn claims(&self) -> io::Result<Claims> {
        // Fails where there are no locks.
        self.lock_file()?;
        let made = fault::step("make the directory of claims", || {
            mkdirat(&self.root, CLAIMS, Mode::from_bits_truncate(0o777))
        });
        match made {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        match openat(&self.root, CLAIMS, DIRECTORY, Mode::empty()) {
            Ok(directory) => Ok(Claims {
                directory,
                files: array::from_fn(|_| OnceLock::new()),
            }),
            Err(error) => Err(not_opened(CLAIMS, error)),
        }
    }
}

/// Tells the processes that share a directory which objects they have claimed.
///
/// A claim is a lock on one byte of one of a few files, at an offset made from the object id. The system gives it up
/// when the process ends, however it ends, so there are no stale claims.
#[derive(Debug)]
pub struct Claims {
    directory: OwnedFd,
    /// Those that were needed so far.
    files: [OnceLock<File>; FILES],
}

impl Claims {
    /// Claims an object for this process; `false` when another process has it.
    pub fn claim(&self, id: &ObjectId) -> io::Result<bool> {
        let (number, offset) = place(id);
        let file = match self.files[number].get() {
            Some(file) => file,
            None => {
                let file = open_lock(&self.directory, &format!("{number:x}"))?;
                self.files[number].get_or_init(|| file)
            }
        };
        lock_byte(file, offset, libc::F_WRLCK)
    }

    /// Gives up a claim.
    pub fn release(&self, id: &ObjectId) {
        let (number, offset) = place(id);
        if let Some(file) = self.files[number].get() {
            // Cannot fail on a file that could be locked; and if it did, the claim would end with the process.
            let _ = lock_byte(file, offset, libc::F_UNLCK);
        }
    }
}

/// The number of a file and an offset in it, the same in every process: FNV-1a of the id. Two ids that share both are
/// merely never worked on by two processes at the same moment.
fn place(id: &ObjectId) -> (usize, i64) {
    let hash = id
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    // An offset has 63 bits.
    (hash as usize % FILES, (hash >> 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::object_id::IdKind;

    #[test]
    fn claims_are_spread_over_the_files() {
        let mut claims = [0; FILES];
        for number in 0..1000 * FILES {
            let id = ObjectId::new(IdKind::Name, &format!("{number:06}.jpg")).unwrap();
            claims[place(&id).0] += 1;
        }
        let range = 800..1200;
        assert!(
            claims.iter().all(|count| range.contains(count)),
            "{claims:?}"
        );
    }
}
