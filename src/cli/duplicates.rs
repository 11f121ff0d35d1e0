//! The arguments of `duplicates`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use simsearch::commands::duplicates::{self, Duplicates, Keep};

use super::print::{FOUND_DUPLICATES, SOME_FAILED, counted, print, print_json};
use super::shared::{
    MetricArgument, ModelDirArguments, OptionalMediaArguments, QuietArgument, distance,
};

#[derive(Debug, Args)]
#[command(mut_arg("media_dir", |argument| argument.help(
    "Directory of the pictures; without it objects are known by their ids alone"
)))]
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
    #[arg(long, conflicts_with_all = ["csv", "html", "linked", "keep"])]
    histogram: bool,
    /// Compare only pictures below this folder of the media directory.
    #[arg(long, value_name = "FOLDER")]
    within: Option<PathBuf>,
    /// Find what is already below this folder: compare with pictures there alone, which are kept.
    #[arg(long, value_name = "FOLDER")]
    against: Option<PathBuf>,
    /// Leave out pairs of pictures in one folder.
    #[arg(long)]
    not_same_folder: bool,
    /// Let a group be all that a chain of pairs links, however far its ends are apart.
    #[arg(long, conflicts_with = "against")]
    linked: bool,
    /// Which picture of a group comes first; where that leaves several, the one with the most pixels, then bytes, then the oldest.
    #[arg(long, value_enum, default_value = "largest")]
    keep: KeepArgument,
    /// Print one JSON object.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print a row of comma-separated values for each picture.
    #[arg(long)]
    csv: bool,
    /// Write a page with the pictures of each group side by side, in one file.
    #[arg(long, value_name = "FILE", requires = "media_dir")]
    html: Option<PathBuf>,
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
    let options = duplicates::Options {
        directory: arguments.model_dir.directory()?,
        metric: arguments.metric.into(),
        max_distance: arguments.max_distance,
        media: arguments.media.media_and_objects(),
        within: arguments.within,
        against: arguments.against,
        not_same_folder: arguments.not_same_folder,
        linked: arguments.linked,
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
    if arguments.json {
        print_json(&found)?;
    } else if arguments.csv {
        print_csv(&found)?;
    } else {
        print(format_args!("{found}"))?;
    }
    let members: usize = found.groups.iter().map(|group| group.members.len()).sum();
    progress.note(&format!(
        "{} of {}, among {}, within {}",
        counted(found.groups.len() as u64, "group"),
        counted(members as u64, "object"),
        counted(found.objects as u64, "object"),
        found.max_distance
    ));
    Ok(match (found.left_out.is_empty(), found.groups.is_empty()) {
        (false, _) => SOME_FAILED.into(),
        (true, false) => FOUND_DUPLICATES.into(),
        (true, true) => ExitCode::SUCCESS,
    })
}

fn print_csv(found: &Duplicates) -> Result<()> {
    let mut text = Vec::new();
    found.write_csv(&mut text).context("cannot write CSV")?;
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    print(format_args!("{text}"))
}
