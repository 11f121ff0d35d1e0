//! The shards: written, made durable and put in place, while the next files are read.

use std::io;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use super::reading::{check_dimension, read_feature};
use super::{Options, Refusals, Summary};
use crate::storage::model_dir::{ModelDir, PackingLock, PerObjectFile, ReadFile};
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{ShardFile, ShardNumber, ShardWriter};
use crate::storage::shard_changes::{self, remove_temporary};
use crate::storage::sources::{NOT_RECORDED, RecordedSources, feature_sum};
use crate::support::hints::concerns_the_run;
use crate::support::mutex::lock;

/// How many per-object files are read ahead, by all threads, while a shard is written.
const READ_AHEAD: usize = 256;

/// How many of them a thread reads at least before it looks for more to do.
const FILES_A_JOB: usize = 8;

/// Packs files into shards that come after those of the directory.
pub struct Packer<'a> {
    directory: &'a ModelDir,
    packing: &'a PackingLock,
    sums: &'a mut Sha256Sums,
    /// The number of the first shard.
    first: ShardNumber,
    /// Rows of a full one.
    rows: usize,
    full_only: bool,
    /// Numbers in a feature; where nothing tells it, the first feature does.
    dimension: Option<usize>,
    /// What the features that are not packed yet were made from.
    recorded: &'a RecordedSources,
}

/// A shard under its temporary name, and the files of its rows.
struct Written<'f> {
    number: ShardNumber,
    writer: ShardWriter,
    files: Vec<ReadFile<'f>>,
    /// The checksum of each feature.
    feature_sums: Vec<u32>,
    /// For each, the index of its source in the record, where it is there.
    sources: Vec<Option<usize>>,
}

/// A per-object file and what is in it.
struct Feature<'f, 'd> {
    file: ReadFile<'f>,
    /// Its numbers, and their checksum.
    data: &'d [u8],
    sum: u32,
    /// The index of its source in the record, where it is there.
    source: Option<usize>,
}

impl<'a> Packer<'a> {
    /// `first` is the number that the first shard gets.
    pub fn new(
        options: &Options,
        directory: &'a ModelDir,
        packing: &'a PackingLock,
        sums: &'a mut Sha256Sums,
        first: ShardNumber,
        dimension: Option<usize>,
        recorded: &'a RecordedSources,
    ) -> Self {
        Packer {
            directory,
            packing,
            sums,
            first,
            rows: options.rows,
            full_only: options.full_only,
            dimension,
            recorded,
        }
    }

    /// Writes shards until the files are used up. While the files of one are read, the one before is made durable, and
    /// the files of those before that are removed. Sets `packed` for each recorded source that a shard has now.
    pub fn pack<'f>(
        self,
        files: &[PerObjectFile<'f>],
        refusals: &mut Refusals<'_>,
        summary: &mut Summary,
        packed: &mut [bool],
    ) -> Result<()> {
        let Packer {
            directory,
            packing,
            sums,
            recorded,
            ..
        } = self;
        let mut unpacked = Unpacked {
            directory,
            files,
            number: self.first,
            rows: self.rows,
            dimension: self.dimension,
            recorded,
            refusals,
        };
        let removed = Mutex::new(Ok(()));
        let mut buffers = vec![Vec::new(); READ_AHEAD];
        rayon::in_place_scope(|scope| {
            let mut written: Option<Written<'f>> = None;
            loop {
                // This thread makes all shards: the allocator keeps what a thread has given back for that thread alone.
                let (next, committed) = rayon::join(
                    || {
                        let next = unpacked.write_shard(&mut buffers);
                        if next.is_err() {
                            // Where the disk is full, the shard before may need this room to be finished.
                            let _ =
                                remove_temporary(directory, unpacked.number, ShardFile::Features);
                        }
                        next
                    },
                    || {
                        let shard =
                            written.map(|shard| commit(directory, packing, sums, recorded, shard));
                        shard.transpose()
                    },
                );
                if let Some((files, sources)) = committed? {
                    for index in sources.into_iter().flatten() {
                        packed[index] = true;
                    }
                    summary.shards += 1;
                    summary.rows += files.len();
                    let removed = &removed;
                    scope.spawn(move |_| {
                        if let Err(error) = directory.remove_read(&files) {
                            *lock(removed) = Err(error);
                        }
                    });
                }
                written = next?;
                let Some(shard) = &written else { return Ok(()) };
                if self.full_only && shard.files.len() < self.rows {
                    summary.left = shard.files.len();
                    return remove_temporary(directory, shard.number, ShardFile::Features);
                }
            }
        })?;
        let removed = removed.into_inner().unwrap_or_else(PoisonError::into_inner);
        removed.context("cannot remove what is packed")
    }
}

/// Makes a shard durable and visible, and reads it back; returns the files that are packed in it, and the indices of
/// their sources.
fn commit<'f>(
    directory: &ModelDir,
    packing: &PackingLock,
    sums: &mut Sha256Sums,
    recorded: &RecordedSources,
    shard: Written<'f>,
) -> Result<(Vec<ReadFile<'f>>, Vec<Option<usize>>)> {
    let Written {
        number,
        writer,
        files,
        feature_sums,
        sources,
    } = shard;
    let of_rows = (sources.iter()).map(|index| Some(&recorded.made()[(*index)?].source));
    let of_rows: Vec<_> = of_rows.collect();
    let ids = files.iter().map(|read| read.file.object_id());
    shard_changes::write(writer, ids.clone(), &of_rows)
        .and_then(|new| shard_changes::add(directory, packing, sums, new, ids, &feature_sums))
        .with_context(|| cannot_write(directory, number))?;
    Ok((files, sources))
}

fn cannot_write(directory: &ModelDir, number: ShardNumber) -> String {
    let path = directory.path().display();
    format!("cannot write shard {:04} in {path}", number.0)
}

/// The per-object files that are in no shard yet.
struct Unpacked<'a, 'f, 'r> {
    directory: &'a ModelDir,
    files: &'a [PerObjectFile<'f>],
    /// The number of the next shard.
    number: ShardNumber,
    /// Rows of a full one.
    rows: usize,
    dimension: Option<usize>,
    recorded: &'a RecordedSources,
    refusals: &'a mut Refusals<'r>,
}

impl<'f> Unpacked<'_, 'f, '_> {
    /// Writes the next shard, full unless the files are used up before; `None` when there are none. Reads as many files
    /// ahead as there are buffers.
    fn write_shard(&mut self, buffers: &mut [Vec<u8>]) -> Result<Option<Written<'f>>> {
        let mut shard: Option<Written<'f>> = None;
        loop {
            let left = self.rows - shard.as_ref().map_or(0, |shard| shard.files.len());
            let count = left.min(buffers.len()).min(self.files.len());
            if count == 0 {
                self.number = self.number.next();
                return Ok(shard);
            }
            let (ahead, behind) = self.files.split_at(count);
            self.files = behind;
            let (directory, dimension, recorded) = (self.directory, self.dimension, self.recorded);
            let read: Vec<Result<Feature<'f, '_>>> = (ahead.par_iter().zip(&mut *buffers))
                .with_min_len(FILES_A_JOB)
                .map(|(file, buffer)| {
                    let id = file.object_id();
                    let (file, data) = read_feature(directory, *file, dimension, buffer)?;
                    let sum = feature_sum(data);
                    let source = recorded.find_index(id, sum);
                    ensure!(
                        source.is_some() || !recorded.rules_out(directory, id, sum)?,
                        "{NOT_RECORDED}"
                    );
                    Ok(Feature {
                        file,
                        data,
                        sum,
                        source,
                    })
                })
                .collect();
            for (file, read) in ahead.iter().zip(read) {
                if let Some(feature) = self.accept(*file, read)? {
                    self.append(&mut shard, feature)
                        .with_context(|| cannot_write(self.directory, self.number))?;
                }
            }
        }
    }

    /// What was read of a file, unless it is refused.
    fn accept<'d>(
        &mut self,
        file: PerObjectFile<'_>,
        read: Result<Feature<'f, 'd>>,
    ) -> Result<Option<Feature<'f, 'd>>> {
        let checked = read.and_then(|feature| {
            let wanted = *self.dimension.get_or_insert(feature.data.len() / 4);
            check_dimension(feature.data, wanted)?;
            Ok(feature)
        });
        match checked {
            Ok(feature) => Ok(Some(feature)),
            Err(error) if concerns_the_run(error.as_ref()) => {
                let file = self.directory.path().join(file.path());
                Err(error.context(format!("cannot read {}", file.display())))
            }
            Err(error) => {
                self.refusals.refuse(file.path(), &error);
                Ok(None)
            }
        }
    }

    fn append(&self, shard: &mut Option<Written<'f>>, feature: Feature<'f, '_>) -> io::Result<()> {
        let Feature {
            file,
            data,
            sum,
            source,
        } = feature;
        let shard = match shard {
            Some(shard) => shard,
            none => {
                let (path, number) = (self.directory.path(), self.number);
                none.insert(Written {
                    number,
                    writer: ShardWriter::create(path, number, data.len() / 4)?,
                    files: Vec::new(),
                    feature_sums: Vec::new(),
                    sources: Vec::new(),
                })
            }
        };
        shard.writer.push(data)?;
        shard.files.push(file);
        shard.feature_sums.push(sum);
        shard.sources.push(source);
        Ok(())
    }
}
