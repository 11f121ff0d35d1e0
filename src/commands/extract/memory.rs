//! The memory for decoding that the workers share.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::support::mutex::lock;

/// What each worker adds to the shared memory, in bytes: enough for a JPEG of 59 megapixels, so that nobody waits
/// before there are larger pictures.
const SHARE: u64 = 512 << 20;

/// Memory for pictures that need more than the readers' own ([`OWN_MEMORY`](crate::pictures::OWN_MEMORY)). All of them
/// together never have more than `total`; one that needs more than that by itself runs when no other does.
pub struct Memory {
    total: u64,
    used: Mutex<u64>,
    given_back: Condvar,
    /// Held by whoever waits, so that a large picture gets its turn before smaller ones that come later.
    turn: Mutex<()>,
}

/// Memory in use, until this is dropped.
pub struct Held<'a> {
    memory: &'a Memory,
    bytes: u64,
}

impl Memory {
    pub fn new(workers: usize) -> Self {
        Memory {
            total: SHARE * workers as u64,
            used: Mutex::new(0),
            given_back: Condvar::new(),
            turn: Mutex::new(()),
        }
    }

    /// Waits until there are `bytes`.
    pub fn take(&self, bytes: u64) -> Held<'_> {
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
