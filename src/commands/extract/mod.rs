//! Command: pending objects -> groups of pictures -> features -> files.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the steps of a run |
//! | `options.rs`, `summary.rs` | what a run is asked for, and what it did |
//! | `plan.rs` | which objects are done, failed or pending |
//! | `standing.rs` | which have a feature, and whether it is of the file as it is now |
//! | `work/` | the workers: read, decode, run, write |
//! | `group.rs` | the pictures that a worker carries from stage to stage together |
//! | `on_gpu.rs` | the same for pictures that a GPU decodes |
//! | `packing.rs` | the shards that a part writes itself |
//! | `queue.rs`, `waiting.rs` | claims, and objects that other processes have claimed |
//! | `reads.rs` | names reads that hang |
//! | `packed_meanwhile.rs` | what other processes pack meanwhile |
//! | `cause.rs` | why an object failed |
//! | `pillow.rs` | which Pillow made the features of before, where a script did |
//! | `mounted.rs` | pictures that are missing because their disk is not mounted |
//! | `comparison.rs` | how far features of fewer bits are from those of fp32 |

mod cause;
mod comparison;

mod group;
mod mounted;
mod on_gpu;
mod options;
mod packed_meanwhile;
mod packing;
mod pillow;
mod plan;
mod queue;
mod reads;
mod standing;
mod summary;
mod waiting;
mod work;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::inference::Form;
use crate::pictures::preprocessing;
use crate::storage::failures::FailureReport;
use crate::storage::model_dir::ModelDir;
use crate::storage::object_id::IdKind;
use crate::storage::object_list::ObjectList;
use crate::storage::part::Part;
use crate::storage::part_dir::{self, CompletePart};
use crate::storage::recipe::{Recipe, RecipeError};
use crate::storage::shard::ShardFiles;
use crate::storage::sources;
use crate::support::interrupt::Interrupt;
use crate::support::processors;
use crate::support::progress::{Counts, Progress, Total, counted};

pub use comparison::Agreement;
use comparison::Comparison;
use mounted::Mounted;
pub use options::{ModelSource, Options};
use packing::PartWriter;
use plan::Plan;
pub use summary::Summary;
pub use waiting::PATIENCE;
use work::Work;

/// Extracts the features of all pending objects.
pub fn extract(
    options: &Options,
    source: &ModelSource<'_>,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Summary> {
    let started = Instant::now();
    let list = ObjectList::read_part(&options.objects, choose_ids(options)?, options.part())?;
    interrupt.begin();
    check_media_directory(&options.media_dir)?;
    list.refuse_nothing_from_a_pipe(&options.objects)?;
    check_part(options, &list, progress)?;
    let path = &options.directory;
    let workers = options.workers.unwrap_or_else(processors);
    // A model that does not run leaves no directory.
    if !path.exists() && !list.is_empty() {
        source.run(options, workers)?;
    }
    let directory = ModelDir::create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))?;
    let recorded = Recipe::read(path)?;
    let packing = match open_part(options, &directory, progress)? {
        Opened::None => None,
        Opened::Here(packing) => Some(packing),
        Opened::HeldBy(holder) => {
            return Ok(Summary {
                listed: list.len(),
                in_file: list.in_file(),
                left: list.len() as u64,
                held_by: Some((options.own_directory(), holder)),
                ..Summary::default()
            });
        }
    };
    let own_directory = packing.as_deref().map_or(&directory, PartWriter::directory);
    let report = FailureReport::open(own_directory)
        .with_context(|| format!("cannot lock {}", path.display()))?;
    let plan = Plan::make(options, &list, &directory, recorded.as_ref(), &report)?;
    record_moved(&plan, &list, &directory, packing.as_deref())?;
    if plan.left_to_parts > 0 {
        progress.note(&format!(
            "{} left to processes that write parts in {}",
            counted(plan.left_to_parts as u64, "listed object"),
            path.display()
        ));
    }
    let mounted = Mounted::new(&options.media_dir, &list);
    if !plan.pending.is_empty() {
        mounted.check_sample(&plan.pending, &options.objects)?;
    }
    let agree = |recipe: &Recipe| -> Result<()> {
        recipe.agree(path)?;
        // Before anything is in the directory of a part: that of a run which is refused here holds nothing.
        record_parts(options)?;
        if packing.is_some() {
            recipe.agree(own_directory.path())?;
        }
        Ok(())
    };
    let counts = Counts::new(plan.existing, plan.failed);
    let mut summary = Summary::default();
    if plan.pending.is_empty() {
        match &recorded {
            Some(recorded) => agree(&recipe_as_recorded(source, recorded, options))?,
            None => record_parts(options)?,
        }
        directory
            .remove_leftovers()
            .with_context(|| format!("cannot tidy {}", path.display()))?;
    } else {
        let pool = source.run(options, workers)?;
        let execution = pool.engine().execution();
        let form = pool.engine().form().clone();
        if recorded.is_none() && options.exact {
            pillow::check(options, &list, &plan.sample, &directory, pool, progress)?;
        }
        let gpu = source.decoder(options, pool)?;
        agree(&recipe(source, &form, options, list.id_kind()))?;
        let comparison = Comparison::new(pool.engine(), gpu.is_some(), progress)?;
        let work = Work {
            options,
            workers,
            batch: execution.batch,
            list: &list,
            plan: &plan,
            mounted: &mounted,
            directory: &directory,
            report: &report,
            packing: packing.as_deref(),
            pool,
            gpu,
            form: &form,
            comparison: comparison.as_ref(),
            counts: &counts,
            progress,
            interrupt,
        };
        let ended = work.run()?;
        summary = Summary {
            agreement: comparison.and_then(Comparison::finish),
            ..Summary::of_work(ended, execution, workers)
        };
    }
    report
        .tidy(|failure| {
            let is_packed = |packing: &PartWriter| packing.has_made_again(&failure.id);
            plan.is_resolved(&directory, failure) || packing.as_deref().is_some_and(is_packed)
        })
        .with_context(|| format!("cannot write {}", report.path().display()))?;
    let mut reported = BTreeMap::new();
    let failures =
        (report.failures()).with_context(|| format!("cannot read {}", report.path().display()))?;
    for failure in failures.values() {
        *reported.entry(failure.class.to_string()).or_default() += 1;
    }
    let Total {
        done,
        skipped,
        failed,
    } = counts.total();
    let seconds = started.elapsed().as_secs_f64();
    let left = (list.len() as u64).saturating_sub(done + skipped + failed);
    if let (Some(part), Some(packing), 0) = (options.part(), &packing, left) {
        complete_part(part, packing, &list, failed)?;
    }
    Ok(Summary {
        listed: list.len(),
        in_file: list.in_file(),
        done,
        changed: plan.changed,
        changed_elsewhere: plan.changed_elsewhere,
        moved: plan.moved.len(),
        skipped,
        failed,
        left,
        seconds,
        images_per_second: done as f64 / seconds,
        failures: report.path().exists().then(|| report.path().to_owned()),
        reported,
        left_to_parts: plan.left_to_parts,
        ..summary
    })
}

/// Refuses a part of another number of parts than the directory's, and says which part this is.
fn check_part(options: &Options, list: &ObjectList, progress: &Progress) -> Result<()> {
    if let Some(part) = options.part() {
        part.is_recorded(&options.directory)?;
        progress.note(&format!(
            "part {part}: {} of {} listed objects",
            list.len(),
            list.in_file()
        ));
    }
    Ok(())
}

/// A part that packs.
enum Opened {
    /// This run is none.
    None,
    /// It is this process that writes there.
    Here(Box<PartWriter>),
    /// It is another one, which the text names.
    HeldBy(String),
}

/// Opens the directory of a part that packs, for this process alone.
fn open_part(options: &Options, model_dir: &ModelDir, progress: &Progress) -> Result<Opened> {
    let (Some(part), Some(rows)) = (options.part(), options.pack) else {
        return Ok(Opened::None);
    };
    let path = options.own_directory();
    ensure!(
        !path.is_symlink(),
        "{} is a link; remove it, so that the part gets a directory there",
        path.display()
    );
    let check = || -> Result<()> {
        ensure!(
            ShardFiles::list(&options.directory)?.merging.is_none(),
            "parts are being merged in {}, or that was interrupted; the same `simsearch concat --merge` goes on from there",
            options.directory.display()
        );
        Ok(())
    };
    check()?;
    let directory = ModelDir::create(&path)
        .and_then(|directory| model_dir.sync().map(|()| directory))
        .with_context(|| format!("cannot make the directory {}", path.display()))?;
    let packing = PartWriter::open(directory, part, rows, options.patience, progress)?;
    // A merge looks for writers once it has begun, so that one of the two sees the other.
    check()?;
    Ok(match packing {
        Ok(packing) => Opened::Here(Box::new(packing)),
        Err(holder) => Opened::HeldBy(holder),
    })
}

/// Records where the files are now that were moved since their features were made, before anything else of a part
/// changes.
fn record_moved(
    plan: &Plan,
    list: &ObjectList,
    directory: &ModelDir,
    packing: Option<&PartWriter>,
) -> Result<()> {
    if let Some(packing) = packing {
        if !plan.pending.is_empty() || !plan.moved.is_empty() {
            part_dir::remove(packing.directory().path())?;
        }
        packing.record_moved(&plan.moved, list.id_kind())?;
        packing.expect(plan);
    } else if !plan.moved.is_empty() {
        let recorded = directory.scratch();
        let recorded = recorded.and_then(|scratch| sources::record(&scratch, &plan.moved));
        let path = directory.path().display();
        recorded.with_context(|| format!("cannot record sources in {path}"))?;
    }
    Ok(())
}

/// Records that nothing of a part is left to do.
fn complete_part(part: Part, packing: &PartWriter, list: &ObjectList, failed: u64) -> Result<()> {
    let path = packing.directory().path();
    let complete = CompletePart {
        part: part.index(),
        parts: part.of(),
        list: list.stamp(),
        rows: part_dir::rows(path)?,
        failed,
    };
    Ok(part_dir::write(path, &complete)?)
}

/// What object ids are in this run: what they are in the directory, or what is asked for where there are none yet.
///
/// # Errors
/// When something else is asked for than what is recorded, or than what features have of which nothing is recorded:
/// names.
pub fn choose_ids(options: &Options) -> Result<IdKind> {
    let path = &options.directory;
    let recorded = || Recipe::read(path).map(|recipe| recipe.map(|recipe| recipe.ids));
    let mut there = recorded()?;
    if there.is_none() && options.ids == Some(IdKind::Path) && has_features(path)? {
        // Another copy may have recorded it since, which comes before its first feature.
        there = recorded()?.or(Some(IdKind::Name));
    }
    match (there, options.ids) {
        (Some(there), Some(here)) if there != here => Err(RecipeError::OtherIds {
            path: path.clone(),
            there,
            here,
        }
        .into()),
        (there, asked) => Ok(there.or(asked).unwrap_or_default()),
    }
}

/// Records into how many parts the list is divided: a run with another number would leave objects out, and is refused.
fn record_parts(options: &Options) -> Result<()> {
    match options.part() {
        Some(part) => Ok(part.record(&options.directory)?),
        None => Ok(()),
    }
}

fn has_features(path: &Path) -> Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    let reading = || format!("cannot read {}", path.display());
    let directory = ModelDir::open(path).with_context(reading)?;
    let nested = directory.nested_files().with_context(reading)?;
    let shards = ShardFiles::list(path)?.finished;
    Ok(nested.paths().next().is_some() || !shards.is_empty())
}

fn check_media_directory(path: &Path) -> Result<()> {
    match fs::read_dir(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!(
                "the media directory {} does not exist; is its disk mounted?",
                path.display()
            )
        }
        Err(error) => Err(error)
            .with_context(|| format!("cannot read the media directory {}", path.display())),
    }
}

/// What made the features of this run.
fn recipe(source: &ModelSource<'_>, form: &Form, options: &Options, ids: IdKind) -> Recipe {
    Recipe {
        format: 1,
        model_sha256: source.sha256.to_owned(),
        output: form.output.clone(),
        preprocessing: preprocessing::describe(
            form.width,
            form.height,
            form.numbers,
            &options.pixels,
        ),
        dimension: form.dimension,
        dtype: "<f4".into(),
        finish: source.finish,
        precision: source.precision,
        exact: options.exact,
        ids,
        preprocess: recorded_preprocess(source),
    }
    .with_format()
}

fn recorded_preprocess(source: &ModelSource<'_>) -> Option<serde_json::Value> {
    (source.preprocess.as_ref()).map(|preprocess| serde_json::json!(preprocess))
}

/// The recipe of a run that never starts the model: what was not asked for and only the model could tell is taken as
/// recorded. The model's checksum vouches for that.
fn recipe_as_recorded(source: &ModelSource<'_>, recorded: &Recipe, options: &Options) -> Recipe {
    Recipe {
        model_sha256: source.sha256.to_owned(),
        preprocessing: preprocessing::describe_as_recorded(
            &recorded.preprocessing,
            &options.pixels,
        ),
        finish: source.finish,
        precision: source.precision,
        exact: options.exact,
        preprocess: recorded_preprocess(source),
        output: source.output.unwrap_or(&recorded.output).to_owned(),
        ..recorded.clone()
    }
    .with_format()
}

#[cfg(test)]
mod tests {
    use std::cell::OnceCell;
    use std::time::Duration;

    use super::*;
    use crate::inference::fake::{FakeEngine, out_of_memory};
    use crate::inference::{Precision, Provider};
    use crate::pictures::PixelOptions;
    use crate::storage::object_id::ObjectId;
    use crate::storage::recipe::Finish;

    /// A media directory of four pictures with their list, and how to extract them into `features` beside them.
    fn four_pictures(root: &Path) -> (Options, Vec<ObjectId>) {
        let entries = ["one.ppm", "two.ppm", "three.ppm", "four.ppm"];
        for entry in entries {
            fs::write(root.join(entry), b"P6\n1 1\n255\nrgb").unwrap();
        }
        let objects = root.join("objects.txt");
        fs::write(&objects, entries.join("\n")).unwrap();
        let options = Options {
            media_dir: root.to_owned(),
            objects,
            part: None,
            directory: root.join("features"),
            pack: None,
            ids: None,
            workers: Some(2),
            seed: None,
            limit: None,
            max_errors: None,
            retry_failed: false,
            assume_unchanged: false,
            patience: Duration::from_millis(100),
            exact: false,
            pixels: PixelOptions::default(),
        };
        let ids = entries.map(|entry| ObjectId::new(IdKind::Name, entry).unwrap());
        (options, ids.into())
    }

    fn run(options: &Options, engine: fn() -> FakeEngine) -> Result<Summary> {
        let source = ModelSource {
            sha256: "0",
            output: None,
            precision: Precision::Fp32,
            device: 0,
            preprocess: None,
            finish: Finish::default(),
            start: &|| Ok(Box::new(engine())),
            running: OnceCell::new(),
            decoder: OnceCell::new(),
        };
        let (progress, interrupt) = (Progress::new(true), Interrupt::default());
        extract(options, &source, &progress, &interrupt)
    }

    #[test]
    fn objects_that_a_stopped_process_has_claimed_are_left_and_done_by_a_later_run() {
        let root = tempfile::tempdir().unwrap();
        let (options, ids) = four_pictures(root.path());
        // As a stopped process does, this keeps its claims and writes no feature.
        let directory = ModelDir::create(&options.directory).unwrap();
        let claims = directory.claims().unwrap();
        for id in &ids[1..] {
            assert!(claims.claim(id).unwrap());
        }
        let counts = || {
            let summary = run(&options, FakeEngine::default).unwrap();
            [
                summary.done,
                summary.skipped,
                summary.left,
                summary.claimed_elsewhere as u64,
            ]
        };
        assert_eq!(counts(), [1, 0, 3, 3]);
        drop(claims);
        assert_eq!(counts(), [3, 1, 0, 0]);
    }

    #[test]
    fn a_device_that_fails_ends_the_run_in_two_lines_keeps_what_is_done_and_leaves_nothing_claimed()
    {
        let root = tempfile::tempdir().unwrap();
        let (mut options, ids) = four_pictures(root.path());
        options.workers = Some(1);
        let failing = || FakeEngine {
            provider: Provider::Cuda,
            fails: Some((3, out_of_memory)),
            ..FakeEngine::default()
        };
        let message = format!("{:#}", run(&options, failing).unwrap_err());
        let lines: Vec<&str> = message.lines().collect();
        assert_eq!(lines.len(), 2, "{message}");
        assert!(lines[0].contains("no memory left"), "{message}");
        assert!(lines[1].contains("--batch-size"), "{message}");
        assert!(!message.contains(".cc"), "{message}");

        let directory = ModelDir::create(&options.directory).unwrap();
        let claims = directory.claims().unwrap();
        let all_free = ids.iter().all(|id| claims.claim(id).unwrap());
        assert!(all_free, "an object is still claimed");
        drop(claims);
        let summary = run(&options, FakeEngine::default).unwrap();
        assert_eq!([summary.done, summary.skipped], [2, 2]);
    }
}
