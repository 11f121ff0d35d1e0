//! From a picture to a feature that can be compared with those of a directory: made in the way that made them.

use std::path::Path;
use std::sync::Mutex;

use anyhow::{Result, bail, ensure};
use thiserror::Error;

use super::loader::{self, OnnxEngine, Wanted};
use super::model::Form;
use super::model_file::ModelFile;
use super::model_pool::ModelPool;
use super::places::LazyRuntime;
use super::preprocess::Preprocess;
use super::provider::{Precision, Provider};
use super::runtime::CudaOptions;
use crate::pictures::{
    DEFAULT_MAX_PIXELS, PictureError, PictureReader, PixelOptions, preprocessing,
};
use crate::storage::recipe::{self, Finish, Recipe};
use crate::support::mutex::lock;
use crate::support::processors;

/// The model of a directory, for one picture at a time on each of several threads.
pub struct QueryModel {
    pool: ModelPool,
    form: Form,
    options: PixelOptions,
    /// Readers that no thread uses now. There are as many as threads have used at once.
    readers: Mutex<Vec<PictureReader>>,
}

/// What a directory's recipe does not say.
#[derive(Clone, Debug)]
pub struct Options {
    /// The output of the model, for a directory without a recipe. Default: the only one, or one whose name tells.
    pub output_name: Option<String>,
    /// Number of the GPU, for features that one has made in 16 bits. Default: 0.
    pub device: i32,
    /// Pictures with more pixels are refused. Default: [`DEFAULT_MAX_PIXELS`].
    pub max_pixels: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            output_name: None,
            device: 0,
            max_pixels: DEFAULT_MAX_PIXELS,
        }
    }
}

/// Why there is no feature of a picture, or of words.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The picture is to blame.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The model makes nothing of this query.
    #[error("the model gives {0} for this")]
    NotFinite(f32),
    /// There are no words, or too many.
    #[error("{0}")]
    Words(String),
    /// The model does not run, whatever the picture.
    #[error("cannot run the model")]
    Model(#[source] anyhow::Error),
}

impl QueryModel {
    /// Loads the model that made the features of `directory` (`FEATURE_DIR/<model stem>`), which are `dimension`
    /// numbers long, to run as it ran then: what its recipe says of the output, the precision, `--exact`,
    /// `--scaled-decode` and `--pillow` counts. In 32 bits it runs on the CPU, since to start a GPU takes longer than
    /// one picture. A directory without a recipe, which the Python scripts make, counts as `--exact` and Pillow 13.
    ///
    /// `note` gets a line on what was chosen and why.
    ///
    /// # Errors
    /// When it is another model than the one that made the features, or does not run here.
    pub fn open(
        directory: &Path,
        dimension: usize,
        model: ModelFile,
        runtime: &LazyRuntime,
        options: &Options,
        note: &dyn Fn(&str),
    ) -> Result<Self> {
        let recorded = Recipe::read(directory)?;
        check_model(directory, recorded.as_ref(), &model)?;
        let recorded_output = recorded.as_ref().map(|recipe| recipe.output.clone());
        let precision = recorded
            .as_ref()
            .map_or(Precision::Fp32, |recipe| recipe.precision);
        let recorded_preprocess = recorded
            .as_ref()
            .and_then(|recipe| recipe.preprocess.as_ref());
        let preprocess = recorded_preprocess.map(Preprocess::recorded).transpose()?;
        let engine_options = loader::Options {
            wanted: Wanted::Only(match precision {
                Precision::Fp32 => Provider::Cpu,
                Precision::Bf16 => Provider::OpenVino,
                Precision::Tf32 | Precision::Fp16 => Provider::Cuda,
            }),
            precision,
            device: options.device,
            output_name: recorded_output.or_else(|| options.output_name.clone()),
            finish: (recorded.as_ref()).map_or_else(Finish::default, |recipe| recipe.finish),
            batch_size: None,
            exact: recorded.as_ref().is_none_or(|recipe| recipe.exact),
            preprocess,
            cuda: CudaOptions::for_precision(precision),
        };
        let (runtime, folders) = (runtime.get()?, runtime.folders());
        let engine = OnnxEngine::start_with(runtime, folders, model, &engine_options, note)?;
        let pool = ModelPool::new(Box::new(engine), processors());
        let form = pool.engine().form().clone();
        ensure!(
            form.dimension == dimension,
            "{} holds features of {dimension} numbers, this model makes {}; --model must name the one that made them",
            directory.display(),
            form.dimension
        );
        let recorded_options = recorded
            .as_ref()
            .map(|recorded| preprocessing::recorded_options(&recorded.preprocessing));
        let options = PixelOptions {
            max_pixels: options.max_pixels,
            ..recorded_options.unwrap_or_default()
        };
        let options = match &preprocess {
            Some(preprocess) => preprocess.pixels(options),
            None => options,
        };
        if let Some(recorded) = &recorded {
            let here = preprocessing::describe(form.width, form.height, form.numbers, &options);
            if here != recorded.preprocessing {
                note(&format!(
                    "features were preprocessed with `{}`, queries with `{here}`: distances differ slightly",
                    recorded.preprocessing
                ));
            }
        }
        Ok(QueryModel {
            pool,
            form,
            options,
            readers: Mutex::default(),
        })
    }

    /// The feature of a picture, from the bytes of its file.
    pub fn feature(&self, bytes: &[u8]) -> Result<Vec<f32>, QueryError> {
        let Form { width, height, .. } = self.form;
        let mut pixels = vec![0; width * height * 3];
        let idle = lock(&self.readers).pop();
        let mut reader = idle.unwrap_or_else(|| PictureReader::new(self.options));
        let read = reader.read(bytes, width, height, &mut pixels);
        lock(&self.readers).push(reader);
        read?;
        let mut feature = Vec::new();
        self.pool
            .with(|model| Ok(model.run(&pixels, &mut feature)?))
            .map_err(QueryError::Model)?;
        match feature.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(QueryError::NotFinite(*value)),
            None => Ok(feature),
        }
    }
}

/// Checks that the model is the one that made the features.
pub(super) fn check_model(
    directory: &Path,
    recorded: Option<&Recipe>,
    model: &ModelFile,
) -> Result<()> {
    let named = match model.is_default {
        true => format!("{}, which ships with the program", model.stem),
        false => format!("this {}", model.stem),
    };
    match recorded {
        Some(recipe) if recipe.format > recipe::NEWEST_FORMAT => bail!(
            "{} was made by a newer version of this program (format {}, this one knows 1 to {})",
            directory.display(),
            recipe.format,
            recipe::NEWEST_FORMAT
        ),
        Some(recipe) if recipe.model_sha256 != model.sha256 => bail!(
            "the features in {} were made by the model with SHA-256 {}, not by {named}; --model must name its file",
            directory.display(),
            recipe.model_sha256
        ),
        // All that tells of the model then is the name of the directory.
        None if directory.file_name() != Some(model.stem.as_ref()) => bail!(
            "the features in {} were made by another model than {named}; --model must name its file",
            directory.display()
        ),
        _ => Ok(()),
    }
}
