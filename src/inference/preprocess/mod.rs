//! What a model was trained to see: how a picture becomes its input, as a value that is read and recorded.

mod configurations;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use configurations::{is_of_transformers, of_timm, of_transformers};

use super::rewrite::{Table, plain_table};
use crate::pictures::preprocessing::Numbers;
use crate::pictures::{Filter, Fit, PixelOptions, Resampling, Resize, Rounding, Size};
use crate::storage::files::is_missing;

/// How a picture becomes the input of a model. The recipe records it whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Width of the input, in pixels.
    pub width: usize,
    /// Height of the input, in pixels.
    pub height: usize,
    /// The size that a picture is resampled to before its middle is cut out.
    #[serde(default)]
    pub resize: Resize,
    /// Where the middle begins when an odd number of pixels is cut off.
    #[serde(default)]
    pub rounding: Rounding,
    /// What weighs the pixels.
    #[serde(default)]
    pub filter: Filter,
    /// What becomes of a byte, before `mean` and `std`.
    #[serde(default)]
    pub scale: Scale,
    /// What is added then to every value; -1 with `rescale_offset` of EfficientNet's processor.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: f64,
    /// What is subtracted from each channel, in the order of the channels.
    #[serde(default)]
    pub mean: [f64; 3],
    /// What each channel is divided by then.
    #[serde(default = "ones")]
    pub std: [f64; 3],
    /// Whether it is divided by `std` once more; `include_top` of EfficientNet's processor.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub std_twice: bool,
    /// The order of the channels.
    #[serde(default)]
    pub channels: Channels,
    /// Which of the two processors of `transformers` is meant.
    #[serde(default, skip_serializing_if = "Backend::is_pil")]
    pub backend: Backend,
}

/// The processors of `transformers` come in two kinds, whose pixels differ by up to 2 levels where the aspect ratio is
/// kept, and by up to 11 where a picture is squeezed; the names are those of their option `backend`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Pillow resizes.
    #[default]
    Pil,
    /// torchvision resizes, and `scale`, `mean` and `std` are one step.
    Torchvision,
}

impl Backend {
    fn is_pil(&self) -> bool {
        *self == Backend::Pil
    }
}

/// What becomes of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Divided by 255 in f32, as torchvision's `ToTensor` does it.
    #[default]
    #[serde(rename = "/255")]
    Over255,
    /// Multiplied with a number in f64, then rounded to f32, as `transformers` does it.
    Times(f64),
}

/// The order of the channels of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// What ImageNet's classifiers subtract and divide by, in `torchvision.models` and everywhere since.
const IMAGENET: ([f64; 3], [f64; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// The same of OpenAI's CLIP (`OPENAI_CLIP_MEAN` and `OPENAI_CLIP_STD` in `transformers`).
const CLIP: ([f64; 3], [f64; 3]) = (
    [0.48145466, 0.4578275, 0.40821073],
    [0.26862954, 0.26130258, 0.27577711],
);

/// What `transformers` multiplies bytes with.
const OVER_255: f64 = 1.0 / 255.0;

/// The names of the presets.
pub const PRESETS: [&str; 5] = ["tf-hub", "imagenet", "clip", "siglip", "dinov2"];

fn ones() -> [f64; 3] {
    [1.0; 3]
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

impl Preprocess {
    /// A preset; `None` for `tf-hub`, which is what the program does by itself: the model's own size, whatever the
    /// aspect ratio, bicubic, bytes over 255.
    fn preset(name: &str) -> Option<Self> {
        let (resize, filter, scale, (mean, std)) = match name {
            // `torchvision.transforms`: Resize(256), CenterCrop(224), ToTensor, Normalize.
            "imagenet" => (
                Resize::Shortest(256),
                Filter::Bilinear,
                Scale::Over255,
                IMAGENET,
            ),
            // The configurations of openai/clip-vit-base-patch32, google/siglip-base-patch16-224, facebook/dinov2-base.
            "clip" => (
                Resize::Shortest(224),
                Filter::Bicubic,
                Scale::Times(OVER_255),
                CLIP,
            ),
            "siglip" => (
                Resize::Squash,
                Filter::Bicubic,
                Scale::Times(OVER_255),
                ([0.5; 3], [0.5; 3]),
            ),
            "dinov2" => (
                Resize::Shortest(256),
                Filter::Bicubic,
                Scale::Times(OVER_255),
                IMAGENET,
            ),
            _ => return None,
        };
        Some(Preprocess {
            width: 224,
            height: 224,
            resize,
            rounding: match scale {
                Scale::Over255 => Rounding::Even,
                Scale::Times(_) => Rounding::Down,
            },
            filter,
            scale,
            offset: 0.0,
            mean,
            std,
            std_twice: false,
            channels: Channels::Rgb,
            backend: Backend::Pil,
        })
    }

    /// What the user asks for: `auto`, the name of a preset, or a file; and where it was found. `None` means `tf-hub`.
    /// With `auto` the configuration beside the model counts (`processor_config.json` or `preprocessor_config.json` of
    /// `transformers`, or timm's `config.json`), where there is one.
    ///
    /// # Errors
    /// When the file cannot be read, or asks for what this program does not do.
    pub fn find(wanted: &str, model: Option<&Path>) -> Result<Option<(Self, PathBuf)>> {
        if PRESETS.contains(&wanted) {
            return Ok(Self::preset(wanted).map(|preset| (preset, wanted.into())));
        }
        let path = match wanted {
            "auto" => match model.and_then(beside) {
                Some(path) => path,
                None => return Ok(None),
            },
            file => file.into(),
        };
        let read = Self::read(&path);
        let read = read.with_context(|| {
            format!(
                "cannot preprocess as {} says; --preprocess names another file, or one of {}",
                path.display(),
                PRESETS.join(", ")
            )
        })?;
        Ok(Some((read, path)))
    }

    fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).context("cannot read it")?;
        let json: Value = serde_json::from_slice(&text).context("it is no JSON")?;
        // A processor of pictures and words has that of pictures inside.
        let json = json.get(OF_PICTURES).unwrap_or(&json);
        let found = if let Some(own) = json.get("preprocess") {
            Self::deserialize(own)?
        } else if is_of_transformers(json) {
            of_transformers(json)?
        } else if let Some(timm) = of_timm(json) {
            timm?
        } else {
            Self::deserialize(json)?
        };
        found.check()?;
        Ok(found)
    }

    /// A recorded one.
    ///
    /// # Errors
    /// When it is of a later version of this program.
    pub fn recorded(value: &Value) -> Result<Self> {
        let recorded = Self::deserialize(value).map_err(anyhow::Error::from);
        recorded
            .and_then(|recorded| recorded.check().map(|()| recorded))
            .context("recipe.json records a preprocessing that this version does not know")
    }

    fn check(&self) -> Result<()> {
        ensure!(self.width > 0 && self.height > 0, "the input has no pixels");
        ensure!(
            self.fit().reaches(self.size()),
            "pictures are resized to less than the {} x {} pixels that are cut out",
            self.width,
            self.height
        );
        ensure!(
            self.std.iter().all(|std| *std != 0.0),
            "`std` is zero, and nothing can be divided by that"
        );
        let is_of_transformers =
            matches!(self.scale, Scale::Times(_)) && self.offset == 0.0 && !self.std_twice;
        let is_weighed = matches!(self.filter, Filter::Bilinear | Filter::Bicubic);
        ensure!(
            self.backend.is_pil() || is_of_transformers && is_weighed,
            "the backend torchvision is known for processors of transformers that are bilinear or bicubic, other than \
             EfficientNet's; leave out --backend"
        );
        Ok(())
    }

    /// The same with another backend.
    ///
    /// # Errors
    /// When it is not known what that does.
    pub fn with_backend(self, backend: Backend) -> Result<Self> {
        let other = Preprocess { backend, ..self };
        other.check().map(|()| other)
    }

    fn size(&self) -> Size {
        Size {
            width: self.width,
            height: self.height,
        }
    }

    fn fit(&self) -> Fit {
        Fit {
            resize: self.resize,
            rounding: self.rounding,
        }
    }

    /// The part that is done with pixels.
    pub fn pixels(&self, options: PixelOptions) -> PixelOptions {
        PixelOptions {
            fit: self.fit(),
            filter: self.filter,
            bgr: self.channels == Channels::Bgr,
            resampling: match self.backend {
                Backend::Pil => options.resampling,
                Backend::Torchvision => Resampling::Torchvision,
            },
            ..options
        }
    }

    /// What each byte of each channel becomes.
    pub fn table(&self) -> Table {
        if let (Backend::Torchvision, Scale::Times(factor)) = (self.backend, self.scale) {
            return self.table_of_torchvision(factor);
        }
        let scaled = |byte: usize| match self.scale {
            Scale::Over255 => byte as f32 / 255.0,
            Scale::Times(factor) => (byte as f64 * factor) as f32,
        };
        let channel = |channel: usize| {
            let (mean, std) = (self.mean[channel] as f32, self.std[channel] as f32);
            let last = if self.std_twice { std } else { 1.0 };
            std::array::from_fn(|byte| (scaled(byte) + self.offset as f32 - mean) / std / last)
        };
        Box::new([channel(0), channel(1), channel(2)])
    }

    /// The order of operations of `rescale_and_normalize` in `image_processing_backends.py`, in f32.
    fn table_of_torchvision(&self, factor: f64) -> Table {
        let normalizes = (self.mean, self.std) != ([0.0; 3], [1.0; 3]);
        let levels = (1.0 / factor) as f32;
        let channel = |channel: usize| {
            let mean = self.mean[channel] as f32 * levels;
            let std = self.std[channel] as f32 * levels;
            std::array::from_fn(|byte| match normalizes {
                true => (byte as f32 - mean) / std,
                false => byte as f32 * factor as f32,
            })
        };
        Box::new([channel(0), channel(1), channel(2)])
    }
}

/// The table of a preprocessing, or of the program's own, for a model that takes such numbers.
///
/// # Errors
/// When the model takes bytes and the preprocessing makes other numbers of them.
pub(super) fn table(preprocess: Option<&Preprocess>, numbers: Numbers) -> Result<Table> {
    let table = match (preprocess, numbers) {
        (Some(preprocess), _) => preprocess.table(),
        (None, Numbers::Over255) => plain_table(),
        (None, Numbers::Bytes) => table_of_bytes(),
    };
    ensure!(
        numbers == Numbers::Over255 || table == table_of_bytes(),
        "the model takes bytes (uint8), and its preprocessing makes other numbers of them; --preprocess names a file with \
         `\"scale\": {{\"times\": 1}}` and no mean, std or offset, or tf-hub, which resizes only"
    );
    Ok(table)
}

/// Each byte as it is.
fn table_of_bytes() -> Table {
    Box::new([std::array::from_fn(|byte| byte as f32); 3])
}

/// The configuration beside a model, or above its folder where that is `onnx`; where the model is a link, also beside
/// what it leads to.
fn beside(model: &Path) -> Option<PathBuf> {
    let paths = [std::path::absolute(model), fs::canonicalize(model)];
    let folders = paths.into_iter().flatten().flat_map(|path| {
        let folder = match path.is_dir() {
            true => Some(path),
            false => path.parent().map(Path::to_owned),
        };
        let above = (folder.as_deref())
            .filter(|folder| folder.ends_with("onnx"))
            .and_then(Path::parent)
            .map(Path::to_owned);
        [folder, above].into_iter().flatten()
    });
    let mut folders = folders;
    folders.find_map(|folder| {
        // Other kinds of models have files of these names too. Of one that cannot be read nobody knows: it is taken, and
        // the error names it.
        let said = |name: &str, is_known: fn(&Value) -> bool| {
            let path = folder.join(name);
            let is_another = match fs::read(&path) {
                Ok(text) => serde_json::from_slice(&text).is_ok_and(|json| !is_known(&json)),
                Err(error) => is_missing(&error),
            };
            (!is_another).then_some(path)
        };
        let transformers = folder.join("preprocessor_config.json");
        // Where there are both, transformers reads the first (5.24.0; see `findings/`).
        said("processor_config.json", |json| {
            json.get(OF_PICTURES).is_some()
        })
        .or_else(|| transformers.is_file().then_some(transformers))
        .or_else(|| said("config.json", |json| of_timm(json).is_some()))
    })
}

/// Where `processor_config.json` has what `preprocessor_config.json` has otherwise: `transformers` 5 writes one file
/// for pictures and words.
const OF_PICTURES: &str = "image_processor";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_recorded_is_read_again() {
        for name in PRESETS {
            let Some(preset) = Preprocess::preset(name) else {
                assert_eq!(name, "tf-hub");
                continue;
            };
            preset.check().unwrap();
            let recorded = serde_json::to_value(preset).unwrap();
            assert_eq!(
                Preprocess::recorded(&recorded).unwrap(),
                preset,
                "{recorded}"
            );
        }
    }

    #[test]
    fn presets_are_what_the_configurations_say() {
        let clip = json!({
            "image_processor_type": "CLIPImageProcessor", "crop_size": {"height": 224, "width": 224},
            "do_center_crop": true, "do_normalize": true, "do_resize": true, "do_rescale": true,
            "image_mean": CLIP.0, "image_std": CLIP.1, "resample": 3, "rescale_factor": OVER_255,
            "size": {"shortest_edge": 224},
        });
        assert_eq!(
            of_transformers(&clip).unwrap(),
            Preprocess::preset("clip").unwrap()
        );
        // As the oldest files have it.
        let old = json!({
            "feature_extractor_type": "CLIPFeatureExtractor", "crop_size": 224, "do_center_crop": true,
            "do_normalize": true, "do_resize": true, "image_mean": CLIP.0, "image_std": CLIP.1, "resample": 3, "size": 224,
        });
        assert_eq!(
            of_transformers(&old).unwrap(),
            Preprocess::preset("clip").unwrap()
        );
        let timm = json!({"architecture": "any", "pretrained_cfg": {
            "input_size": [3, 224, 224], "interpolation": "bilinear", "crop_pct": 0.875, "crop_mode": "center",
            "mean": IMAGENET.0, "std": IMAGENET.1,
        }});
        assert_eq!(
            of_timm(&timm).unwrap().unwrap(),
            Preprocess::preset("imagenet").unwrap()
        );
    }
}
