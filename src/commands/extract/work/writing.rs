//! The second half of a worker's way: from features to files, or to what is reported.

use std::io;
use std::sync::atomic::Ordering;

use anyhow::{Context, Error, Result};

use super::{Shared, Work, Worker};
use crate::commands::extract::cause::Cause;
use crate::commands::extract::group::Group;
use crate::commands::extract::packing::{PartWriter, Row};
use crate::storage::failures::Failure;
use crate::storage::model_dir::{FeatureState, Scratch};
use crate::storage::npy;
use crate::storage::object_id::ObjectId;
use crate::storage::sources::{self, Made, Source, feature_sum};
use crate::support::hints::concerns_all_writing;

impl Work<'_> {
    /// The features of a group that are ones, and which files they are made from.
    fn rows<'g>(&self, group: &'g Group) -> Vec<Row<'g>> {
        let rows = group.features.chunks_exact(self.form.dimension);
        let pictures = group.ids.iter().zip(&group.indices).zip(&group.files);
        let rows = pictures
            .zip(rows)
            .filter_map(|(((id, &index), &file), feature)| {
                let data: &[u8] = bytemuck::cast_slice(feature);
                let path = self.list.entry(index as usize).into();
                let feature_sum = feature_sum(data);
                Cause::of_feature(feature).is_none().then(|| Row {
                    id: id.as_str(),
                    made: Made {
                        source: Source { path, file },
                        feature_sum,
                    },
                    data,
                })
            });
        rows.collect()
    }

    /// Records which files the features of a group are made from; this comes before they are written.
    fn record_sources(&self, scratch: &Scratch, group: &Group) -> Result<()> {
        let made: Vec<Made> = self.rows(group).into_iter().map(|row| row.made).collect();
        sources::record(scratch, &made).with_context(|| {
            let path = self.directory.path();
            format!("cannot record sources in {}", path.display())
        })
    }

    /// Adds the features of a group to the shard in hand.
    pub(super) fn pack(
        &self,
        shared: &Shared<'_>,
        packing: &PartWriter,
        group: &Group,
    ) -> Result<()> {
        let rows = group.features.chunks_exact(self.form.dimension);
        for ((id, &index), feature) in group.ids.iter().zip(&group.indices).zip(rows) {
            if let Some(cause) = Cause::of_feature(feature) {
                self.fail(shared, id, self.list.entry(index as usize), cause)?;
            }
        }
        let rows = self.rows(group);
        packing.push(&rows, self.plan)?;
        let done = rows.len() as u64;
        self.counts.done.fetch_add(done, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the features of a group, a file for each, and gives its objects up.
    pub(super) fn write(
        &self,
        shared: &Shared<'_>,
        scratch: &Scratch,
        worker: &mut Worker,
    ) -> Result<()> {
        let Worker {
            slot, bytes, group, ..
        } = worker;
        self.record_sources(scratch, group)?;
        let rows = group.features.chunks_exact(self.form.dimension);
        for ((id, &index), feature) in group.ids.iter().zip(&group.indices).zip(rows) {
            let entry = self.list.entry(index as usize);
            if let Some(cause) = Cause::of_feature(feature) {
                self.fail(shared, id, entry, cause)?;
            } else {
                self.look_for_another(shared, id, bytes);
                bytes.clear();
                npy::append_feature(feature, bytes);
                match scratch.write_feature(self.directory, id, *slot, bytes) {
                    Ok(()) => {
                        self.counts.done.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => self.fail_to_write(shared, id, entry, error)?,
                }
            }
            shared.queue.release(id);
        }
        Ok(())
    }

    /// Says so, once, where another process has made the feature of an object that this one has claimed.
    fn look_for_another(&self, shared: &Shared<'_>, id: &ObjectId, buffer: &mut Vec<u8>) {
        if shared.is_not_alone.load(Ordering::Relaxed) {
            return;
        }
        let there = self.directory.feature_state(id, buffer);
        if matches!(there, Ok(FeatureState::Complete(dimension)) if dimension == self.form.dimension)
            && !self.plan.is_still_stale(self.directory, id)
            && !shared.is_not_alone.swap(true, Ordering::Relaxed)
        {
            self.progress.warn(
                "another process makes objects that this one has claimed: locks do not hold between them here, so that \
                 some objects are done twice; nothing is lost",
            );
        }
    }

    fn fail_to_write(
        &self,
        shared: &Shared<'_>,
        id: &ObjectId,
        entry: &str,
        error: io::Error,
    ) -> Result<()> {
        let path = self.directory.path().join(id.feature_path());
        // What is left are things in the way of this feature.
        if concerns_all_writing(&error) {
            return Err(Error::new(error).context(format!("cannot write {}", path.display())));
        }
        self.fail(shared, id, entry, Cause::write(&path, error))
    }

    /// Reports an object's failure; an error when the run shall not go on.
    fn fail(&self, shared: &Shared<'_>, id: &ObjectId, entry: &str, cause: Cause) -> Result<()> {
        let Cause {
            stage,
            class,
            message,
            file,
        } = cause;
        let failure = Failure {
            id: id.as_str().into(),
            path: entry.into(),
            stage,
            class,
            message,
            file,
        };
        self.report
            .record(&failure)
            .with_context(|| format!("cannot write {}", self.report.path().display()))?;
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        let failures = shared.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if self.options.max_errors.is_some_and(|most| failures >= most) {
            shared.stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reports a failed object, and lets others have it.
    pub fn give_up(
        &self,
        shared: &Shared<'_>,
        id: &ObjectId,
        entry: &str,
        cause: Cause,
    ) -> Result<()> {
        self.fail(shared, id, entry, cause)?;
        shared.queue.release(id);
        self.show(shared);
        Ok(())
    }
}
