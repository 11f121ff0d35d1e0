//! The arguments of `search`.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use simsearch::commands::search::{self, Answer, Asking, Listener, WithPaths};
use simsearch::inference::embed::{self, QueryModel};
use simsearch::inference::text::TextModel;
use simsearch::inference::{LazyRuntime, ModelFile};
use simsearch::pictures::DEFAULT_MAX_PIXELS;
use simsearch::similarity::scan::Metric;
use simsearch::storage::object_list::ObjectList;
use simsearch::support::progress::{Progress, counted};
use simsearch::support::usage::WrongUsage;

use super::print::{SOME_FAILED, print, print_bytes, print_json};
use super::shared::{
    MetricArgument, ModelDirArguments, OptionalMediaArguments, RuntimeArguments, at_least_one,
    distance, file_to_write, jpeg_to_write,
};

#[derive(Debug, Args)]
#[command(
    mut_arg("model", |argument| argument.help(
        "Model whose features to search: its file, which is needed for queries that are pictures, or the name of its \
         directory [default: the only one there, and the model inside the program if that made them]"
    )),
    mut_arg("media_dir", |argument| argument.help(
        "Directory of the pictures, for pages, files and folders; objects that are not in its list are left out"
    )),
    mut_arg("objects", |argument| argument.help(
        "List of objects; others are left out [default: MEDIA_DIR/objects.txt, if it is there]"
    )),
    mut_arg("output_name", |argument| argument.help(
        "Output of the model, for features of the Python scripts [default: the only one, or one of a known name]"
    )),
    mut_arg("device", |argument| argument.help("Number of the GPU, for features in tf32 and fp16")),
)]
pub struct SearchArguments {
    /// Picture file, object id whose feature is extracted, or .npy file with a feature; `-` reads queries from standard
    /// input, one per line.
    ///
    /// An object id is looked up first, and no model is loaded for it; `./x.jpg` always means a file. With --text a
    /// query is words.
    #[arg(value_name = "QUERY", required = true)]
    queries: Vec<OsString>,
    #[command(flatten)]
    model_dir: ModelDirArguments,
    /// Queries are words, such as "a red car", for models that know some (CLIP, SigLIP). --model names the model's
    /// folder; beside its graph it needs text_model.onnx and tokenizer.json.
    #[arg(long)]
    text: bool,
    /// Number of neighbours of each query, or `all`.
    #[arg(short, value_name = "N", default_value = "10", value_parser = number_or_all)]
    k: Neighbours,
    /// Leave out neighbours that are farther than this.
    #[arg(long, value_name = "DISTANCE", value_parser = distance)]
    max_distance: Option<f64>,
    /// Do not list the query itself among its neighbours.
    #[arg(long)]
    exclude_query: bool,
    /// Look only at pictures below this folder of the media directory.
    #[arg(long, value_name = "FOLDER")]
    within: Option<PathBuf>,
    /// Leave out pictures below this folder of the media directory.
    #[arg(long, value_name = "FOLDER")]
    not_within: Option<PathBuf>,
    /// How the distance between features is measured [default: euclidean; cosine with --text].
    #[arg(long, value_enum)]
    metric: Option<MetricArgument>,
    /// Use the index made by `simsearch index`: fast, but may miss some. Objects that are not in it yet are searched
    /// too.
    #[arg(long)]
    approximate: bool,
    /// How neighbours are printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// With JSON: also give the feature of each query, as an array of numbers.
    #[arg(long)]
    feature: bool,
    /// Print the path of each neighbour below the media directory in the place of its object id, as far as it is
    /// recorded or listed. (The other formats have both.)
    #[arg(long)]
    paths: bool,
    /// Write a page with the pictures, in one file.
    #[arg(long, value_name = "FILE", requires = "media_dir", value_parser = file_to_write())]
    html: Option<PathBuf>,
    /// Write one JPEG file with the pictures.
    #[arg(long, value_name = "FILE", requires = "media_dir", value_parser = jpeg_to_write())]
    sheet: Option<PathBuf>,
    #[command(flatten)]
    media: OptionalMediaArguments,
    /// Refuse pictures with more pixels.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_PIXELS)]
    max_pixels: u64,
    #[command(flatten)]
    runtime: RuntimeArguments,
}

/// How many neighbours.
#[derive(Clone, Copy, Debug)]
enum Neighbours {
    Some(usize),
    All,
}

fn number_or_all(text: &str) -> Result<Neighbours, String> {
    match text {
        "all" => Ok(Neighbours::All),
        _ => match at_least_one(text) {
            Ok(number) => Ok(Neighbours::Some(number)),
            Err(why) => Err(format!("{why}, or `all`")),
        },
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each neighbour: its object id, a space, its distance.
    Text,
    /// One JSON object for each query, each on a line.
    Json,
    /// Comma-separated values, a row for each neighbour.
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// The path of each neighbour's file, for `xargs -0`: a NUL after each, and no distances. Needs --media-dir.
    Paths0,
}

pub fn run(arguments: SearchArguments) -> Result<ExitCode> {
    let progress = Progress::new(false);
    let format = match arguments.json {
        true => Format::Json,
        false => arguments.format,
    };
    let names_a_list = arguments.media.names_a_list();
    let media_dir = arguments.media.media_dir().map(Path::to_owned);
    let media = arguments.media.media_and_objects()?;
    ensure!(
        arguments.html.is_none() || arguments.html != arguments.sheet,
        WrongUsage("--html and --sheet name the same file; each needs one of its own".into())
    );
    let stdin = Path::new(ObjectList::STDIN);
    let lists_stdin = (media.as_ref()).is_some_and(|(_, objects)| objects == stdin);
    ensure!(
        !lists_stdin || arguments.queries.iter().all(|query| query != stdin),
        WrongUsage(
            "standard input cannot be both the list of objects and the queries; name a file for one of them".into()
        )
    );
    ensure!(
        format == Format::Json || !arguments.feature,
        WrongUsage("--feature is for JSON: add --json".into())
    );
    ensure!(
        format != Format::Paths0 || media_dir.is_some(),
        WrongUsage("paths0 prints the paths of files: --media-dir must say where they are".into())
    );
    let mut options = search::Options {
        directory: arguments.model_dir.directory()?,
        k: match arguments.k {
            Neighbours::Some(number) => Some(number),
            Neighbours::All => None,
        },
        max_distance: arguments.max_distance,
        with_feature: arguments.feature,
        exclude_query: arguments.exclude_query,
        within: arguments.within,
        not_within: arguments.not_within,
        metric: match (arguments.metric, arguments.text) {
            (Some(metric), _) => metric.into(),
            // Pictures are closer to each other than to words, and their lengths tell nothing.
            (None, true) => Metric::Cosine,
            (None, false) => Metric::Euclidean,
        },
        approximate: arguments.approximate,
        html: arguments.html,
        sheet: arguments.sheet,
        media,
    };
    if !names_a_list && options.needs_media().is_none() {
        // Ids and distances can be told without the list that is there by default.
        options.media = options.media.filter(|(_, objects)| objects.exists());
    }
    let runtime = arguments.runtime;
    let lazy_runtime = LazyRuntime::new(runtime.places());
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
            &lazy_runtime,
            &query_options,
            &|_| {},
        )
    };
    let open_text = |dimension| {
        let directory = &options.directory;
        TextModel::open(directory, dimension, model_dir.model_file(), &lazy_runtime)
    };
    let asking = match arguments.text {
        true => Asking::Words(&open_text),
        false => Asking::Pictures(&open_model),
    };
    let in_groups = arguments.queries.len() > 1 || arguments.queries[0] == "-";
    let mut is_first = true;
    let mut without_path = 0;
    let mut answer = |answer: &Answer| {
        match format {
            Format::Text => {}
            Format::Json => return print_json(answer),
            Format::Csv | Format::Tsv => {
                let separator = if format == Format::Csv { b',' } else { b'\t' };
                let rows = table(answer, separator, std::mem::take(&mut is_first))?;
                return print(format_args!("{rows}"));
            }
            Format::Paths0 => {
                without_path += answer.without_path();
                let media_dir = media_dir
                    .as_deref()
                    .context("there is no media directory")?;
                return print_paths(answer, media_dir);
            }
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
        failed: &|message| match in_groups {
            true => progress.warn(message),
            // It was all that was asked.
            false => progress.error(message),
        },
        left_out: &|message| progress.warn(message),
    };
    let summary = search::search(&options, chunks, asking, listener)?;
    if without_path > 0 {
        let instead = match format {
            Format::Paths0 => "nothing is printed of them",
            _ => "the object ids are printed",
        };
        progress.warn(&format!(
            "no path is recorded of {}; {instead}",
            counted(without_path, "neighbour")
        ));
    }
    Ok(match (summary.answered, summary.failed) {
        (_, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::FAILURE,
        _ => SOME_FAILED.into(),
    })
}

/// The rows of an answer, with the names of the columns before the first.
fn table(answer: &Answer, separator: u8, is_first: bool) -> Result<String> {
    let mut rows = csv::WriterBuilder::new()
        .delimiter(separator)
        .from_writer(Vec::new());
    if is_first {
        rows.write_record(search::COLUMNS)?;
    }
    answer.write_rows(&mut rows)?;
    let rows = rows.into_inner().context("cannot write rows")?;
    String::from_utf8(rows).context("cannot write rows")
}

/// The files of the neighbours. An object that is not in the list has none, and is left out.
fn print_paths(answer: &Answer, media_dir: &Path) -> Result<()> {
    let paths = answer
        .neighbours
        .iter()
        .filter_map(|neighbour| neighbour.path.as_deref());
    let mut bytes = Vec::new();
    for path in paths.filter(|path| !path.is_empty()) {
        bytes.extend(media_dir.join(path).as_os_str().as_bytes());
        bytes.push(0);
    }
    print_bytes(&bytes)
}
