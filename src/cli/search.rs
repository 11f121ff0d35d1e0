//! The arguments of `search`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use simsearch::commands::search::{self, Answer, Listener};
use simsearch::inference::ModelFile;
use simsearch::inference::embed::{self, QueryModel};
use simsearch::pictures::DEFAULT_MAX_PIXELS;
use simsearch::similarity::scan::Metric;
use simsearch::storage::model_dir::model_directory;
use simsearch::support::progress::Progress;

use super::{SOME_FAILED, at_least_one, given, path_or_nothing, places, print, print_json};

#[derive(Debug, Args)]
pub struct SearchArguments {
    /// Picture file, or object id that is extracted; `-` for lines of these on standard input.
    ///
    /// An object id is looked up first, and no model is loaded for it; `./x.jpg` always means a file.
    #[arg(value_name = "QUERY", required = true)]
    queries: Vec<OsString>,
    /// Directory of the features, the same as for `extract`.
    #[arg(long, env = "FEATURE_DIR", value_name = "DIR")]
    feature_dir: PathBuf,
    /// Model whose features to search: its file, which queries that are pictures need, or the name of its directory
    /// [default: the only one there, and the model inside the program where that made them].
    #[arg(long, env = "ONNX_MODEL_PATH", value_name = "MODEL", value_parser = path_or_nothing())]
    model: Option<PathBuf>,
    /// Neighbours of each query.
    #[arg(short, value_name = "N", default_value = "10", value_parser = at_least_one)]
    k: usize,
    /// How far features are from each other.
    #[arg(long, value_enum, default_value = "euclidean")]
    metric: MetricArgument,
    /// Use the index that `simsearch index` has made: fast, and may miss some. What is not in it yet is searched too.
    #[arg(long)]
    approximate: bool,
    /// Print one JSON object for each query, a line each.
    #[arg(long)]
    json: bool,
    /// Write a page with the pictures, in one file.
    #[arg(long, value_name = "FILE", requires = "media_dir")]
    html: Option<PathBuf>,
    /// Write one JPEG file with the pictures.
    #[arg(long, value_name = "FILE", requires = "media_dir")]
    sheet: Option<PathBuf>,
    /// Directory of the pictures, for --html and --sheet.
    #[arg(long, env = "MEDIA_DIR", value_name = "DIR", value_parser = path_or_nothing())]
    media_dir: Option<PathBuf>,
    /// List of objects, for --html and --sheet [default: MEDIA_DIR/objects.txt].
    #[arg(long, value_name = "FILE")]
    objects: Option<PathBuf>,
    /// Output of the model, for features of the Python scripts [default: `feature_vector`, or the only one].
    #[arg(long, value_name = "NAME")]
    output_name: Option<String>,
    /// Number of the GPU, for features in fp16.
    #[arg(long, value_name = "N", default_value_t = 0)]
    device: i32,
    /// Refuse pictures of more pixels.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_PIXELS)]
    max_pixels: u64,
    /// ONNX Runtime: libonnxruntime.so, or its folder [default: searched for].
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE", value_parser = path_or_nothing())]
    runtime: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum MetricArgument {
    Euclidean,
    Cosine,
}

impl From<MetricArgument> for Metric {
    fn from(argument: MetricArgument) -> Self {
        match argument {
            MetricArgument::Euclidean => Metric::Euclidean,
            MetricArgument::Cosine => Metric::Cosine,
        }
    }
}

/// The model that made features: the named file, or where a directory is named rather than a file, the one inside the
/// program. (Whether it is the right one is for its checksum to tell.)
fn model_file(named: Option<&Path>) -> Result<ModelFile> {
    ModelFile::read(named.filter(|path| path.is_file()))
}

pub fn run(arguments: SearchArguments) -> Result<ExitCode> {
    let progress = Progress::new(false);
    let model = given(arguments.model);
    let directory = model_directory(&arguments.feature_dir, model.as_deref())?;
    let media_dir = given(arguments.media_dir);
    let options = search::Options {
        directory,
        k: arguments.k,
        metric: arguments.metric.into(),
        approximate: arguments.approximate,
        html: arguments.html,
        sheet: arguments.sheet,
        media: media_dir.map(|media_dir| {
            let objects = arguments.objects;
            let objects = objects.unwrap_or_else(|| media_dir.join("objects.txt"));
            (media_dir, objects)
        }),
    };
    let query_options = embed::Options {
        output_name: arguments.output_name,
        device: arguments.device,
        max_pixels: arguments.max_pixels,
    };
    let places = places(arguments.runtime);
    let open_model = |dimension| {
        let model = model_file(model.as_deref())?;
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
    let mut answer = |answer: &Answer| {
        if arguments.json {
            return print_json(answer);
        }
        if in_groups {
            let between = if is_first { "" } else { "\n" };
            print(format_args!("{between}# {}\n", answer.query))?;
            is_first = false;
        }
        print(format_args!("{answer}"))
    };
    let chunks = search::chunks(arguments.queries, io::stdin());
    let listener = Listener {
        answer: &mut answer,
        warn: &|message| progress.warn(message),
    };
    let summary = search::search(&options, chunks, &open_model, listener)?;
    Ok(match (summary.answered, summary.failed) {
        (_, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::FAILURE,
        _ => SOME_FAILED.into(),
    })
}
