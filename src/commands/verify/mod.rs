//! Command: checks a model's directory.
//!
//! Everything is read: the shards piece by piece, the per-object files one at a time for each thread, and the index. In
//! memory are the object ids, what is recorded of each, and the list: 400 bytes an object, about.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the command |
//! | `names.rs` | the names in a directory of shards, and those in its SHA256SUMS |
//! | `shards.rs` | the files of one shard |
//! | `objects.rs` | the features of objects, in files of their own and in shards |
//! | `report.rs` | what was found |

mod names;
mod objects;
mod report;
mod shards;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rayon::prelude::*;

use crate::similarity::hnsw;
use crate::storage::failures::{FailureReport, id_of_bad_line};
use crate::storage::model_dir::{ModelDir, PerObjectFile};
use crate::storage::object_id::IdKind;
use crate::storage::object_list::{Line, ObjectList};
use crate::storage::part;
use crate::storage::part_dir;
use crate::storage::recipe::Recipe;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{Listing, ShardFiles, ShardNumber};
use crate::storage::sources::{
    self, FileState, NOT_RECORDED, RecordedSources, Source, UNKNOWN_OBJECT, feature_sum,
};
use crate::support::progress::counted;
use objects::{Feature, Place};
pub use report::{Finding, Report};
use shards::Shard;

/// What to check.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's directory, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// The list of objects that should have a feature or a failure. Default: none.
    pub objects: Option<PathBuf>,
    /// The media directory, whose listed pictures are compared with what is recorded. Default: none, and they are not.
    pub media_dir: Option<PathBuf>,
}

/// How a check ended.
#[derive(Debug)]
pub enum VerifyOutcome {
    /// Everything was looked at.
    Checked(Report),
    /// A `concat` is moving what should be looked at; the text names it.
    HeldBy(String),
}

/// Checks a model's directory. Takes no lock and writes nothing.
pub fn verify(options: &Options) -> Result<VerifyOutcome> {
    let path = &options.directory;
    let reading = || format!("cannot read {}", path.display());
    let directory = ModelDir::open(path).with_context(reading)?;
    let listed = ShardFiles::list_all(path)?;
    let directories = listed.iter().map(|listing| &*listing.directory);
    // Those of the model and of its parts.
    let opened: Vec<ModelDir> = (directories.clone().map(ModelDir::open))
        .collect::<io::Result<_>>()
        .with_context(reading)?;
    let holder = || {
        let holders = opened.iter().map(ModelDir::packing_holder);
        let holder = holders.filter_map(Result::transpose).next();
        holder.transpose().with_context(reading)
    };
    let last_packed = || {
        let last = opened.iter().map(ModelDir::last_packed);
        last.collect::<io::Result<Vec<_>>>().with_context(reading)
    };
    let last_packed_before = last_packed()?;
    if let Some(holder) = holder()? {
        return Ok(VerifyOutcome::HeldBy(holder));
    }
    // What was begun before that, and is there now.
    let listed = ShardFiles::list_all(path)?;
    let mut report = Report {
        directory: path.clone(),
        ..Report::default()
    };
    let recipe = report.usable(path.join(Recipe::FILE_NAME), Recipe::read(path));
    let recipe = recipe.flatten();
    let id_kind = recipe.as_ref().map_or(IdKind::Name, |recipe| recipe.ids);
    let read_list = |objects| ObjectList::read(objects, id_kind);
    let list = options.objects.as_deref().map(read_list).transpose()?;
    report.listed = list.as_ref().map(ObjectList::len);
    report.usable(path.join(part::FILE_NAME), part::recorded(path));
    let mut shards = Vec::new();
    for listing in &listed {
        let record = listing.directory.join(part_dir::FILE_NAME);
        report.usable(record, part_dir::read(&listing.directory));
        shards.extend(report.check_shards(listing, recipe.as_ref(), id_kind)?);
    }
    report.check_index()?;
    // Before the files: what `extract --retry-failed` makes in between is then seen twice rather than not at all.
    let directories = listed.iter().map(|listing| &*listing.directory);
    let failures = FailureReport::read_all(directories).with_context(reading)?;
    report.failed = failures.len();
    let nested = directory.nested_files().with_context(reading)?;
    for file in &nested.misnamed {
        let what = "its name is not UTF-8 text or contains a newline, so it cannot belong to an object; move it away";
        report.problem(&path.join(file), what);
    }
    let recorded = RecordedSources::read(path, id_kind).with_context(reading)?;
    let unreadable = sources::unreadable_lines(path).with_context(reading)?;
    if unreadable > 0 {
        let what = format!(
            "{} in the records of sources cannot be read; it is not known what these features were made from, and so not \
             noticed when those pictures change",
            counted(unreadable, "line")
        );
        report.notes.push(Finding::new(path, what));
    }
    let found = recorded.identify(&nested);
    for file in found.unknown {
        report.problem(&path.join(file), UNKNOWN_OBJECT);
    }
    let nested = found.known;
    let features = report.check_files(&directory, &nested);
    for shard in &mut shards {
        report.shards += 1;
        report.rows += shard.ids.len();
        report.problems.append(&mut shard.problems);
    }
    let wanted = recipe.map(|recipe| recipe.dimension);
    report.check_dimensions(wanted, &shards, &nested, &features);
    // Those whose feature is the one that was recorded.
    let mut recorded_files: HashMap<&str, &Source> = HashMap::new();
    for (file, feature) in nested.iter().zip(&features) {
        let (id, Some(Feature { sum, .. })) = (file.object_id(), feature) else {
            continue;
        };
        if let Some(source) = recorded.find(id, *sum) {
            recorded_files.insert(id, source);
        } else if recorded
            .rules_out(&directory, id, *sum)
            .with_context(reading)?
        {
            report.problem(&path.join(file.path()), NOT_RECORDED);
        }
    }
    let is_newer = |file: PerObjectFile<'_>| recorded_files.contains_key(file.object_id());
    let places = report.check_ids(&shards, &nested, &is_newer);
    for (line, entry) in list
        .iter()
        .flat_map(|list| list.lines().zip(list.entries()))
    {
        let is_known = match &line {
            Line::Object(id) => places.contains_key(id) || failures.contains_key(*id),
            Line::Repeated => true,
            Line::Bad(_) => failures.contains_key(&id_of_bad_line(entry)),
        };
        if !is_known {
            let what = "has neither a feature nor a failure; `simsearch extract` makes it";
            report.problem(Path::new(entry), what);
        }
        let (Line::Object(id), Some(media_dir)) = (&line, &options.media_dir) else {
            continue;
        };
        let of_row = || match places.get(id) {
            Some(Place::Row(shard, row)) => {
                // Its picture may have another path than when it was packed.
                let moved = match recorded.names(id) {
                    true => recorded.find(id, feature_sum(&shard.feature(*row).ok()?)),
                    false => None,
                };
                moved.or(shard.sources.get(*row)?.as_ref())
            }
            _ => None,
        };
        let source = recorded_files.get(id).copied().or_else(of_row);
        if source.is_some_and(|source| source.compare(media_dir, entry) == FileState::Changed) {
            match failures.get(*id) {
                None => {
                    let what = "has changed since its feature was made; `simsearch extract` makes it again";
                    report.problem(Path::new(entry), what);
                }
                // As with those that never had a feature.
                Some(failure) => {
                    let class = failure.class;
                    let what = format!(
                        "has changed since its feature was made, and could not be read then ({class}); the old one stays until \
                         it can, or until the picture is removed"
                    );
                    report.notes.push(Finding::new(Path::new(entry), what));
                }
            }
        }
    }
    // Whatever a `concat` has moved meanwhile would be missed, or be there twice.
    let was_packed = last_packed()? != last_packed_before;
    Ok(match holder()? {
        Some(holder) => VerifyOutcome::HeldBy(holder),
        None if was_packed => VerifyOutcome::HeldBy("another process".to_owned()),
        None => VerifyOutcome::Checked(report),
    })
}

impl Report {
    /// Checks the shards of one directory, the model's or that of a part in it. `recipe` is the model's.
    fn check_shards(
        &mut self,
        listing: &Listing,
        recipe: Option<&Recipe>,
        id_kind: IdKind,
    ) -> Result<Vec<Shard>> {
        let Listing { directory, files } = listing;
        self.check_names(listing)?;
        let of_part = (*directory != self.directory).then(|| {
            let path = directory.join(Recipe::FILE_NAME);
            let of_part = self.usable(path.clone(), Recipe::read(directory))?;
            Some((path, of_part))
        });
        if let Some((path, of_part)) = of_part.flatten()
            && of_part.as_ref() != recipe
            // A part without objects never ran the model.
            && (of_part.is_some() || !files.finished.is_empty())
        {
            let what = "is not the recipe of the model's directory; a part of other features does not belong here";
            self.problem(&path, what);
        }
        let sums = Sha256Sums::read(directory);
        let sums = self.usable(directory.join(Sha256Sums::FILE_NAME), sums);
        if let Some(sums) = &sums {
            self.check_sums(sums, listing)?;
        }
        // Without any checksum, one problem is enough.
        let sums = sums.as_ref().filter(|sums| !sums.is_empty());
        let pairs: Vec<ShardNumber> = files.complete_pairs().collect();
        let shards =
            (pairs.par_iter()).map(|number| Shard::check(directory, *number, sums, id_kind));
        Ok(shards.collect())
    }

    /// Reads the approximate index. Whether it is of these shards, who uses it says.
    fn check_index(&mut self) -> Result<()> {
        if let Some(why) = hnsw::damage(&self.directory)? {
            let path = self.directory.join(ModelDir::INDEX);
            self.problem(&path, format!("{why}; `simsearch index` makes it again"));
        }
        Ok(())
    }
}
