//! Arguments that several commands have.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::builder::{OsStringValueParser, PathBufValueParser, TypedValueParser};
use clap::{Args, ValueEnum, ValueHint};

use simsearch::inference::{ModelFile, Places};
use simsearch::similarity::scan::Metric;
use simsearch::storage::model_dir::{merged_directory, model_directory};
use simsearch::storage::object_id::IdKind;
use simsearch::storage::output::is_standard_output;
use simsearch::support::progress::Progress;
use simsearch::support::usage::WrongUsage;

use super::TRY_LIBRARY;
use super::print::print_json;

/// Where the features of all models are.
#[derive(Debug, Args)]
pub struct FeatureDirArgument {
    /// Directory of the features; each model has its own directory in it.
    #[arg(long, env = "FEATURE_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub feature_dir: PathBuf,
}

/// One model's directory of features.
#[derive(Debug, Args)]
pub struct ModelDirArguments {
    #[command(flatten)]
    features: FeatureDirArgument,
    /// Model whose features to use: its file, or the name of its directory [default: the only one there].
    #[arg(long, env = "ONNX_MODEL_PATH", value_name = "MODEL", value_parser = path_or_nothing())]
    model: Option<PathBuf>,
}

impl ModelDirArguments {
    /// The model's directory, `FEATURE_DIR/<model stem>`.
    pub fn directory(&self) -> Result<PathBuf> {
        model_directory(&self.features.feature_dir, given(self.model.as_deref()))
    }

    /// The same where parts are merged into it, and it need not be there. None are named where they are in it.
    pub fn merged_directory(&self, parts: &[PathBuf]) -> Result<PathBuf> {
        match parts {
            [] => self.directory(),
            parts => {
                let model = given(self.model.as_deref());
                merged_directory(&self.features.feature_dir, model, parts)
            }
        }
    }

    /// The model's file, or its folder, where that is named rather than a directory of features.
    pub fn model_file(&self) -> Option<&Path> {
        model_file(given(self.model.as_deref()))
    }
}

/// Where the pictures are.
#[derive(Debug, Args)]
pub struct MediaDirArgument {
    /// Directory of the pictures; the paths in the list of objects are relative to it.
    #[arg(long, env = "MEDIA_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub media_dir: PathBuf,
}

/// The pictures, and the list of those that matter.
#[derive(Debug, Args)]
pub struct MediaArguments {
    #[command(flatten)]
    media: MediaDirArgument,
    /// List of objects [default: MEDIA_DIR/objects.txt].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    objects: Option<PathBuf>,
}

impl MediaArguments {
    /// Whether a list is named.
    pub fn names_a_list(&self) -> bool {
        self.objects.is_some()
    }

    /// The media directory, and the list of objects.
    pub fn media_and_objects(self) -> (PathBuf, PathBuf) {
        let media_dir = self.media.media_dir;
        let objects = self.objects;
        let objects = objects.unwrap_or_else(|| default_objects(&media_dir));
        (media_dir, objects)
    }
}

/// The same for commands that also work without them.
#[derive(Debug, Args)]
pub struct OptionalMediaArguments {
    /// Directory of the pictures.
    #[arg(long, env = "MEDIA_DIR", value_name = "DIR", value_parser = path_or_nothing(), value_hint = ValueHint::DirPath)]
    media_dir: Option<PathBuf>,
    /// List of objects [default: MEDIA_DIR/objects.txt if there is a media directory, else none].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    objects: Option<PathBuf>,
}

impl OptionalMediaArguments {
    /// The list of objects.
    pub fn objects(self) -> Option<PathBuf> {
        let default = given(self.media_dir.as_deref()).map(default_objects);
        self.objects.or(default)
    }

    /// The media directory, where there is one.
    pub fn media_dir(&self) -> Option<&Path> {
        given(self.media_dir.as_deref())
    }

    /// Whether a list is named.
    pub fn names_a_list(&self) -> bool {
        self.objects.is_some()
    }

    /// The media directory and the list of objects, where there is a media directory.
    ///
    /// # Errors
    /// When a list is named and no directory.
    pub fn media_and_objects(self) -> Result<Option<(PathBuf, PathBuf)>> {
        match (given(self.media_dir.as_deref()), self.objects) {
            (None, None) => Ok(None),
            (None, Some(_)) => {
                bail!(WrongUsage(
                    "--objects lists files: --media-dir must say where they are".into()
                ))
            }
            (Some(media_dir), objects) => {
                let objects = objects.unwrap_or_else(|| default_objects(media_dir));
                Ok(Some((media_dir.to_owned(), objects)))
            }
        }
    }
}

fn default_objects(media_dir: &Path) -> PathBuf {
    media_dir.join("objects.txt")
}

/// The model that makes features.
#[derive(Debug, Args)]
pub struct ModelArguments {
    /// ONNX model, or its folder as Hugging Face lays it out [default: descriptor_v1, a small one inside the program].
    #[arg(long, env = "ONNX_MODEL_PATH", value_name = "FILE", value_parser = path_or_nothing())]
    model: Option<PathBuf>,
    #[command(flatten)]
    pub runtime: RuntimeArguments,
}

impl ModelArguments {
    /// What names the model, or its directory of features.
    pub fn named(&self) -> Option<&Path> {
        given(self.model.as_deref())
    }

    /// The path of the model; none for the one inside the program, also where that is named and no file has its name.
    pub fn path(&self) -> Option<&Path> {
        let is_inside = |path: &Path| path == ModelFile::INSIDE && model_file(Some(path)).is_none();
        self.named().filter(|path| !is_inside(path))
    }

    /// The same, where that is named rather than a directory of features.
    pub fn file(&self) -> Option<&Path> {
        model_file(self.named())
    }
}

fn model_file(named: Option<&Path>) -> Option<&Path> {
    named.filter(|path| path.is_file() || ModelFile::in_folder(path).is_some())
}

/// How a model runs.
#[derive(Debug, Args)]
pub struct RuntimeArguments {
    /// Output of the model [default: the only one, or `feature_vector`, `image_embeds` or `pooler_output`].
    #[arg(long, value_name = "NAME")]
    pub output_name: Option<String>,
    /// Number of the GPU.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub device: i32,
    /// ONNX Runtime: libonnxruntime.so, or its folder [default: searched for].
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE", value_parser = path_or_nothing())]
    runtime: Option<PathBuf>,
}

impl RuntimeArguments {
    /// Where ONNX Runtime may be.
    pub fn places(&self) -> Places {
        places(given(self.runtime.as_deref()))
    }
}

/// Where ONNX Runtime may be; `named` is what the user asked for.
pub fn places(named: Option<&Path>) -> Places {
    let program = std::env::current_exe().ok();
    Places {
        named: named.map(Path::to_owned),
        trial: program.clone().map(|program| (program, TRY_LIBRARY)),
        program,
        library_path: std::env::var_os("LD_LIBRARY_PATH"),
    }
}

/// The distance between two features.
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

/// What object ids are.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum IdsArgument {
    Name,
    Path,
}

impl From<IdsArgument> for IdKind {
    fn from(argument: IdsArgument) -> Self {
        match argument {
            IdsArgument::Name => IdKind::Name,
            IdsArgument::Path => IdKind::Path,
        }
    }
}

/// Whether programs read what is printed.
#[derive(Debug, Args)]
pub struct JsonArgument {
    /// Print the result as one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

impl JsonArgument {
    /// Prints a result where that is asked for.
    pub fn print(&self, result: &impl serde::Serialize) -> Result<()> {
        match self.json {
            true => print_json(result),
            false => Ok(()),
        }
    }
}

/// How much is said on standard error.
#[derive(Debug, Args)]
pub struct QuietArgument {
    /// Print only problems, warnings and errors.
    #[arg(long)]
    quiet: bool,
}

impl QuietArgument {
    pub fn progress(&self) -> Progress {
        Progress::new(self.quiet)
    }
}

pub fn whole_number(text: &str) -> Result<u64, String> {
    (text.parse()).map_err(|_| format!("must be a whole number, 0 to {}", u64::MAX))
}

pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number, 1 or more".into()),
        Ok(number) => Ok(number),
    }
}

/// A distance: a number that is not negative.
pub fn distance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(distance) if (0.0..f64::INFINITY).contains(&distance) => Ok(distance),
        _ => Err("must be a number, 0 or more".into()),
    }
}

/// A path that may be empty, as an unset variable in a Makefile is: [`given`] treats it as not given.
fn path_or_nothing() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// A file to write, where standard output is for something else.
pub fn file_to_write() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match is_standard_output(&path) {
        true => Err("standard output is for the answers; name a file"),
        false => Ok(path),
    })
}

/// The same for a JPEG file, which does not have the name of another format.
pub fn jpeg_to_write() -> impl TypedValueParser<Value = PathBuf> {
    file_to_write().try_map(|path| {
        let end = path.extension().map(|end| end.to_ascii_lowercase());
        match end.as_ref().map(|end| end.to_str()) {
            None | Some(Some("jpg" | "jpeg")) => Ok(path),
            Some(_) => Err("what is written is a JPEG file; end its name in .jpg"),
        }
    })
}

fn given(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}
