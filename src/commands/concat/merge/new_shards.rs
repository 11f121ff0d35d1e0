//! The shards that the directory gets: those of the parts, under new numbers.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::libc;
use rayon::prelude::*;

use super::MergeSummary;
use super::parts::PartToMerge;
use crate::storage::checksum::Checksum;
use crate::storage::files::regular;
use crate::storage::model_dir::{ModelDir, PackingLock};
use crate::storage::name_filter::NameFilter;
use crate::storage::recipe::Recipe;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{self, ShardFile, ShardFiles, ShardNumber};
use crate::storage::shard_changes::put_in_place;
use crate::storage::sources::RecordedSources;
use crate::support::fault;
use crate::support::progress::Progress;

/// How many shards get their names together: the checksums of a directory are written anew for each time, and for
/// 100,000 shards these are 15 MB.
const TOGETHER: usize = 256;

/// A shard of a part, and the number that it gets.
pub(super) struct NewShard<'a> {
    pub(super) part: &'a PartToMerge,
    from: ShardNumber,
    /// Its files, and their checksums.
    files: Vec<(ShardFile, String)>,
    rows: usize,
}

impl<'a> NewShard<'a> {
    /// Those of the parts, in order.
    pub(super) fn of_all(parts: &'a [PartToMerge]) -> Result<Vec<Self>> {
        let all = parts
            .iter()
            .flat_map(|part| part.shards.iter().map(move |from| (part, *from)));
        let all: Vec<(&PartToMerge, ShardNumber)> = all.collect();
        let shards = all.into_par_iter();
        shards.map(|(part, from)| Self::read(part, from)).collect()
    }

    /// The checksums of its features and its object ids, which tell it from others.
    pub(super) fn pair(&self) -> [Option<&str>; 2] {
        ShardFile::PAIR.map(|file| {
            let mut files = self.files.iter();
            files.find(|(it, _)| *it == file).map(|(_, sum)| &**sum)
        })
    }

    /// Reads the sizes and the checksums of a part's shard.
    fn read(part: &'a PartToMerge, from: ShardNumber) -> Result<Self> {
        let rows =
            shard::features_shape(&part.directory.join(from.file_name(ShardFile::Features)))?.0;
        let mut files = Vec::new();
        for file in ShardFile::ALL {
            let name = from.file_name(file);
            let path = part.directory.join(&name);
            if file == ShardFile::Sources && !path.exists() {
                continue;
            }
            let sum = part.sums.sum(&name).with_context(|| {
                let path = path.display();
                format!("{path} has no line in SHA256SUMS")
            })?;
            files.push((file, sum.to_owned()));
        }
        Ok(NewShard {
            part,
            from,
            files,
            rows,
        })
    }

    /// Puts its files beside those of a directory, under their temporary names; returns whether they were copied.
    fn place(&self, directory: &Path, number: ShardNumber) -> Result<bool> {
        let mut is_copied = false;
        for (file, sum) in &self.files {
            let from = self.part.directory.join(self.from.file_name(*file));
            let to = directory.join(number.temporary_name(*file));
            let reading = || format!("cannot read {}", from.display());
            let mut there = regular::open(&from).with_context(reading)?;
            let linked = fault::step("link a shard's file", || fs::hard_link(&from, &to));
            match linked {
                Ok(()) => {}
                Err(error) if cannot_link(&error) => {
                    is_copied = true;
                    let copied = copy(&mut there, &to);
                    let copied = copied.with_context(|| {
                        format!("cannot copy {} to {}", from.display(), to.display())
                    })?;
                    ensure!(
                        copied.eq_ignore_ascii_case(sum),
                        "{} has another SHA-256 than SHA256SUMS says there, so it was changed; put back a copy of it",
                        from.display()
                    );
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot link {} to {}", from.display(), to.display())
                    });
                }
            }
        }
        Ok(is_copied)
    }
}

/// The checksums that tell a shard of the directory from others: see [`NewShard::pair`].
pub(super) fn pair(sums: &Sha256Sums, number: ShardNumber) -> [Option<&str>; 2] {
    ShardFile::PAIR.map(|file| sums.sum(&number.file_name(file)))
}

/// The shards that are not in the directory yet.
pub(super) fn without_those_there<'a>(
    mut shards: Vec<NewShard<'a>>,
    there: &ShardFiles,
    sums: &Sha256Sums,
) -> Vec<NewShard<'a>> {
    let there: HashSet<[Option<&str>; 2]> = (there.complete_pairs())
        .map(|number| pair(sums, number))
        .collect();
    shards.retain(|shard| !there.contains(&shard.pair()));
    shards
}

/// Fails where an object is in two of the new shards, or in one and in a shard or in a file of its own that is there.
pub(super) fn check_ids(target: &ModelDir, there: &ShardFiles, new: &[NewShard<'_>]) -> Result<()> {
    let path = target.path();
    let reading = || format!("cannot read {}", path.display());
    let of_there = there.complete_pairs().map(|number| (path, number));
    let of_new = new.iter().map(|shard| (&*shard.part.directory, shard.from));
    let shards: Vec<(&Path, ShardNumber)> = of_there.chain(of_new).collect();
    let ids = |(directory, number): &(&Path, ShardNumber)| shard::object_ids(directory, *number);
    let nested = target.nested_files().with_context(reading)?;
    let recorded = RecordedSources::read(path, Recipe::id_kind(path)?).with_context(reading)?;
    let files = recorded.identify(&nested).known;
    let of_files = files
        .iter()
        .map(|file| file.object_id().to_owned())
        .collect();
    let of_shards = shards.par_iter().map(ids);
    let filter = NameFilter::of_all(of_shards.chain([Ok(of_files)]))?;
    if !filter.has_twins() {
        return Ok(());
    }
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in &files {
        seen.insert(file.object_id().to_owned(), path.join(file.path()));
    }
    for shard in &shards {
        let at = shard.0.join(shard.1.file_name(ShardFile::ObjectIds));
        for id in ids(shard)? {
            if !filter.may_hold_twice(id.as_bytes()) {
                continue;
            }
            if let Some(first) = seen.insert(id.clone(), at.clone()) {
                let advice = match files.iter().any(|file| file.object_id() == id) {
                    true => {
                        "`simsearch concat` removes the file if both features are equal. Otherwise merge"
                    }
                    false => "Merge",
                };
                bail!(
                    "{id} is there twice, in {} and in {}; nothing has changed. {advice} into another --feature-dir, or remove \
                     what is not wanted there",
                    first.display(),
                    at.display()
                );
            }
        }
    }
    Ok(())
}

/// Puts the new shards in place, from the number `first` on.
pub(super) fn place_all(
    target: &ModelDir,
    packing: &PackingLock,
    sums: &mut Sha256Sums,
    first: ShardNumber,
    new: &[NewShard<'_>],
    summary: &mut MergeSummary,
    progress: &Progress,
) -> Result<()> {
    let mut number = first;
    progress.begin(new.len() as u64);
    for shards in new.chunks(TOGETHER) {
        let numbers = (number.0..).map(ShardNumber);
        let numbered: Vec<(ShardNumber, &NewShard<'_>)> = numbers.zip(shards).collect();
        let placed = numbered.par_iter().map(|(number, shard)| {
            let placed = shard.place(target.path(), *number);
            progress.advance(1);
            placed.with_context(|| format!("cannot merge {}", shard.part.directory.display()))
        });
        let copied: Vec<bool> = placed.collect::<Result<_>>()?;
        summary.copied += copied.into_iter().filter(|is_copied| *is_copied).count();
        packing.check()?;
        sums.record_all(
            numbered
                .iter()
                .map(|(number, shard)| (*number, &*shard.files)),
        )?;
        for (number, shard) in &numbered {
            for (file, _) in &shard.files {
                put_in_place(target, *number, *file)?;
            }
        }
        summary.shards += shards.len();
        summary.rows += shards.iter().map(|shard| shard.rows).sum::<usize>();
        number = ShardNumber(number.0 + shards.len() as u64);
    }
    progress.end();
    Ok(())
}

/// Whether a file system does not make hard links, or not to this file.
fn cannot_link(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EXDEV | libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EMLINK)
    )
}

/// Copies a file, and makes that durable; returns its checksum.
fn copy(from: &mut File, to: &Path) -> io::Result<String> {
    let mut file = fault::step("create a temporary file", || File::create_new(to))?;
    let mut sum = Checksum::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sum.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
    }
    fault::step("sync a copied file", || file.sync_all())?;
    Ok(sum.finish())
}
