//! How many pictures may be in memory, and decoded, at once.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::Problem;
use crate::support::processors;

/// Uploads that are received or wait to be decoded, at once: each is up to [`MAX_UPLOAD_BYTES`].
const MAX_UPLOADS: usize = 16;

/// The most bytes of an upload.
pub const MAX_UPLOAD_BYTES: usize = 32 << 20;

/// The most pixels of an upload: 300 MB when it is decoded, and up to 5 GB meanwhile in JPEG 2000. (Those that need more
/// than 512 MiB for each processor are decoded one at a time: see [`crate::pictures::Memory`].)
pub const MAX_UPLOAD_PIXELS: u64 = 100_000_000;

/// What bounds the work on pictures.
pub struct Work {
    uploads: Semaphore,
    /// One for each processor.
    hands: Arc<Semaphore>,
}

impl Work {
    pub fn new() -> Self {
        Work {
            uploads: Semaphore::new(MAX_UPLOADS),
            hands: Arc::new(Semaphore::new(processors())),
        }
    }

    /// A place for one upload, where there is one.
    pub fn upload(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.uploads.try_acquire().map_err(|_| Problem::busy())
    }

    /// Uploads at this moment.
    pub fn uploads(&self) -> usize {
        MAX_UPLOADS - self.uploads.available_permits()
    }

    /// Does something that takes long, on a thread that may.
    pub async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let hands = Arc::clone(&self.hands);
        let hand = hands.acquire_owned().await.map_err(|_| Problem::busy())?;
        let done = tokio::task::spawn_blocking(move || {
            let done = task();
            // Only now: the task goes on even when nobody waits for it any more.
            drop(hand);
            done
        });
        done.await
            .map_err(|_| Problem::internal("the work on this was cut off"))
    }
}
