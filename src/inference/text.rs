//! From words to a feature that can be compared with those of pictures: the other half of models such as CLIP and
//! SigLIP.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ort::session::Session;
use ort::value::{DynValue, Outlet, Tensor, TensorElementType, ValueType};
use serde_json::Value;
use tokenizers::{PaddingStrategy, Tokenizer};

use super::embed::{QueryError, check_model};
use super::finish::add_features;
use super::message::RuntimeMessage;
use super::model_file::{ModelFile, TEXT, WordsFiles};
use super::places::LazyRuntime;
use super::rewrite::{self, Output, TEXT_FEATURES, words_output};
use super::runtime::SessionOptions;
use super::session::name_and_axes;
use crate::storage::files::is_missing;
use crate::storage::recipe::{Finish, Recipe};
use crate::support::mutex::lock;

/// What makes features of words.
pub struct TextModel {
    tokenizer: Tokenizer,
    /// Its inputs, each with whether it is i32 (else i64).
    inputs: Vec<(TextInput, String, bool)>,
    output: String,
    /// Tokens in every call, and the token that fills them up; none where as many go in as there are.
    padding: Option<(usize, u32)>,
    /// Tokens at most.
    most: Option<usize>,
    finish: Finish,
    session: Mutex<Session>,
}

/// What a graph for words takes, `[1, tokens]` each. The names are those of `transformers`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum TextInput {
    /// The tokens.
    Ids,
    /// 1 for a token, 0 for what fills up.
    Mask,
    /// Which of two texts a token belongs to: the first.
    Types,
    /// 0, 1, 2 and so on.
    Positions,
}

impl TextInput {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "input_ids" => TextInput::Ids,
            "attention_mask" => TextInput::Mask,
            "token_type_ids" => TextInput::Types,
            "position_ids" => TextInput::Positions,
            _ => return None,
        })
    }
}

impl TextModel {
    /// Loads the half for words of the model that made the features of `directory` (`FEATURE_DIR/<model stem>`), which
    /// are `dimension` numbers long. `model` is the file of the pictures' graph, or the folder. It runs on the CPU.
    ///
    /// # Errors
    /// When it is another model than the one that made the features, has no such half, or does not run here.
    pub fn open(
        directory: &Path,
        dimension: usize,
        model: Option<&Path>,
        runtime: &LazyRuntime,
    ) -> Result<Self> {
        let recorded = Recipe::read(directory)?;
        check_model(directory, recorded.as_ref(), &ModelFile::read(model)?)?;
        Self::open_checked(directory, dimension, model, runtime)
    }

    /// The same for a model that is known to be the one that made the features: its graph for pictures, of some hundred
    /// megabytes, is not read.
    ///
    /// # Errors
    /// When it has no half for words, or does not run here.
    pub fn open_checked(
        directory: &Path,
        dimension: usize,
        model: Option<&Path>,
        runtime: &LazyRuntime,
    ) -> Result<Self> {
        let recorded = Recipe::read(directory)?;
        let path = model.context(
            "the model inside the program knows no words; models that do are CLIP and SigLIP, for example",
        )?;
        let files = ModelFile::for_words(path)?;
        let graph = files.graph.display();
        let finish = recorded.map_or_else(Finish::default, |recipe| recipe.finish);
        let opened = Self::open_files(&files, finish, runtime)
            .with_context(|| format!("cannot make features of words with {graph}"))?;
        let found = opened.feature("a picture")?.len();
        ensure!(
            found == dimension,
            "{} makes {found} numbers of words, and the pictures' features in {} have {dimension}; `extract \
             --output-name image_embeds` makes those that words are compared with, where the model has them",
            graph,
            directory.display()
        );
        Ok(opened)
    }

    fn open_files(files: &WordsFiles, finish: Finish, runtime: &LazyRuntime) -> Result<Self> {
        let tokenizer_file = &files.tokenizer;
        let read = Tokenizer::from_file(tokenizer_file);
        let mut tokenizer = read
            .map_err(|error| anyhow!("{error}"))
            .with_context(|| format!("{} is no tokenizer", tokenizer_file.display()))?;
        let model = ModelFile::read(Some(&files.graph))?.bytes;
        // A graph that also makes features of pictures is cut.
        let met = rewrite::meet(&model, &words_output).ok().flatten();
        let model = met.map_or(model, |met| met.model);
        let (session, _) = (runtime.get()?)
            .session(&model, &SessionOptions::default())
            .map_err(RuntimeMessage::from)?;
        let inputs = inputs(session.inputs()).map_err(|error| match files.is_of_pictures {
            true => error.context(format!("there is no {TEXT} beside it")),
            false => error,
        })?;
        let output = output(session.outputs())?;
        let fixed = session.inputs().iter().find_map(fixed_tokens);
        let limits = Limits::read(&tokenizer, tokenizer_file)?;
        let has_mask = inputs.iter().any(|(input, ..)| *input == TextInput::Mask);
        // Where the graph is not told which tokens fill up, it was trained with all of them (SigLIP), or does not look
        // behind the last word (CLIP).
        let padded = fixed.or(limits.most.filter(|_| !has_mask));
        // Both are done here, where too many words are an error.
        let _ = tokenizer.with_truncation(None);
        tokenizer.with_padding(None);
        Ok(TextModel {
            tokenizer,
            inputs,
            output,
            padding: padded.map(|tokens| (tokens, limits.filler)),
            most: fixed.or(limits.most),
            finish: Finish {
                pool: None,
                ..finish
            },
            session: Mutex::new(session),
        })
    }

    /// The feature of words, `[dimension]`.
    pub fn feature(&self, words: &str) -> Result<Vec<f32>, QueryError> {
        let words = words.trim();
        if words.is_empty() {
            return Err(QueryError::Words("there are no words".into()));
        }
        let tokens = self.tokenizer.encode(words, true);
        let tokens = tokens.map_err(|error| QueryError::Model(anyhow!("{error}")))?;
        let mut ids = tokens.get_ids().to_vec();
        let count = ids.len();
        if let Some(most) = self.most.filter(|most| count > *most) {
            return Err(QueryError::Words(format!(
                "these are {count} tokens (words, and parts of rare ones), and the model takes {most}; use fewer words"
            )));
        }
        if let Some((length, filler)) = self.padding {
            ids.resize(length, filler);
        }
        let feature = self.run(&ids, count).map_err(QueryError::Model)?;
        match feature.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(QueryError::NotFinite(*value)),
            None => Ok(feature),
        }
    }

    /// Runs the graph on tokens, of which the first `count` are words.
    fn run(&self, ids: &[u32], count: usize) -> Result<Vec<f32>> {
        let mut fed = Vec::new();
        for (input, name, narrow) in &self.inputs {
            let values = ids.iter().enumerate().map(|(at, id)| match input {
                TextInput::Ids => i64::from(*id),
                TextInput::Mask => i64::from(at < count),
                TextInput::Types => 0,
                TextInput::Positions => at as i64,
            });
            let shape = [1, ids.len()];
            let tensor: DynValue = match narrow {
                false => Tensor::from_array((shape, values.collect::<Vec<i64>>()))?.into_dyn(),
                true => {
                    let values: Vec<i32> = values.map(|value| value as i32).collect();
                    Tensor::from_array((shape, values))?.into_dyn()
                }
            };
            fed.push((name.as_str(), tensor));
        }
        let mut session = lock(&self.session);
        let mut outputs = session.run(fed).map_err(RuntimeMessage::from)?;
        let output = outputs.remove(&self.output);
        let output = output.with_context(|| format!("`{}` was not given", self.output))?;
        let (shape, data) = output.try_extract_tensor::<f32>()?;
        let mut feature = Vec::new();
        add_features(self.finish, shape, data, 1, 1, &mut feature).with_context(|| {
            format!(
                "the output `{}` has the shape {shape:?}, and is no feature of words",
                self.output
            )
        })?;
        Ok(feature)
    }
}

fn inputs(outlets: &[Outlet]) -> Result<Vec<(TextInput, String, bool)>> {
    let mut inputs = Vec::new();
    for outlet in outlets {
        let name = outlet.name();
        let kind = match outlet.dtype() {
            ValueType::Tensor { ty, .. } => Some(*ty),
            _ => None,
        };
        match (TextInput::of(name), kind) {
            (Some(input), Some(TensorElementType::Int64)) => {
                inputs.push((input, name.into(), false))
            }
            (Some(input), Some(TensorElementType::Int32)) => {
                inputs.push((input, name.into(), true))
            }
            _ => bail!(
                "it takes `{name}` {}, and is no graph for words: those take input_ids of whole numbers",
                outlet.dtype()
            ),
        }
    }
    ensure!(
        inputs.iter().any(|(input, ..)| *input == TextInput::Ids),
        "it takes no input_ids, and is no graph for words"
    );
    Ok(inputs)
}

/// The name of the output to use.
fn output(outlets: &[Outlet]) -> Result<String> {
    let known: Vec<Output<'_>> = outlets.iter().map(name_and_axes).collect();
    let chosen = words_output(&known).with_context(|| {
        let names: Vec<&str> = outlets.iter().map(Outlet::name).collect();
        format!(
            "it gives {}; a graph for words gives {}",
            names.join(", "),
            TEXT_FEATURES.join(" or ")
        )
    })?;
    Ok(outlets[chosen].name().to_owned())
}

/// How many tokens an input takes, where the graph says so.
fn fixed_tokens(outlet: &Outlet) -> Option<usize> {
    match outlet.dtype() {
        ValueType::Tensor { shape, .. } => match shape[..] {
            [_, tokens] => usize::try_from(tokens).ok().filter(|tokens| *tokens > 0),
            _ => None,
        },
        _ => None,
    }
}

/// What the tokenizer's files say of the length of its texts.
struct Limits {
    most: Option<usize>,
    /// The token that fills up.
    filler: u32,
}

/// Beside tokenizer.json; says the same in older files, and more.
const CONFIG: &str = "tokenizer_config.json";

/// The most tokens that any such model takes. Where none is known, its configuration has 1e30.
const NO_LIMIT: u64 = 1 << 16;

impl Limits {
    fn read(tokenizer: &Tokenizer, file: &Path) -> Result<Self> {
        let path = file.with_file_name(CONFIG);
        let config = match fs::read(&path) {
            Err(error) if is_missing(&error) => Value::Null,
            config => (config.map_err(anyhow::Error::from))
                .and_then(|config| Ok(serde_json::from_slice(&config)?))
                .with_context(|| format!("cannot read {}", path.display()))?,
        };
        let configured = config["model_max_length"].as_u64();
        let configured = configured.filter(|most| *most < NO_LIMIT);
        let padding = tokenizer.get_padding();
        let fixed = padding.and_then(|padding| match padding.strategy {
            PaddingStrategy::Fixed(tokens) => Some(tokens),
            PaddingStrategy::BatchLongest => None,
        });
        let truncated = tokenizer
            .get_truncation()
            .map(|truncation| truncation.max_length);
        let token = &config["pad_token"];
        let token = token.as_str().or(token["content"].as_str());
        let named = token.and_then(|token| tokenizer.token_to_id(token));
        Ok(Limits {
            most: (configured.map(|most| most as usize))
                .or(truncated)
                .or(fixed),
            filler: (padding.map(|padding| padding.pad_id))
                .or(named)
                .unwrap_or(0),
        })
    }
}
