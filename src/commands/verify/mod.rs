//! Command: checks a model's directory.
//!
//! Everything is read: the shards piece by piece, the per-object files one at a time for each thread, and the index. In
//! memory are the object ids, 100 bytes for each, and the list.

mod shards;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result};
use rayon::prelude::*;

use crate::similarity::hnsw;
use crate::storage::failures::{FailureReport, id_of_bad_line};
use crate::storage::merging;
use crate::storage::model_dir::{ModelDir, PerObjectFile};
use crate::storage::object_id::IdKind;
use crate::storage::object_list::{Line, ObjectList};
use crate::storage::part;
use crate::storage::part_dir;
use crate::storage::recipe::Recipe;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{Listing, ShardError, ShardFile, ShardFiles, ShardNumber};
use crate::storage::sources::{
    self, FileState, NOT_RECORDED, RecordedSources, Source, UNKNOWN_OBJECT, feature_sum,
};
use crate::storage::{checksum, npy};
use crate::support::hints::hint;
use crate::support::progress::counted;
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

/// What was checked, and what was found.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Report {
    /// The model's directory.
    pub directory: PathBuf,
    /// Pairs of shard files.
    pub shards: usize,
    /// Rows in them.
    pub rows: usize,
    /// Per-object files.
    pub files: usize,
    /// Files whose checksum is recorded.
    pub checksums: usize,
    /// Lines of the list.
    pub listed: Option<usize>,
    /// Objects in the report of failures.
    pub failed: usize,
    /// What is wrong.
    pub problems: Vec<Finding>,
    /// What is worth knowing but not wrong: what killed runs have left.
    pub notes: Vec<Finding>,
}

/// What there is to say of a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The file, or the line of the list.
    pub file: PathBuf,
    /// For people: the file, what is wrong with it, and a hint.
    pub message: String,
}

/// A feature in a file of its own.
struct Feature {
    dimension: usize,
    /// See [`feature_sum`].
    sum: u32,
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

/// Where the feature of an object is.
#[derive(Clone, Copy)]
enum Place<'a> {
    Row(&'a Shard, usize),
    File(PerObjectFile<'a>),
}

impl Report {
    fn problem(&mut self, file: &Path, what: impl fmt::Display) {
        self.problems.push(Finding::new(file, what));
    }

    /// What was read, or a problem of its file.
    fn usable<T, E>(&mut self, file: PathBuf, read: Result<T, E>) -> Option<T>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let message = match read {
            Ok(read) => return Some(read),
            Err(error) => format!("{:#}", Error::new(error)),
        };
        self.problems.push(Finding { file, message });
        None
    }

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

    /// Names halves of pairs, and what killed runs have left.
    fn check_names(&mut self, listing: &Listing) -> Result<()> {
        let Listing {
            directory: path,
            files,
        } = listing;
        for half in files.half_pairs(path) {
            if let ShardError::Half { found, .. } = &half {
                let (file, message) = (found.clone(), half.to_string());
                self.problems.push(Finding { file, message });
            }
        }
        let reading = || format!("cannot read {}", path.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(path).with_context(reading)? {
            names.push(entry.with_context(reading)?.file_name());
        }
        names.sort();
        for name in names {
            let bytes = name.as_encoded_bytes();
            let of_merge = name.to_str().is_some_and(merging::is_mark);
            if of_merge {
                let what = "a merge of parts was interrupted; the same `simsearch concat --merge` goes on from there";
                self.notes.push(Finding::new(&path.join(&name), what));
            } else if bytes.starts_with(b"part-")
                && path.join(&name).is_dir()
                && name
                    .to_str()
                    .is_none_or(|name| part_dir::parse(name).is_none())
            {
                let what = "is not read: a part's directory has a name such as part-00003-of-00064";
                self.notes.push(Finding::new(&path.join(&name), what));
            } else if bytes.starts_with(b".") && bytes.ends_with(b".tmp") {
                let what = "is temporary: an `extract` is running, or a run was killed and the next one will finish or \
                            remove it";
                self.notes.push(Finding::new(&path.join(&name), what));
            }
        }
        Ok(())
    }

    /// Compares the names in SHA256SUMS with those in the directory, and the recipe with its checksum.
    fn check_sums(&mut self, sums: &Sha256Sums, listing: &Listing) -> Result<()> {
        let Listing {
            directory: path,
            files,
        } = listing;
        let sums_path = path.join(Sha256Sums::FILE_NAME);
        self.checksums += sums.file_names().count();
        if sums.is_empty() && files.complete_pairs().next().is_some() {
            let what = "there are no checksums, so damage to the shards would go unnoticed; `simsearch concat` \
                        records them";
            self.problem(&sums_path, what);
        }
        for name in sums.file_names() {
            let is_known = match ShardNumber::parse(name) {
                // What has its temporary name yet will be put in place.
                Some((number, file)) => {
                    let finished = files.finished.get(&number);
                    files.is_being_merged(number)
                        || files.temporary.contains_key(&number)
                        || files.replacements.contains_key(&number)
                        || finished.is_some_and(|there| match file {
                            ShardFile::Sources => there[file as usize],
                            // A single half is a problem already.
                            _ => true,
                        })
                }
                None => path.join(name).exists(),
            };
            if !is_known {
                let what = "is missing but has a line in SHA256SUMS; put it back, or remove the line if the file was \
                            removed on purpose";
                self.problem(&path.join(name), what);
            }
        }
        let recipe = path.join(Recipe::FILE_NAME);
        // A recipe without a line is one that `extract` has recorded since.
        if sums.sum(Recipe::FILE_NAME).is_some() && recipe.exists() {
            let sum = checksum::of_file(&recipe)
                .with_context(|| format!("cannot read {}", recipe.display()))?;
            let hint = "put back a copy of it; it must say what made these features";
            self.problems
                .extend(compare(Some(sums), &recipe, &sum, hint));
        }
        Ok(())
    }

    /// Reads the approximate index. Whether it is of these shards, who uses it says.
    fn check_index(&mut self) -> Result<()> {
        if let Some(why) = hnsw::damage(&self.directory)? {
            let path = self.directory.join(ModelDir::INDEX);
            self.problem(&path, format!("{why}; `simsearch index` makes it again"));
        }
        Ok(())
    }

    /// Reads every per-object file; returns what the features are, `None` for files that are not features.
    fn check_files(
        &mut self,
        directory: &ModelDir,
        nested: &[PerObjectFile<'_>],
    ) -> Vec<Option<Feature>> {
        self.files = nested.len();
        let read: Vec<Result<Feature>> = (nested.par_iter())
            .map(|file| {
                let bytes = directory.read(*file)?;
                let data = npy::feature_data(&bytes)?;
                Ok(Feature {
                    dimension: data.len() / 4,
                    sum: feature_sum(data),
                })
            })
            .collect();
        let mut features = Vec::with_capacity(read.len());
        for (file, read) in nested.iter().zip(read) {
            if let Err(error) = &read {
                let advice = hint(error.as_ref()).unwrap_or("`simsearch extract` makes it again");
                let what = format!("{error:#}; {advice}");
                self.problem(&directory.path().join(file.path()), what);
            }
            features.push(read.ok());
        }
        features
    }

    /// Names the features that have a different dimension than the recipe says, or than most have.
    fn check_dimensions(
        &mut self,
        wanted: Option<usize>,
        shards: &[Shard],
        nested: &[PerObjectFile<'_>],
        features: &[Option<Feature>],
    ) {
        let of_shards = shards.iter().filter_map(|shard| {
            let (rows, dimension) = shard.shape?;
            Some((shard, dimension, rows))
        });
        let files = nested.iter().zip(features);
        let of_files = files.filter_map(|(file, read)| Some((file, read.as_ref()?.dimension)));
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for (_, dimension, rows) in of_shards.clone() {
            *counts.entry(dimension).or_default() += rows;
        }
        for (_, dimension) in of_files.clone() {
            *counts.entry(dimension).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, rows)| *rows);
        let (wanted, whose) = match wanted {
            Some(wanted) => (wanted, "recipe.json says"),
            None => (most.unwrap_or_default().0, "most here have"),
        };
        let what = |dimension: usize| {
            format!(
                "has features of {dimension} numbers, {whose} {wanted}; move it away if it belongs to another model"
            )
        };
        for (shard, dimension, _) in of_shards.filter(|(_, dimension, _)| *dimension != wanted) {
            self.problem(&shard.path(ShardFile::Features), what(dimension));
        }
        let path = self.directory.clone();
        for (file, dimension) in of_files.filter(|(_, dimension)| *dimension != wanted) {
            self.problem(&path.join(file.path()), what(dimension));
        }
    }

    /// Names every object that has more than one feature, unless the other one is a file that is newer than a row;
    /// returns where each has its first.
    fn check_ids<'a>(
        &mut self,
        shards: &'a [Shard],
        nested: &[PerObjectFile<'a>],
        is_newer: &dyn Fn(PerObjectFile<'a>) -> bool,
    ) -> HashMap<&'a str, Place<'a>> {
        let mut places: HashMap<&'a str, Place<'a>> = HashMap::new();
        let rows = shards.iter().flat_map(|shard| {
            let ids = shard.ids.iter().enumerate();
            ids.map(move |(row, id)| (&**id, Place::Row(shard, row)))
        });
        let files = nested
            .iter()
            .map(|file| (file.object_id(), Place::File(*file)));
        for (id, place) in rows.chain(files) {
            let Some(&first) = places.get(id) else {
                places.insert(id, place);
                continue;
            };
            if let (Place::Row(..), Place::File(file)) = (first, place)
                && is_newer(file)
            {
                continue;
            }
            let first = match first {
                Place::Row(shard, row) => {
                    let ids = shard.path(ShardFile::ObjectIds);
                    format!("row {row} of {}", self.below(&ids).display())
                }
                Place::File(file) => file.path().display().to_string(),
            };
            let (file, what) = match place {
                Place::Row(shard, row) => (
                    shard.path(ShardFile::ObjectIds),
                    format!(
                        "row {row} is of {id}, and so is {first}; move the files of one shard that has it away, remove \
                         their lines from SHA256SUMS, and run `simsearch extract` and `simsearch concat`"
                    ),
                ),
                Place::File(file) => (
                    self.directory.join(file.path()),
                    format!(
                        "{id} has another feature in {first}; `simsearch concat` removes this one if both are \
                         equal; otherwise move one of the two away"
                    ),
                ),
            };
            self.problem(&file, what);
        }
        places
    }

    /// The path of a file below the model's directory.
    fn below<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.directory).unwrap_or(path)
    }
}

impl Finding {
    fn new(file: &Path, what: impl fmt::Display) -> Self {
        Finding {
            file: file.to_owned(),
            message: format!("{}: {what}", file.display()),
        }
    }
}

/// A problem where a file has another checksum than SHA256SUMS says, or none there.
fn compare(sums: Option<&Sha256Sums>, path: &Path, sum: &str, hint: &str) -> Option<Finding> {
    let name = path.file_name()?.to_str()?;
    match sums?.sum(name) {
        Some(recorded) if recorded.eq_ignore_ascii_case(sum) => None,
        Some(_) => Some(Finding::new(
            path,
            format!("its SHA-256 is not the one in SHA256SUMS, so it was changed; {hint}"),
        )),
        None => Some(Finding::new(
            path,
            "has no line in SHA256SUMS; `simsearch concat` adds one",
        )),
    }
}
