//! The arguments of `duplicates`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::builder::ArgPredicate;
use clap::{ArgGroup, Args, ValueEnum, ValueHint};

use simsearch::commands::duplicates::{self, Action, Duplicates, Keep, Left};
use simsearch::similarity::scan::pairs::MOST_PAIRS;
use simsearch::support::progress::{Progress, counted};

use super::print::{FOUND_DUPLICATES, SOME_FAILED, print, print_json};
use super::shared::{
    MetricArgument, ModelDirArguments, OptionalMediaArguments, QuietArgument, distance,
    file_to_write,
};

#[derive(Debug, Args)]
#[command(mut_arg("media_dir", |argument| argument.help(
    "Directory of the pictures; without it objects are known by their ids alone"
)))]
// An undo list says by itself where everything is; nothing reads the directory then.
#[command(mut_arg("feature_dir", |argument| argument
    .required(false)
    .required_unless_present("undo")
    .default_value_if("undo", ArgPredicate::IsPresent, ".")))]
#[command(group = ArgGroup::new("action").args(["move_to", "hard_link", "symlink"]))]
pub struct DuplicatesArguments {
    #[command(flatten)]
    model_dir: ModelDirArguments,
    #[command(flatten)]
    media: OptionalMediaArguments,
    /// The largest distance of duplicates [default: 0.15 for the model inside the program; other models need one].
    #[arg(long, value_name = "DISTANCE", value_parser = distance)]
    max_distance: Option<f64>,
    /// How the distance between features is measured.
    #[arg(long, value_enum, default_value = "euclidean")]
    metric: MetricArgument,
    /// Print how many pairs are within each distance, to choose --max-distance by.
    #[arg(long, conflicts_with_all = ["csv", "linked", "keep", "action"])]
    histogram: bool,
    /// Compare only pictures below this folder of the media directory.
    #[arg(long, value_name = "FOLDER")]
    within: Option<PathBuf>,
    /// Find what is already below this folder: compare with pictures there alone, which are kept, also where they are
    /// the smaller ones.
    #[arg(long, value_name = "FOLDER")]
    against: Option<PathBuf>,
    /// Leave out pairs of pictures in one folder.
    #[arg(long)]
    not_same_folder: bool,
    /// Let a group be all that a chain of pairs links, however far its ends are apart.
    #[arg(long, conflicts_with_all = ["against", "action"])]
    linked: bool,
    /// Take the groups from what was decided in the page of `serve`, and nothing else: the picture to keep comes first.
    #[arg(long, conflicts_with_all = [
        "max_distance", "histogram", "within", "against", "not_same_folder", "linked", "keep",
    ])]
    decided: bool,
    /// Which picture of a group comes first; where that leaves several, the one with the most pixels, then bytes, then
    /// the oldest.
    #[arg(
        long,
        value_enum,
        default_value = "largest",
        conflicts_with = "against"
    )]
    keep: KeepArgument,
    /// Print one JSON object.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print a row of comma-separated values for each picture.
    #[arg(long, conflicts_with = "action")]
    csv: bool,
    /// Write a page with the pictures of each group side by side, or with --histogram a chart, in one file.
    #[arg(long, value_name = "FILE", value_parser = file_to_write())]
    html: Option<PathBuf>,
    /// Move all but the first picture of each group below this directory, in the folders that they are in now. Nothing
    /// there is overwritten.
    #[arg(long, value_name = "DIR", requires = "media_dir", value_hint = ValueHint::DirPath)]
    move_to: Option<PathBuf>,
    /// Make pictures with the same bytes as the first of their group another name of its file. The others are left.
    #[arg(long, requires = "media_dir")]
    hard_link: bool,
    /// Make pictures with the same bytes as the first of their group a symbolic link to it. The others are left.
    #[arg(long, requires = "media_dir")]
    symlink: bool,
    /// Print what --move-to, --hard-link or --symlink would do, and do nothing.
    #[arg(long, requires = "action")]
    dry_run: bool,
    /// Bring back what --move-to, --hard-link or --symlink did, by the undo list that it wrote.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = [
        "action", "histogram", "csv", "html", "max_distance", "within", "against", "not_same_folder", "linked", "decided",
    ])]
    undo: Option<PathBuf>,
    #[command(flatten)]
    quiet: QuietArgument,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeepArgument {
    Largest,
    Oldest,
    Newest,
    ShortestPath,
}

pub fn run(arguments: DuplicatesArguments) -> Result<ExitCode> {
    let progress = arguments.quiet.progress();
    if let Some(list) = &arguments.undo {
        return undo(list, arguments.json, &progress);
    }
    let action = match arguments.move_to {
        Some(directory) => Some(Action::MoveTo(directory)),
        None if arguments.hard_link => Some(Action::HardLink),
        None => arguments.symlink.then_some(Action::Symlink),
    };
    let options = duplicates::Options {
        directory: arguments.model_dir.directory()?,
        metric: arguments.metric.into(),
        max_distance: arguments.max_distance,
        most_pairs: MOST_PAIRS,
        media: arguments.media.media_and_objects()?,
        inside: None,
        within: arguments.within,
        against: arguments.against,
        not_same_folder: arguments.not_same_folder,
        linked: arguments.linked,
        decided: arguments.decided,
        keep: match arguments.keep {
            KeepArgument::Largest => Keep::Largest,
            KeepArgument::Oldest => Keep::Oldest,
            KeepArgument::Newest => Keep::Newest,
            KeepArgument::ShortestPath => Keep::ShortestPath,
        },
        html: arguments.html,
    };
    if arguments.histogram {
        let histogram = duplicates::histogram(&options, &progress)?;
        match arguments.json {
            true => print_json(&histogram)?,
            false => print(format_args!("{histogram}"))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let found = duplicates::duplicates(&options, &progress)?;
    for left_out in &found.left_out {
        progress.warn(&format!("left out {left_out}"));
    }
    if let Some(action) = action {
        let (dry_run, json) = (arguments.dry_run, arguments.json);
        return act(&found, &options, &action, dry_run, json, &progress);
    }
    if arguments.json {
        print_json(&found)?;
    } else if arguments.csv {
        print_csv(&found)?;
    } else {
        print(format_args!("{found}"))?;
    }
    say_how_many(&found, &options, &progress);
    Ok(match (found.left_out.is_empty(), found.groups.is_empty()) {
        (false, _) => SOME_FAILED.into(),
        (true, false) => FOUND_DUPLICATES.into(),
        (true, true) => ExitCode::SUCCESS,
    })
}

fn say_how_many(found: &Duplicates, options: &duplicates::Options, progress: &Progress) {
    let members: usize = found.groups.iter().map(|group| group.members.len()).sum();
    let [groups, members] = [
        counted(found.groups.len(), "group"),
        counted(members, "object"),
    ];
    progress.note(&match options.decided {
        true => format!("{groups} of {members}, as decided"),
        false => format!(
            "{groups} of {members}, among {}, within {}",
            counted(found.objects, "object"),
            found.max_distance
        ),
    });
}

/// Acts on what was found. A line for each change; with `--dry-run` for each that would be.
fn act(
    found: &Duplicates,
    options: &duplicates::Options,
    action: &Action,
    dry_run: bool,
    json: bool,
    progress: &Progress,
) -> Result<ExitCode> {
    say_how_many(found, options, progress);
    if !options.decided
        && let Some(file) = duplicates::decisions(&options.directory)
    {
        progress.note(&format!(
            "what was decided in the page, {}, is not followed; --decided follows that alone",
            file.display()
        ));
    }
    let acted = duplicates::act(found, options, action, dry_run, progress)?;
    // What was done is told, and how to undo it, also where this cannot be printed.
    let printed = match json {
        true => print_json(&acted),
        false => (acted.changes.iter()).try_for_each(|change| print(format_args!("{change}\n"))),
    };
    say_what_is_left(&acted.left, progress);
    if acted.other_bytes > 0 {
        progress.note(&format!(
            "{} left, since the bytes are others than those of the first in the group; --move-to moves those too",
            counted(acted.other_bytes, "picture")
        ));
    }
    if acted.same_file > 0 {
        progress.note(&format!(
            "{} left: the same file as the first in the group, by another name",
            counted(acted.same_file, "picture")
        ));
    }
    let (done, count) = match action {
        Action::MoveTo(_) => ("moved", acted.changes.len()),
        Action::HardLink | Action::Symlink => ("linked", acted.changes.len()),
    };
    let count = counted(count, "picture");
    progress.note(&match &acted.undo_list {
        _ if dry_run => format!("{count} would be {done}"),
        Some(list) if !acted.changes.is_empty() => format!(
            "{count} {done}; `simsearch duplicates --undo {}` brings them back",
            quoted(list)
        ),
        _ => format!("{count} {done}"),
    });
    printed?;
    Ok(match acted.left.is_empty() && found.left_out.is_empty() {
        true => ExitCode::SUCCESS,
        false => SOME_FAILED.into(),
    })
}

fn undo(list: &Path, json: bool, progress: &Progress) -> Result<ExitCode> {
    let undone = duplicates::undo(list, progress)?;
    // As in `act`.
    let printed = match json {
        true => print_json(&undone),
        false => (undone.undone.iter())
            .try_for_each(|change| print(format_args!("{}\n", change.path.display()))),
    };
    say_what_is_left(&undone.left, progress);
    progress.note(&format!(
        "{} brought back, {} in place already",
        counted(undone.undone.len(), "picture"),
        undone.in_place
    ));
    printed?;
    Ok(match undone.left.is_empty() {
        true => ExitCode::SUCCESS,
        false => SOME_FAILED.into(),
    })
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+,:@%=".contains(letter);
    match path.chars().all(is_plain) {
        true => path,
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

fn say_what_is_left(left: &[Left], progress: &Progress) {
    for left in left {
        progress.warn(&format!("left {left}"));
    }
}

fn print_csv(found: &Duplicates) -> Result<()> {
    let mut text = Vec::new();
    found.write_csv(&mut text).context("cannot write CSV")?;
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    print(format_args!("{text}"))
}
