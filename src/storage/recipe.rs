//! What made the features of a directory: written when it is first used, compared ever after.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::storage::files::{complete, is_missing, regular};
use crate::storage::object_id::IdKind;

/// The newest version of the directory's format that this program knows.
pub const NEWEST_FORMAT: u32 = 2;

/// What decides a feature, apart from the picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Version of the directory's format.
    pub format: u32,
    /// SHA-256 of the model file, in hexadecimal.
    pub model_sha256: String,
    /// The model's output.
    pub output: String,
    /// How pictures become the model's input.
    pub preprocessing: String,
    /// Numbers in a feature.
    #[serde(rename = "feature_length")]
    pub dimension: usize,
    /// NumPy's type string of the features.
    pub dtype: String,
    /// What was done with the output.
    #[serde(flatten)]
    pub finish: Finish,
    /// What the graph computed with.
    #[serde(default)]
    pub precision: Precision,
    /// Whether the graph ran as it is: then the features are those of the Python recipe to the last bit.
    pub exact: bool,
    /// What the object ids are.
    #[serde(default)]
    pub ids: IdKind,
    /// All values of the preprocessing, where it is another than the Python recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<serde_json::Value>,
}

/// The numbers that a graph computes with. It is here since the recipe records it. The graph's input and output are f32
/// in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 significant bits.
    #[default]
    Fp32,
    /// 8 significant bits, the exponents of f32; on processors that have instructions for it.
    Bf16,
    /// 11 significant bits in products, the exponents of f32, and sums in f32; on a GPU.
    Tf32,
    /// 11 significant bits, up to 65504; on a GPU.
    Fp16,
}

impl Precision {
    /// The name on the command line and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Bf16 => "bf16",
            Precision::Tf32 => "tf32",
            Precision::Fp16 => "fp16",
        }
    }
}

/// What is done with the output of a model before it is a feature. It is here since the recipe records it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// How an output of `[n, tokens, d]` becomes `[n, d]`. Default: such an output is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    /// Whether a feature is divided by its Euclidean length. Default: no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub normalize: bool,
}

/// How the tokens of a picture become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// The first one, which sums up the picture in most vision transformers.
    Cls,
    /// The mean of all of them, the first one included.
    Mean,
}

impl Pool {
    /// The name on the command line and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Pool::Cls => "cls",
            Pool::Mean => "mean",
        }
    }
}

/// Why a directory cannot be used with a recipe.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// The file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file is not a recipe.
    #[error("{} is damaged; compare it with a copy, or move it away if you know what made the features", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// The object ids of the directory are others.
    #[error(
        "the object ids of {} are those of --ids {}, and --ids {} was asked for: leave that out, give this run another \
         --feature-dir, or remove {} and begin anew",
        path.display(), there.name(), here.name(), path.display()
    )]
    OtherIds {
        path: PathBuf,
        there: IdKind,
        here: IdKind,
    },
    /// The features of the directory were made in another way.
    #[error(
        "{} was made with {there}, this run would use {here}; mixed features cannot be compared, so give this run the \
         options of before, or another --feature-dir",
        path.display()
    )]
    Differs {
        path: PathBuf,
        /// What the directory's recipe says where the two differ.
        there: String,
        /// What this run would do.
        here: String,
    },
}

/// What a recipe says that readers need, also one of another version.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Known {
    ids: IdKind,
    dimension: usize,
}

impl Known {
    fn of(directory: &Path) -> Result<Self, RecipeError> {
        let known: Option<Self> = read(directory)?;
        Ok(known.unwrap_or_default())
    }
}

impl Recipe {
    /// The same with the version of the format: 1, or 2 where it has something that version 0.1 of this program would
    /// overlook and go on in another way.
    #[must_use]
    pub fn with_format(self) -> Self {
        let is_old = self.ids == IdKind::Name
            && self.finish == Finish::default()
            && self.preprocess.is_none();
        Recipe {
            format: if is_old { 1 } else { NEWEST_FORMAT },
            ..self
        }
    }

    /// The name of the file in a model's directory.
    pub const FILE_NAME: &str = "recipe.json";

    /// The recipe of a model's directory, where one is recorded.
    pub fn read(directory: &Path) -> Result<Option<Recipe>, RecipeError> {
        read(directory)
    }

    /// What the object ids of a model's directory are: names where nothing is recorded, as earlier versions and other
    /// programs leave it.
    pub fn id_kind(directory: &Path) -> Result<IdKind, RecipeError> {
        Ok(Known::of(directory)?.ids)
    }

    /// The dimension of the features of a model's directory, and 0 where nothing is recorded.
    pub fn dimension(directory: &Path) -> Result<usize, RecipeError> {
        Ok(Known::of(directory)?.dimension)
    }

    /// Checks that the directory was made with this recipe; records it where none is recorded.
    pub fn agree(&self, directory: &Path) -> Result<(), RecipeError> {
        let path = directory.join(Self::FILE_NAME);
        if let Some(recorded) = Self::read(directory)? {
            self.compare(&recorded, directory)?;
            // Of a run that was killed while another one was first.
            return complete::remove_leftover(&path)
                .map_err(|source| RecipeError::Io { path, source });
        }
        let created = complete::create(&path, |file| {
            serde_json::to_writer_pretty(&mut *file, self)?;
            file.write_all(b"\n")
        });
        match (created, Self::read(directory)?) {
            // Of several first runs at once, the first one's recipe counts.
            (Err(error), Some(recorded)) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.compare(&recorded, directory)
            }
            (Err(source), _) => Err(RecipeError::Io { path, source }),
            (Ok(()), _) => Ok(()),
        }
    }

    fn compare(&self, recorded: &Recipe, directory: &Path) -> Result<(), RecipeError> {
        match self.differences(recorded) {
            None => Ok(()),
            Some((here, there)) => Err(RecipeError::Differs {
                path: directory.to_owned(),
                there,
                here,
            }),
        }
    }

    /// What this recipe and another one say where they differ.
    pub fn differences(&self, recorded: &Recipe) -> Option<(String, String)> {
        let (mut there, mut here) = (Vec::new(), Vec::new());
        for ((name, theirs), (_, ours)) in recorded.fields().into_iter().zip(self.fields()) {
            if theirs != ours {
                there.push(format!("{name} {theirs}"));
                here.push(format!("{name} {ours}"));
            }
        }
        let is_different = !there.is_empty();
        is_different.then(|| (here.join(", "), there.join(", ")))
    }

    fn fields(&self) -> [(&'static str, String); 12] {
        [
            ("--ids", self.ids.name().to_owned()),
            ("format", self.format.to_string()),
            ("the model with SHA-256", self.model_sha256.clone()),
            ("output", self.output.clone()),
            ("preprocessing", format!("`{}`", self.preprocessing)),
            ("dimension", self.dimension.to_string()),
            ("type", self.dtype.clone()),
            (
                "--pool",
                self.finish.pool.map_or("none", Pool::name).to_owned(),
            ),
            ("--normalize", self.finish.normalize.to_string()),
            ("--precision", self.precision.name().to_owned()),
            ("--exact", self.exact.to_string()),
            (
                "--preprocess",
                (self.preprocess.as_ref())
                    .map_or_else(|| "tf-hub".to_owned(), |all| all.to_string()),
            ),
        ]
    }
}

/// What is recorded in a directory, or a part of that.
fn read<T: DeserializeOwned>(directory: &Path) -> Result<Option<T>, RecipeError> {
    let path = directory.join(Recipe::FILE_NAME);
    match regular::read_own(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| RecipeError::Damaged { path, source }),
        // Where a file is in the place of the directory, whoever opens that says so.
        Err(error) if is_missing(&error) => Ok(None),
        Err(source) => Err(RecipeError::Io { path, source }),
    }
}

/// All of it in a line.
impl fmt::Display for Recipe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recipe {
            preprocessing,
            output,
            dimension,
            dtype,
            finish,
            ..
        } = self;
        // As much of the checksum as tells models apart.
        let model = self.model_sha256.get(..12).unwrap_or(&self.model_sha256);
        let precision = self.precision.name();
        let exact = if self.exact { ", --exact" } else { "" };
        let pool = match finish.pool {
            Some(pool) => format!(", --pool {}", pool.name()),
            None => String::new(),
        };
        let normalize = if finish.normalize {
            ", --normalize"
        } else {
            ""
        };
        let ids = match self.ids {
            IdKind::Name => "",
            IdKind::Path => "; --ids path",
        };
        write!(
            formatter,
            "{preprocessing}; model {model}… in {precision}{exact}; {output} of {dimension} {dtype}{pool}{normalize}{ids}"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn recipe() -> Recipe {
        Recipe {
            format: 1,
            model_sha256: "ab".repeat(32),
            output: "feature_vector".into(),
            preprocessing: "for a test".into(),
            dimension: 8,
            dtype: "<f4".into(),
            finish: Finish::default(),
            precision: Precision::Fp32,
            exact: false,
            ids: IdKind::Name,
            preprocess: None,
        }
    }

    #[test]
    fn what_version_0_1_would_overlook_has_another_format() {
        assert_eq!(recipe().with_format().format, 1);
        let normalize = Finish {
            normalize: true,
            ..Finish::default()
        };
        for other in [
            Recipe {
                ids: IdKind::Path,
                ..recipe()
            },
            Recipe {
                finish: normalize,
                ..recipe()
            },
            Recipe {
                preprocess: Some(serde_json::json!({})),
                ..recipe()
            },
        ] {
            assert_eq!(other.with_format().format, NEWEST_FORMAT);
        }
    }

    #[test]
    fn a_directory_keeps_its_first_recipe() {
        let directory = tempfile::tempdir().unwrap();
        recipe().agree(directory.path()).unwrap();
        recipe().agree(directory.path()).unwrap();
        let other = Recipe {
            model_sha256: "cd".repeat(32),
            ..recipe()
        };
        let message = other.agree(directory.path()).unwrap_err().to_string();
        assert!(
            message.contains("abab") && message.contains("cdcd"),
            "{message}"
        );
        assert_eq!(Recipe::read(directory.path()).unwrap(), Some(recipe()));
    }

    #[test]
    fn of_several_first_runs_one_recipe_stands_and_the_others_are_refused() {
        for _ in 0..50 {
            let directory = tempfile::tempdir().unwrap();
            let start = std::sync::Barrier::new(4);
            let agreed: Vec<bool> = std::thread::scope(|scope| {
                let runs: Vec<_> = (0..4)
                    .map(|number| {
                        let (start, directory) = (&start, directory.path());
                        scope.spawn(move || {
                            let recipe = Recipe {
                                dimension: number,
                                ..recipe()
                            };
                            start.wait();
                            recipe.agree(directory).is_ok()
                        })
                    })
                    .collect();
                runs.into_iter().map(|run| run.join().unwrap()).collect()
            });
            let recorded = Recipe::read(directory.path()).unwrap().unwrap();
            let stands = |number: usize| number == recorded.dimension;
            assert_eq!(agreed, [0, 1, 2, 3].map(stands));
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_recipe_that_names_no_precision_is_of_fp32() {
        let directory = tempfile::tempdir().unwrap();
        let mut older = serde_json::to_value(recipe()).unwrap();
        older.as_object_mut().unwrap().remove("precision").unwrap();
        let path = directory.path().join(Recipe::FILE_NAME);
        fs::write(path, older.to_string()).unwrap();
        recipe().agree(directory.path()).unwrap();
        let fewer_bits = Recipe {
            precision: Precision::Bf16,
            ..recipe()
        };
        let message = fewer_bits.agree(directory.path()).unwrap_err().to_string();
        assert!(
            message.contains("fp32") && message.contains("bf16"),
            "{message}"
        );
    }
}
