//! The arguments of `search`.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use simsearch::commands::search::{self, Answer, Listener, WithPaths};
use simsearch::inference::ModelFile;
use simsearch::inference::embed::{self, QueryModel};
use simsearch::pictures::DEFAULT_MAX_PIXELS;
use simsearch::support::progress::Progress;

use super::print::{SOME_FAILED, counted, print, print_json};
use super::shared::{
    MetricArgument, ModelDirArguments, OptionalMediaArguments, RuntimeArguments, at_least_one,
};

#[derive(Debug, Args)]
#[command(
    mut_arg("model", |argument| argument.help(
        "Model whose features to search: its file, which is needed for queries that are pictures, or the name of its \
         directory [default: the only one there, and the model inside the program if that made them]"
    )),
    mut_arg("media_dir", |argument| argument.help(
        "Directory of the pictures, for --html and --sheet; objects that are not in its list are left out"
    )),
    mut_arg("objects", |argument| argument.help(
        "List of objects; others are left out [default: MEDIA_DIR/objects.txt, if it is there]"
    )),
    mut_arg("output_name", |argument| argument.help(
        "Output of the model, for features of the Python scripts [default: `feature_vector`, or the only one]"
    )),
    mut_arg("device", |argument| argument.help("Number of the GPU, for features in fp16")),
)]
pub struct SearchArguments {
    /// Picture file, or object id whose feature is extracted; `-` reads queries from standard input, one per line.
    ///
    /// An object id is looked up first, and no model is loaded for it; `./x.jpg` always means a file.
    #[arg(value_name = "QUERY", required = true)]
    queries: Vec<OsString>,
    #[command(flatten)]
    model_dir: ModelDirArguments,
    /// Number of neighbours of each query.
    #[arg(short, value_name = "N", default_value = "10", value_parser = at_least_one)]
    k: usize,
    /// How the distance between features is measured.
    #[arg(long, value_enum, default_value = "euclidean")]
    metric: MetricArgument,
    /// Use the index made by `simsearch index`: fast, but may miss some. Objects that are not in it yet are searched too.
    #[arg(long)]
    approximate: bool,
    /// Print one JSON object per query, each on a line.
    #[arg(long)]
    json: bool,
    /// Print the path of each neighbour below the media directory in the place of its object id, as far as it is recorded.
    #[arg(long, conflicts_with = "json")]
    paths: bool,
    /// Write a page with the pictures, in one file.
    #[arg(long, value_name = "FILE", requires = "media_dir")]
    html: Option<PathBuf>,
    /// Write one JPEG file with the pictures.
    #[arg(long, value_name = "FILE", requires = "media_dir")]
    sheet: Option<PathBuf>,
    #[command(flatten)]
    media: OptionalMediaArguments,
    /// Refuse pictures with more pixels.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_PIXELS)]
    max_pixels: u64,
    #[command(flatten)]
    runtime: RuntimeArguments,
}

pub fn run(arguments: SearchArguments) -> Result<ExitCode> {
    let progress = Progress::new(false);
    let options = search::Options {
        directory: arguments.model_dir.directory()?,
        k: arguments.k,
        metric: arguments.metric.into(),
        approximate: arguments.approximate,
        html: arguments.html,
        sheet: arguments.sheet,
        media: arguments.media.media_and_objects(),
    };
    let runtime = arguments.runtime;
    let places = runtime.places();
    let query_options = embed::Options {
        output_name: runtime.output_name,
        device: runtime.device,
        max_pixels: arguments.max_pixels,
    };
    let model_dir = &arguments.model_dir;
    let open_model = |dimension| {
        // Whether it is the right one is for its checksum to tell.
        let model = ModelFile::read(model_dir.model_file())?;
        let directory = &options.directory;
        QueryModel::open(
            directory,
            dimension,
            model,
            &places,
            &query_options,
            &|_| {},
        )
    };
    let in_groups = arguments.queries.len() > 1 || arguments.queries[0] == "-";
    let mut is_first = true;
    let mut without_path = 0;
    let mut answer = |answer: &Answer| {
        if arguments.json {
            return print_json(answer);
        }
        if in_groups {
            let between = if is_first { "" } else { "\n" };
            print(format_args!("{between}# {}\n", answer.query))?;
            is_first = false;
        }
        if !arguments.paths {
            return print(format_args!("{answer}"));
        }
        without_path += answer.without_path();
        print(format_args!("{}", WithPaths(answer)))
    };
    let chunks = search::chunks(arguments.queries, io::stdin());
    let listener = Listener {
        answer: &mut answer,
        warn: &|message| progress.warn(message),
    };
    let summary = search::search(&options, chunks, &open_model, listener)?;
    if without_path > 0 {
        progress.warn(&format!(
            "no path is recorded of {}; the object ids are printed",
            counted(without_path as u64, "neighbour")
        ));
    }
    Ok(match (summary.answered, summary.failed) {
        (_, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::FAILURE,
        _ => SOME_FAILED.into(),
    })
}
