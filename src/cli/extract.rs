//! The arguments of `extract`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use simsearch::commands::extract;
use simsearch::storage::part::Part;
use simsearch::support::interrupt::Interrupt;
use simsearch::support::progress::{Progress, counted, duration};

use super::features::{FeatureArguments, leave_panics_of_decoders_to_the_report};
use super::print::{SOME_FAILED, held_by};
use super::shared::{JsonArgument, MediaArguments, QuietArgument, at_least_one, whole_number};

#[derive(Debug, Args)]
pub struct ExtractArguments {
    #[command(flatten)]
    media: MediaArguments,
    #[command(flatten)]
    features: FeatureArguments,
    /// Take one of N parts of the list: I from 0 to N - 1. An object belongs to the same part everywhere, by its id, so
    /// that machines or jobs without a common disk can divide the list; what is in one tar file is in one part. A
    /// feature directory keeps the N of its first part.
    #[arg(long, value_name = "I/N")]
    part: Option<Part>,
    /// Write shards as `concat` does, instead of a file for each object, into a directory of the part in that of the
    /// model (part-00003-of-00064; with no --part, of the only one). Next to nothing waits for a shared disk then. One
    /// process at a time writes a part; killed, it loses the shard that it has in hand. `concat --merge` makes one
    /// directory of all parts.
    #[arg(long)]
    pack: bool,
    /// With --pack, rows of a full shard.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = at_least_one, requires = "pack")]
    rows: usize,
    /// Seed of the order in which objects are taken [default: random].
    #[arg(long, value_name = "N", value_parser = whole_number, conflicts_with = "pack")]
    seed: Option<u64>,
    /// Take at most this many objects, including those that fail.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Stop after this many failed objects; those that were begun are finished, so that a few more may fail [default:
    /// never].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max_errors: Option<usize>,
    /// Whether the exit code is 3 when some objects failed (`any`), or 0 all the same (`none`): for schedulers, which
    /// take anything else for a task that failed.
    #[arg(long, value_enum, default_value = "any", value_name = "WHEN")]
    fail_on: FailOnArgument,
    /// End within so many seconds of a Ctrl-C or a TERM, also where a disk or a GPU does not answer; what was begun is
    /// done again by the next run. For schedulers that kill after a while [default: as long as what was begun takes].
    #[arg(long, value_name = "SECONDS", value_parser = at_least_one)]
    grace: Option<usize>,
    /// Retry only objects that failed before, including files that are not pictures.
    #[arg(long)]
    retry_failed: bool,
    /// Do not look whether pictures have changed since their features were made. Without this, a picture of another
    /// size, or with another time of its last change, is extracted again.
    #[arg(long)]
    assume_unchanged: bool,
    #[command(flatten)]
    json: JsonArgument,
    #[command(flatten)]
    quiet: QuietArgument,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum FailOnArgument {
    Any,
    None,
}

pub fn run(arguments: ExtractArguments) -> Result<ExitCode> {
    leave_panics_of_decoders_to_the_report();
    let progress = arguments.quiet.progress();
    let interrupt = Interrupt::install().context("cannot catch signals")?;
    if let Some(grace) = arguments.grace {
        let progress = arguments.quiet.progress();
        let say = move || {
            progress.warn(&format!(
                "ended {grace} s after the signal, as --grace asks; the same command goes on from here"
            ));
        };
        (interrupt.end_within(Duration::from_secs(grace as u64), say))
            .context("cannot catch signals")?;
    }
    let making = arguments.features.read_model(&progress)?;
    let is_list_named = arguments.media.names_a_list();
    let (media_dir, objects) = arguments.media.media_and_objects();
    let options = extract::Options {
        part: arguments.part,
        pack: arguments.pack.then_some(arguments.rows),
        seed: arguments.seed,
        limit: arguments.limit,
        max_errors: arguments.max_errors,
        retry_failed: arguments.retry_failed,
        assume_unchanged: arguments.assume_unchanged,
        ..making.options(media_dir, objects)
    };
    let start = || making.start(&progress);
    let source = making.source(&start);
    let summary = extract::extract(&options, &source, &progress, &interrupt)?;
    // The system takes back what a GPU holds at once, when the program ends; piece by piece it takes 0.4 s.
    std::mem::forget(source);
    if let Some((directory, holder)) = &summary.held_by {
        return Ok(held_by("written to", holder, directory, &progress));
    }
    report_extract(&summary, options.pack.is_some(), &progress);
    arguments.json.print(&summary)?;
    if summary.in_file == 0 && is_list_named {
        progress.warn(&format!(
            "the list of objects {} is empty",
            options.objects.display()
        ));
        return Ok(SOME_FAILED.into());
    }
    Ok(exit_code(&summary, arguments.fail_on).into())
}

fn exit_code(summary: &extract::Summary, fail_on: FailOnArgument) -> u8 {
    match summary.signal {
        Some(signal) => u8::try_from(128 + signal).unwrap_or(1),
        None if summary.claimed_elsewhere + summary.left_to_parts > 0 => SOME_FAILED,
        None if summary.failed == 0 => 0,
        None if summary.too_many_errors => SOME_FAILED,
        None if fail_on == FailOnArgument::None => 0,
        None if summary.done + summary.skipped == 0 => 1,
        None => SOME_FAILED,
    }
}

fn report_extract(summary: &extract::Summary, pack: bool, progress: &Progress) {
    progress.note(&format!(
        "{} done, {} skipped, {} failed of {} in {} ({:.1} images/s)",
        summary.done,
        summary.skipped,
        summary.failed,
        counted(summary.listed, "object"),
        duration(summary.seconds),
        summary.images_per_second
    ));
    if summary.changed > 0 {
        progress.note(&format!(
            "{} had changed",
            counted(summary.changed, "picture")
        ));
    }
    if summary.changed_elsewhere > 0 {
        let (whose, how) = match pack {
            true => ("the model's directory", "a run without --pack"),
            false => ("a part", "a run with --pack for that part"),
        };
        progress.warn(&format!(
            "{} had changed too, whose features are packed in {whose}; {how} makes them again",
            counted(summary.changed_elsewhere, "picture")
        ));
    }
    if summary.moved > 0 {
        progress.note(&format!(
            "{} had moved; the new paths are recorded",
            counted(summary.moved, "picture")
        ));
    }
    if let Some(count) = summary.decoded_on_gpu {
        progress.note(&format!(
            "{} decoded on the GPU, the others on the CPU",
            counted(count, "picture")
        ));
    }
    if let (failed @ 1.., Some(path)) = (summary.failed, &summary.failures) {
        let classes = summary.reported.iter();
        let classes = classes.map(|(class, count)| format!("{count} {class}"));
        let classes: Vec<String> = classes.collect();
        progress.warn(&format!(
            "{} failed; {} says why: {}",
            counted(failed, "object"),
            path.display(),
            classes.join(", ")
        ));
    }
    if summary.signal.is_some() {
        progress.warn(&format!(
            "interrupted, {}; the same command goes on from here",
            are_left(summary.left)
        ));
    } else if summary.too_many_errors {
        progress.warn(&format!(
            "as many objects failed as --max-errors allows; {}",
            are_left(summary.left)
        ));
    } else if summary.claimed_elsewhere > 0 {
        progress.warn(&format!(
            "another process holds {} and makes no progress; end it if it is stopped or stuck, and run the same command \
             again. If its machine has lost its power, the server of the disk gives them free by itself (NFS 4 after 90 \
             seconds; NFS 3 when that machine is up again)",
            counted(summary.claimed_elsewhere, "object")
        ));
    } else if summary.left > 0 {
        progress.note(&are_left(summary.left));
    }
}

fn are_left(count: u64) -> String {
    match count {
        0 => "none is left".to_owned(),
        1 => "1 object is left".to_owned(),
        _ => format!("{count} objects are left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_of_extract_says_how_complete_it_is() {
        let summary = |done, failed, claimed_elsewhere, signal| extract::Summary {
            done,
            failed,
            claimed_elsewhere,
            signal,
            ..extract::Summary::default()
        };
        let stopped = |summary| extract::Summary {
            too_many_errors: true,
            ..summary
        };
        let left_to_parts = |summary| extract::Summary {
            left_to_parts: 1,
            ..summary
        };
        for (summary, code) in [
            (summary(2, 0, 0, None), 0),
            (left_to_parts(summary(2, 0, 0, None)), 3),
            (summary(0, 2, 0, None), 1),
            (summary(2, 2, 0, None), 3),
            (summary(2, 0, 1, None), 3),
            (summary(0, 2, 1, None), 3),
            (summary(2, 2, 0, Some(15)), 143),
            (stopped(summary(0, 2, 0, None)), 3),
        ] {
            assert_eq!(
                exit_code(&summary, FailOnArgument::Any),
                code,
                "{summary:?}"
            );
        }
        for (summary, code) in [
            (summary(2, 2, 0, None), 0),
            // A part may well have one picture, and that be broken.
            (summary(0, 2, 0, None), 0),
            (summary(2, 0, 1, None), 3),
            (summary(2, 2, 0, Some(15)), 143),
            (stopped(summary(2, 2, 0, None)), 3),
        ] {
            assert_eq!(
                exit_code(&summary, FailOnArgument::None),
                code,
                "{summary:?}"
            );
        }
    }
}
