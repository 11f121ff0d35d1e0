//! The files of a model, or the model inside the program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use prost::bytes::Bytes;

use crate::inference::default_model;
use crate::inference::rewrite::{external_files, with_external_data};
use crate::storage::checksum::{self, Checksum};
use crate::storage::model_dir::model_stem;

/// Where the graph is in a model's folder: what Hugging Face's exporters write, and others.
const IN_FOLDER: [&str; 3] = ["onnx/model.onnx", "onnx/vision_model.onnx", "model.onnx"];

/// The graph for words, beside that for pictures.
pub(super) const TEXT: &str = "text_model.onnx";
/// How words become its input; beside the graph, or above its folder where that is `onnx`.
const TOKENIZER: &str = "tokenizer.json";

/// The files with which a model makes features of words.
#[derive(Clone, Debug)]
pub struct WordsFiles {
    /// The graph.
    pub graph: PathBuf,
    /// Whether that is the pictures' graph, which may know words as well: there is none for words alone.
    pub is_of_pictures: bool,
    /// How words become its input.
    pub tokenizer: PathBuf,
}

/// A model's files, read.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The name of its directory of features.
    pub stem: String,
    /// The ONNX graph, with all weights in it.
    pub bytes: Bytes,
    /// SHA-256, in hexadecimal: of the graph's file, and where weights are in files of their own, then of each of them
    /// in the order of their names: the name as the graph has it, a zero byte, and the file.
    pub sha256: String,
    /// Whether it is the one inside the program.
    pub is_default: bool,
}

impl ModelFile {
    /// The name of the model inside the program, and of its directory of features.
    pub const INSIDE: &str = default_model::STEM;

    /// Reads a model, or takes the one inside the program where none is named. `path` is the graph's file, or a folder
    /// that has it where exporters put it.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(ModelFile::inside());
        };
        let stem = model_stem(path).with_context(|| {
            format!(
                "{} cannot name a directory of features; give the model a plain file name",
                path.display()
            )
        })?;
        let file = match path.is_dir() {
            true => Self::in_folder(path).with_context(|| {
                format!(
                    "there is no model in the folder {}; looked for {}",
                    path.display(),
                    IN_FOLDER.join(", ")
                )
            })?,
            false => path.to_owned(),
        };
        let bytes: Bytes = fs::read(&file)
            .with_context(|| format!("cannot read the model {}", file.display()))?
            .into();
        if let Some(other) = other_kind(&bytes) {
            bail!("{} is no ONNX model: {other}", file.display());
        }
        let names = external_files(&bytes).with_context(|| {
            format!(
                "{} is no whole ONNX model; it may be cut off",
                file.display()
            )
        })?;
        let mut checksum = Checksum::default();
        checksum.update(&bytes);
        let mut files = BTreeMap::new();
        for name in names {
            let data = read_beside(&file, &name)?;
            checksum.update(name.as_bytes());
            checksum.update(&[0]);
            checksum.update(&data);
            files.insert(name, data);
        }
        let bytes = match files.is_empty() {
            true => bytes,
            false => with_external_data(&bytes, &files)
                .with_context(|| format!("cannot use the model {}", file.display()))?,
        };
        Ok(ModelFile {
            stem,
            bytes,
            sha256: checksum.finish(),
            is_default: false,
        })
    }

    /// The file of the graph in a model's folder, where there is one.
    pub fn in_folder(folder: &Path) -> Option<PathBuf> {
        let mut files = IN_FOLDER.iter().map(|name| folder.join(name));
        files.find(|file| file.is_file())
    }

    /// The files with which a model also makes features of words: those of the graph and of the tokenizer. `model` is
    /// the file of the pictures' graph, or the folder. Where there is no graph for words alone, that of the pictures
    /// may have both.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn for_words(model: &Path) -> Result<WordsFiles> {
        let graph = match model.is_dir() {
            true => Self::in_folder(model).unwrap_or_else(|| model.join(IN_FOLDER[0])),
            false => model.to_owned(),
        };
        let name = graph.file_name().unwrap_or_default().to_string_lossy();
        // Such as vision_model_quantized.onnx.
        let names = [name.replace("vision_model", "text_model"), TEXT.to_owned()];
        let mut paths = names.iter().map(|name| graph.with_file_name(name));
        let words = paths.find(|path| *path != graph && path.is_file());
        let folder = graph.parent().unwrap_or(Path::new(""));
        let above = folder.parent().filter(|_| folder.ends_with("onnx"));
        let folders = [Some(folder), above].into_iter().flatten();
        let tokenizer = (folders.map(|folder| folder.join(TOKENIZER))).find(|path| path.is_file());
        let tokenizer = tokenizer.with_context(|| {
            // Exporters put it above the folder `onnx`.
            let usual = above.unwrap_or(folder).join(TOKENIZER);
            format!(
                "{} knows no words: there is no {}; models that do, such as CLIP and SigLIP, come with {TEXT} and {TOKENIZER}",
                model.display(),
                usual.display()
            )
        })?;
        Ok(WordsFiles {
            is_of_pictures: words.is_none(),
            tokenizer,
            graph: words.unwrap_or(graph),
        })
    }

    /// The model inside the program.
    pub fn inside() -> Self {
        ModelFile {
            stem: default_model::STEM.to_owned(),
            bytes: Bytes::from_static(default_model::BYTES),
            sha256: checksum::of_bytes(default_model::BYTES),
            is_default: true,
        }
    }
}

/// Reads a file of weights: it is beside the graph's file or, where that is a link, beside what the link leads to. The
/// current directory does not count, and no name leads out of the folder.
fn read_beside(graph: &Path, name: &str) -> Result<Vec<u8>> {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    ensure!(
        !name.is_empty() && Path::new(name).components().all(is_plain),
        "{} has its weights in `{name}`, which is no file beside it",
        graph.display()
    );
    let mut folders = vec![graph.to_owned()];
    folders.extend(fs::canonicalize(graph));
    let mut paths = folders.iter().map(|graph| graph.with_file_name(name));
    let path = paths.find(|path| path.is_file()).with_context(|| {
        format!(
            "{} has its weights in a file of their own, and {} is not there; it belongs beside the model",
            graph.display(),
            graph.with_file_name(name).display()
        )
    })?;
    let read = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    match other_kind(&read) {
        Some(other) if read.starts_with(LFS) => {
            bail!("{} holds no weights: {other}", path.display())
        }
        _ => Ok(read),
    }
}

/// How a pointer to a file in Git's large file storage begins.
const LFS: &[u8] = b"version https://git-lfs";

/// What a file is that is given for a model now and then, and what to do about it.
fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii_start();
    let begins = |with: &[u8]| {
        text.get(..with.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(with))
    };
    let header = bytes
        .first_chunk()
        .map(|length| u64::from_le_bytes(*length));
    let is_safetensors =
        header.is_some_and(|length| length < bytes.len() as u64) && bytes.get(8) == Some(&b'{');
    if bytes.is_empty() {
        Some("it is empty")
    } else if bytes.starts_with(LFS) {
        Some(
            "it is a pointer to a file in Git's large file storage; `git lfs pull` fetches the file",
        )
    } else if begins(b"<!doctype") || begins(b"<html") || begins(b"<?xml") {
        Some("it is a web page, as failed downloads leave it; download the file itself")
    } else if is_safetensors {
        Some("it is a safetensors file, which has weights and no graph; export the model to ONNX")
    } else if bytes.get(4..8) == Some(b"TFL3") {
        Some("it is a TensorFlow Lite model; export the model to ONNX, with tf2onnx for example")
    } else if bytes.starts_with(b"PK\x03\x04") {
        Some("it is a ZIP file, such as PyTorch's and Keras' own; export the model to ONNX")
    } else {
        None
    }
}
