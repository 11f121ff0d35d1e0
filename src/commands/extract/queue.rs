//! The pending objects: which one a worker takes next, claimed so that no other process works on it.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::waiting::{Waited, Waiting};
use crate::storage::model_dir::{Claims, ModelDir};
use crate::storage::object_id::ObjectId;
use crate::storage::object_list::ObjectList;
use crate::storage::tar;
use crate::support::mutex::lock;
use crate::support::progress::{Progress, counted, duration};

/// How long a worker waits before it asks again for an object that another process has claimed.
const CLAIM_POLL: Duration = Duration::from_millis(20);

/// How many such objects it asks for each time: thousands take a second, and the processor has next to nothing to do.
const CLAIMS_A_POLL: usize = 64;

/// What the workers take objects from.
pub struct Queue<'a> {
    list: &'a ObjectList,
    directory: &'a ModelDir,
    /// Indices into the list.
    pending: &'a [u32],
    tars: Vec<PendingTar>,
    cursor: AtomicUsize,
    /// None where no other process does them.
    claims: Option<Claims>,
    /// Objects that another process had claimed when their turn came.
    deferred: Mutex<VecDeque<u32>>,
    patience: Duration,
    waited: Mutex<Waited>,
}

/// The pending members of one tar, which stand side by side in the pending objects.
struct PendingTar {
    /// Where they begin there.
    start: usize,
    end: usize,
    /// The same indices in the order in which the tar has them; known when the first is taken.
    in_order: OnceLock<Vec<u32>>,
}

impl PendingTar {
    fn all(list: &ObjectList, pending: &[u32]) -> Vec<Self> {
        let tar = |index: u32| tar::split(list.entry(index as usize)).map(|(tar, _)| tar);
        let mut start = 0;
        let runs = pending.chunk_by(|&one, &other| tar(one).is_some() && tar(one) == tar(other));
        let runs = runs.map(|run| {
            start += run.len();
            PendingTar {
                start: start - run.len(),
                end: start,
                in_order: OnceLock::new(),
            }
        });
        runs.filter(|run| run.end - run.start > 1).collect()
    }
}

impl<'a> Queue<'a> {
    /// Of the objects with these indices in the list; `patience` is how long to wait for those of other processes,
    /// where objects are `shared` with such.
    pub fn new(
        list: &'a ObjectList,
        directory: &'a ModelDir,
        pending: &'a [u32],
        patience: Duration,
        shared: bool,
    ) -> io::Result<Self> {
        let claims = shared.then(|| directory.claims()).transpose()?;
        Ok(Queue {
            list,
            directory,
            pending,
            tars: PendingTar::all(list, pending),
            cursor: AtomicUsize::new(0),
            claims,
            deferred: Mutex::default(),
            patience,
            waited: Mutex::new(Waited::new(patience)),
        })
    }

    /// How many objects nobody has taken yet, apart from those that other processes had claimed.
    pub fn left(&self) -> usize {
        let taken = self.cursor.load(Ordering::Relaxed);
        self.pending.len().saturating_sub(taken)
    }

    /// How many objects were left to other processes.
    pub fn deferred(&self) -> usize {
        lock(&self.deferred).len()
    }

    /// Claims the next object; also returns its index in the list. Objects that other processes have claimed are put
    /// off for [`Queue::wait`]. The members of a tar come in the order into which `sort` puts them, once for each tar.
    pub fn next(&self, sort: impl Fn(&mut [u32])) -> Result<Option<(u32, ObjectId)>> {
        while let Some(index) = self.at(self.cursor.fetch_add(1, Ordering::Relaxed), &sort) {
            let id = self.object_id(index)?;
            if self.claim(&id)? {
                return Ok(Some((index, id)));
            }
            lock(&self.deferred).push_back(index);
        }
        Ok(None)
    }

    /// Waits for objects that other processes have claimed, and claims one. `None` when there are no more, when a
    /// process keeps them for too long, or when the run is `stopped`.
    pub fn wait(
        &self,
        progress: &Progress,
        stopped: impl Fn() -> bool,
    ) -> Result<Option<(u32, ObjectId)>> {
        while !stopped() {
            let mut deferred = lock(&self.deferred);
            let count = deferred.len();
            if count == 0 {
                break;
            }
            for _ in 0..count.min(CLAIMS_A_POLL) {
                let index = deferred[0];
                let id = self.object_id(index)?;
                if self.claim(&id)? {
                    deferred.pop_front();
                    lock(&self.waited).progress();
                    return Ok(Some((index, id)));
                }
                deferred.rotate_left(1);
            }
            drop(deferred);
            match lock(&self.waited).nothing(Instant::now()) {
                Waiting::Wait => {}
                Waiting::Say => self.say_waiting(count, progress),
                Waiting::GiveUp => break,
            }
            std::thread::sleep(CLAIM_POLL);
        }
        Ok(None)
    }

    /// Ends the claim on an object.
    pub fn release(&self, id: &ObjectId) {
        if let Some(claims) = &self.claims {
            claims.release(id);
        }
    }

    /// The index in the list of the object whose turn is then.
    fn at(&self, turn: usize, sort: impl Fn(&mut [u32])) -> Option<u32> {
        let pending = *self.pending.get(turn)?;
        let before = self.tars.partition_point(|tar| tar.end <= turn);
        let Some(tar) = (self.tars.get(before)).filter(|tar| tar.start <= turn) else {
            return Some(pending);
        };
        let in_order = tar.in_order.get_or_init(|| {
            let mut members = self.pending[tar.start..tar.end].to_vec();
            sort(&mut members);
            members
        });
        Some(in_order[turn - tar.start])
    }

    fn object_id(&self, index: u32) -> Result<ObjectId> {
        Ok(self.list.object_id(index as usize)?)
    }

    fn claim(&self, id: &ObjectId) -> Result<bool> {
        let Some(claims) = &self.claims else {
            return Ok(true);
        };
        let claimed = claims.claim(id);
        claimed.with_context(|| format!("cannot lock {}", self.directory.path().display()))
    }

    /// The locks do not tell which process it is.
    fn say_waiting(&self, count: usize, progress: &Progress) {
        progress.warn(&format!(
            "another process, which may be on a machine that has lost its power, holds {} and makes no progress; waiting up \
             to {}",
            counted(count, "object"),
            duration(self.patience.as_secs_f64())
        ));
    }
}
