//! The first half of a worker's way: from the queue to decoded pictures.

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Error, Result};

use super::{GROUP_TIME, Shared, Work, Worker};
use crate::commands::extract::cause::Cause;
use crate::commands::extract::group::Waiting;
use crate::inference::Form;
use crate::pictures::{OWN_MEMORY, PictureError, PictureReader};
use crate::storage::failures::Class;
use crate::storage::files::{FileStamp, regular};
use crate::storage::media::read_file;
use crate::storage::model_dir::FeatureState;
use crate::storage::object_id::ObjectId;
use crate::storage::tar::{self, Members};
use crate::support::hints::concerns_the_run;
use crate::support::mutex::lock;

impl Work<'_> {
    /// Reads and decodes objects until the group has `size`, or took its time, or nothing is left: then it is over.
    pub(super) fn fill(
        &self,
        shared: &Shared<'_>,
        worker: &mut Worker,
        size: usize,
        started: Instant,
    ) -> Result<bool> {
        let mut is_over = false;
        let is_full = |count: usize| {
            let took_its_time = started.elapsed() >= GROUP_TIME;
            count >= size || (took_its_time && count > 0 && count.is_multiple_of(self.batch))
        };
        while !is_full(worker.group.ids.len()) {
            let next = match self.stopped(shared) {
                true => None,
                false => self.next(shared, worker.slot, worker.group.ids.is_empty())?,
            };
            let Some((index, id)) = next else {
                is_over = true;
                break;
            };
            let entry = self.list.entry(index as usize);
            let meanwhile = if self.packing.is_some() {
                None
            } else if self.is_done_meanwhile(shared, &id, &mut worker.bytes)? {
                Some(&self.counts.skipped)
            } else if self.has_failed_meanwhile(&id, entry)? {
                Some(&self.counts.failed)
            } else {
                None
            };
            if let Some(count) = meanwhile {
                shared.queue.release(&id);
                count.fetch_add(1, Ordering::Relaxed);
                self.show(shared);
                continue;
            }
            match self.read(shared, entry, worker)? {
                Ok(file) => {
                    worker.group.ids.push(id);
                    worker.group.indices.push(index);
                    worker.group.files.push(file);
                }
                Err(cause) => self.give_up(shared, &id, entry, cause)?,
            }
        }
        self.decode_on_gpu(shared, worker)?;
        Ok(is_over)
    }

    /// Claims the next object. Waits for objects that other processes have claimed only when `may_wait`.
    fn next(
        &self,
        shared: &Shared<'_>,
        slot: usize,
        may_wait: bool,
    ) -> Result<Option<(u32, ObjectId)>> {
        let sort = |members: &mut [u32]| self.sort_members(shared, slot, members);
        match shared.queue.next(sort)? {
            None if may_wait => shared.queue.wait(self.progress, || self.stopped(shared)),
            next => Ok(next),
        }
    }

    /// Puts members of one tar into the order in which it has them. One that it does not have comes last, and fails
    /// when it is read; so do all where the tar cannot be read.
    fn sort_members(&self, shared: &Shared<'_>, slot: usize, members: &mut [u32]) {
        let split = |index: u32| tar::split(self.list.entry(index as usize));
        let Some((tar, _)) = members.first().and_then(|first| split(*first)) else {
            return;
        };
        let path = self.options.media_dir.join(tar);
        let read = || Members::of(&regular::open(&path)?);
        if let Ok(found) = shared.reads.read(slot, &path, read) {
            let offset = |name: &str| found.find(name).ok().map(|place| place.offset);
            members.sort_by_cached_key(|index| {
                let offset = split(*index).and_then(|(_, name)| offset(name));
                offset.unwrap_or(u64::MAX)
            });
        }
    }

    /// From an entry to pixels at the end of the group. The inner error is this object's, the outer one the run's.
    fn read(
        &self,
        shared: &Shared<'_>,
        entry: &str,
        worker: &mut Worker,
    ) -> Result<Result<FileStamp, Cause>> {
        let path = self.options.media_dir.join(entry);
        let Worker { slot, bytes, .. } = worker;
        let read = (shared.reads).read(*slot, &path, || read_file(&path, bytes));
        let file = match read {
            Ok(file) => file,
            Err(error) if concerns_the_run(&error) => {
                return Err(Error::new(error).context(format!("cannot read {}", path.display())));
            }
            Err(error) => {
                if matches!(
                    Class::of_io(&error),
                    Class::Missing | Class::Denied | Class::Io
                ) {
                    self.mounted.check_around(entry)?;
                }
                return Ok(Err(Cause::read(error, &path)));
            }
        };
        let Form { width, height, .. } = *self.form;
        let pixels = &mut worker.group.pixels;
        let before = pixels.len();
        pixels.resize(before + width * height * 3, 0);
        if self.gpu.is_some_and(|gpu| gpu.takes(&worker.bytes)) {
            worker.group.waiting.push(Waiting {
                position: worker.group.ids.len(),
                bytes: std::mem::take(&mut worker.bytes),
            });
            return Ok(Ok(file));
        }
        let out = &mut pixels[before..];
        let result = self.decode(shared, &mut worker.reader, &worker.bytes, out);
        if worker.bytes.capacity() as u64 > OWN_MEMORY {
            worker.bytes = Vec::new();
        }
        if result.is_err() {
            pixels.truncate(before);
        }
        Ok(result
            .map(|()| file)
            .map_err(|error| Cause::decode(&error, file)))
    }

    /// From the bytes of a file to pixels, on the CPU.
    pub fn decode(
        &self,
        shared: &Shared<'_>,
        reader: &mut PictureReader,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Result<(), PictureError> {
        let Form { width, height, .. } = *self.form;
        let memory = &shared.memory;
        memory.within(|memory| reader.read_within(memory, bytes, width, height, out))
    }

    /// Whether another process has made the feature since this run began, and perhaps packed it.
    fn is_done_meanwhile(
        &self,
        shared: &Shared<'_>,
        id: &ObjectId,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        match self.directory.newest_feature_state(id, buffer) {
            Ok(FeatureState::Complete(dimension)) => {
                Ok(dimension == self.form.dimension
                    && !self.plan.is_still_stale(self.directory, id))
            }
            Ok(FeatureState::Absent) => lock(&shared.packed).holds(id),
            _ => Ok(false),
        }
    }

    /// Whether another process has tried this picture since this run began, so that trying it again cannot help.
    fn has_failed_meanwhile(&self, id: &ObjectId, entry: &str) -> Result<bool> {
        let failure = self.report.new_failure(id);
        let failure =
            failure.with_context(|| format!("cannot read {}", self.report.path().display()))?;
        Ok(failure.is_some_and(|failure| failure.is_final(&self.options.media_dir.join(entry))))
    }
}
