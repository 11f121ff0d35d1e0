//! The arguments of `watch`, and what a pass is.

use std::path::{Path, PathBuf, absolute};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use simsearch::commands::concat::{self, ConcatOutcome};
use simsearch::commands::extract;
use simsearch::commands::list;
use simsearch::commands::prune::{self, PruneOutcome};
use simsearch::commands::watch::{self, Ended, Pass, Tree};
use simsearch::storage::object_list::ObjectList;
use simsearch::storage::output::Output;
use simsearch::support::interrupt::Interrupt;
use simsearch::support::progress::{Progress, counted, duration};
use simsearch::support::usage::WrongUsage;

use super::concat::RowsArgument;
use super::features::{FeatureArguments, leave_panics_of_decoders_to_the_report};
use super::list::WalkArguments;
use super::shared::{MediaArguments, QuietArgument};

#[derive(Debug, Args)]
pub struct WatchArguments {
    #[command(flatten)]
    media: MediaArguments,
    #[command(flatten)]
    walk: WalkArguments,
    #[command(flatten)]
    features: FeatureArguments,
    #[command(flatten)]
    rows: RowsArgument,
    /// Look at the tree every so many seconds, instead of listening for changes: for network file systems, and where
    /// there are more folders than inotify may watch.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    poll: Option<u64>,
    #[command(flatten)]
    quiet: QuietArgument,
}

pub fn run(arguments: WatchArguments) -> Result<ExitCode> {
    leave_panics_of_decoders_to_the_report();
    let progress = arguments.quiet.progress();
    let interrupt = Interrupt::install().context("cannot catch signals")?;
    interrupt.begin();
    let (media_dir, objects) = arguments.media.media_and_objects();
    if objects == Path::new(ObjectList::STDIN) {
        bail!(WrongUsage(
            "`watch` writes the list again and again: --objects needs a file".into()
        ));
    }
    let making = arguments.features.read_model(&progress)?;
    let extract = making.options(media_dir.clone(), objects.clone());
    let directory = extract.directory.clone();
    let start = || making.start(&progress);
    let mut list = (arguments.walk).options(
        media_dir.clone(),
        extract::choose_ids(&extract)?,
        Output::File(objects.clone()),
    );
    if let Some(line) = list::more_beside(&list) {
        progress.note(&line);
    }
    // A folder `object` that comes later is one more folder.
    list.subdirectory = Some(list::start(&list)?);
    let mut passes = Passes {
        list,
        extract,
        model: making.source(&start),
        concat: concat::Options {
            directory: directory.clone(),
            rows: arguments.rows.rows,
            // Else there would be a shard for each picture that comes.
            full_only: true,
        },
        prune: prune::Options {
            directory: directory.clone(),
            media_dir: media_dir.clone(),
            objects,
            dry_run: false,
            yes: false,
            new: 0,
        },
        may_pack: true,
        has_pruned: false,
        count: 0,
        progress: &progress,
        interrupt: &interrupt,
    };
    // What is heard has an absolute path.
    let listed = list::Options {
        media_dir: absolute(&media_dir)?,
        ..passes.list.clone()
    };
    let filter = list::filter(&listed)?;
    let features = absolute(directory)?;
    let own = features.clone();
    let tree = Tree {
        folders: &|| {
            let folders = list::folders(&listed)?.into_iter();
            Ok(folders.filter(|it| !it.starts_with(&own)).collect())
        },
        filter: Box::new(move |path, is_folder| {
            !path.starts_with(&features) && filter(path, is_folder)
        }),
    };
    let options = watch::Options {
        media_dir,
        poll: arguments.poll.map(Duration::from_secs),
    };
    let mut pass = || passes.next();
    let ended = watch::watch(&options, tree, &mut pass, &progress, &interrupt)?;
    Ok(match (ended, interrupt.signal()) {
        (Ended::InPass, Some(signal)) => {
            progress.warn("interrupted in a pass; the same command goes on from here");
            u8::try_from(128 + signal).unwrap_or(1).into()
        }
        (Ended::Waiting, _) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// What each pass does: the four commands, one after the other.
struct Passes<'a> {
    list: list::Options,
    extract: extract::Options,
    /// It stays loaded from the first picture on.
    model: extract::ModelSource<'a>,
    concat: concat::Options,
    /// Whether there may be features that were not looked at for a full shard: all of them are read for that.
    may_pack: bool,
    prune: prune::Options,
    /// Whether that was done once. Until then it may be another tree than before, and its pictures are new.
    has_pruned: bool,
    /// How many passes there were.
    count: usize,
    progress: &'a Progress,
    interrupt: &'a Interrupt,
}

/// What a pass did.
#[derive(Default)]
struct Did {
    objects: usize,
    done: u64,
    changed: usize,
    moved: usize,
    removed: usize,
    packed: usize,
    failed: u64,
    failures: Option<PathBuf>,
}

impl Passes<'_> {
    fn next(&mut self) -> Result<Pass> {
        let started = Instant::now();
        let mut did = Did::default();
        let passed = self.pass(&mut did);
        let says_nothing = self.count == 0 && matches!(passed, Ok(Pass::Done));
        if let Some(what) = did.describe(says_nothing) {
            self.progress.note(&format!(
                "{what} in {}; {} listed",
                duration(started.elapsed().as_secs_f64()),
                counted(did.objects, "object")
            ));
        }
        if let (1.., Some(failures)) = (did.failed, &did.failures) {
            self.progress.warn(&format!(
                "{} failed; {} says why",
                counted(did.failed, "object"),
                failures.display()
            ));
        }
        self.count += 1;
        passed
    }

    fn pass(&mut self, did: &mut Did) -> Result<Pass> {
        let Passes {
            progress,
            interrupt,
            ..
        } = self;
        let directory = &self.concat.directory;
        if self.count > 0 && !directory.exists() {
            bail!(
                "the directory of features {} is gone: is its disk mounted? To begin a new one, start `watch` again",
                directory.display()
            );
        }
        let is_cut_short = || interrupt.signal().is_some();
        let listed = list::list(&self.list, progress)?;
        did.objects = listed.objects;
        if self.count == 0 {
            for line in &listed.unasked {
                progress.note(line);
            }
        }
        if is_cut_short() {
            return Ok(Pass::CutShort);
        }
        let extracted = extract::extract(&self.extract, &self.model, progress, interrupt)?;
        (did.done, did.changed) = (extracted.done, extracted.changed);
        if !self.has_pruned {
            self.prune.new += (extracted.done as usize).saturating_sub(extracted.changed);
        }
        (did.moved, did.failed) = (extracted.moved, extracted.failed);
        did.failures = extracted.failures;
        let mut pass = Pass::Done;
        if extracted.claimed_elsewhere + extracted.left_to_parts > 0 {
            pass = Pass::Again;
        }
        if is_cut_short() {
            return Ok(Pass::CutShort);
        }
        self.may_pack |= extracted.done > 0 || extracted.moved > 0;
        if self.may_pack {
            match concat::concat(&self.concat, progress)? {
                ConcatOutcome::Packed(packed) => {
                    did.packed = packed.rows;
                    self.may_pack = false;
                }
                ConcatOutcome::HeldBy(_) => pass = Pass::Again,
            }
        }
        if is_cut_short() {
            return Ok(Pass::CutShort);
        }
        if listed.unread > 0 {
            progress.warn(
                "nothing is pruned, since not all folders and tar files can be read; --exclude leaves out one that never can",
            );
            return Ok(pass);
        }
        match prune::prune(&self.prune, progress)? {
            PruneOutcome::Pruned(pruned) => {
                did.removed = pruned.object_ids.len();
                (self.has_pruned, self.prune.new) = (true, 0);
            }
            PruneOutcome::HeldBy(..) => pass = Pass::Again,
            PruneOutcome::Refused(why) => progress.warn(&format!("nothing is pruned: {why}")),
        }
        Ok(pass)
    }
}

impl Did {
    /// What there was to do, in a line; none where there was nothing and that is not asked for.
    fn describe(&self, even_nothing: bool) -> Option<String> {
        let counts = [
            (self.done, "done"),
            (self.changed as u64, "of them changed"),
            (self.moved as u64, "moved"),
            (self.removed as u64, "removed"),
            (self.packed as u64, "packed"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        match counts.is_empty() {
            false => Some(counts.join(", ")),
            true => even_nothing.then(|| "nothing to do".to_owned()),
        }
    }
}
