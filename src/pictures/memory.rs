//! The memory for decoding that threads share.

use std::sync::{Condvar, LazyLock, Mutex, PoisonError};

use super::{OWN_MEMORY, PictureError};
use crate::support::mutex::lock;
use crate::support::processors;

/// What each thread adds to the shared memory, in bytes: enough for a JPEG of 59 megapixels, so that nobody waits
/// before there are larger pictures.
const SHARE: u64 = 512 << 20;

/// Memory for pictures that need more than the readers' own ([`OWN_MEMORY`]). All of them together never have more than `total`; one that needs more than that by itself runs when no other does.
pub struct Memory {
    total: u64,
    used: Mutex<u64>,
    given_back: Condvar,
    /// Held by whoever waits, so that a large picture gets its turn before smaller ones that come later.
    turn: Mutex<()>,
}

/// Memory in use, until this is dropped.
struct Held<'a> {
    memory: &'a Memory,
    bytes: u64,
}

impl Memory {
    /// For so many threads.
    pub fn new(threads: usize) -> Self {
        Memory {
            total: SHARE * threads as u64,
            used: Mutex::new(0),
            given_back: Condvar::new(),
            turn: Mutex::new(()),
        }
    }

    /// That of all who have none of their own: for a thread on each processor.
    pub(super) fn of_process() -> &'static Memory {
        static MEMORY: LazyLock<Memory> = LazyLock::new(|| Memory::new(processors()));
        &MEMORY
    }

    /// Reads a picture within the memory that it is given, in bytes: the reader's own, and where that is too little, as
    /// much as it needs once there is so much.
    pub fn within<T>(
        &self,
        mut read: impl FnMut(u64) -> Result<T, PictureError>,
    ) -> Result<T, PictureError> {
        let (mut memory, mut held) = (OWN_MEMORY, None);
        loop {
            match read(memory) {
                Err(PictureError::NeedsMemory { bytes }) => {
                    drop(held.take());
                    held = Some(self.take(bytes));
                    memory = bytes;
                }
                result => return result,
            }
        }
    }

    /// Waits until there are `bytes`.
    fn take(&self, bytes: u64) -> Held<'_> {
        let bytes = bytes.min(self.total);
        let _turn = lock(&self.turn);
        let mut used = self
            .given_back
            .wait_while(lock(&self.used), |used| *used + bytes > self.total)
            .unwrap_or_else(PoisonError::into_inner);
        *used += bytes;
        Held {
            memory: self,
            bytes,
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *lock(&self.memory.used) -= self.bytes;
        self.memory.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn what_needs_more_is_read_again_once_it_is_there_and_gives_it_back() {
        let memory = Memory::new(1);
        let needed = 100 << 20;
        let mut asked = Vec::new();
        let read = memory.within(|bytes| {
            asked.push((bytes, *lock(&memory.used)));
            match bytes < needed {
                true => Err(PictureError::NeedsMemory { bytes: needed }),
                false => Ok(()),
            }
        });
        read.unwrap();
        assert_eq!(asked, [(OWN_MEMORY, 0), (needed, needed)]);
        assert_eq!(*lock(&memory.used), 0);
    }

    #[test]
    fn all_together_never_have_more_than_the_total_and_all_get_their_turn() {
        let memory = Memory::new(2);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for share in 1..=8 {
                let (memory, now, most) = (&memory, &now, &most);
                scope.spawn(move || {
                    for _ in 0..200 {
                        // The last two need more than there is.
                        let bytes = share * SHARE / 3;
                        let _held = memory.take(bytes);
                        let bytes = bytes.min(2 * SHARE);
                        most.fetch_max(
                            now.fetch_add(bytes, Ordering::SeqCst) + bytes,
                            Ordering::SeqCst,
                        );
                        std::thread::yield_now();
                        now.fetch_sub(bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 2 * SHARE);
        assert_eq!(*lock(&memory.used), 0);
    }
}
