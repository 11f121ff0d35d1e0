//! Which model's directory to use.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use walkdir::WalkDir;

use crate::storage::failures::FailureReport;
use crate::storage::part_dir;
use crate::storage::recipe::Recipe;
use crate::storage::shard::ShardNumber;

/// The directory of a model's features below `feature_dir`: that of the named model (its file, or just the stem), or
/// the only one. A part that packs is named in the same way: by the directory of its model, and its own name.
///
/// # Errors
/// When there is none, or none is named and there are several; the message lists them.
pub fn model_directory(feature_dir: &Path, model: Option<&Path>) -> Result<PathBuf> {
    let reading = || {
        let shown = feature_dir.display();
        match feature_dir.exists() {
            true => format!("cannot read the feature directory {shown}"),
            false => format!("there is no feature directory {shown}; `simsearch extract` makes it"),
        }
    };
    let is_part = |name: &str| part_dir::parse(name).is_some() && feature_dir.join(name).is_dir();
    if let Some(part) = model.and_then(Path::to_str).filter(|name| is_part(name)) {
        return Ok(feature_dir.join(part));
    }
    refuse_that_of_one_model(feature_dir)?;
    let mut directories = Vec::new();
    for entry in fs::read_dir(feature_dir).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if entry.path().is_dir() && !name.starts_with('.') {
            directories.push(name);
        }
    }
    directories.sort();
    let holding = || {
        let mut holding = directories.clone();
        holding.retain(|name| holds_features(&feature_dir.join(name)));
        holding
    };
    let known = |stems: &[String]| match stems {
        [] => "it holds none; `simsearch extract` makes one".to_owned(),
        stems => format!("it holds: {}", stems.join(", ")),
    };
    let Some(model) = model else {
        return match &holding()[..] {
            [stem] => Ok(feature_dir.join(stem)),
            stems => bail!(
                "--model must name one of the models in {}; {}",
                feature_dir.display(),
                known(stems)
            ),
        };
    };
    match names(model).find(|name| directories.contains(name)) {
        Some(stem) => Ok(feature_dir.join(stem)),
        None => bail!(
            "{} has no features of {}; {}",
            feature_dir.display(),
            model.display(),
            known(&holding())
        ),
    }
}

/// The directory of a model's features below `feature_dir` that parts are merged into, which need not be there: that of
/// the named model, or of the model whose directory they were in.
///
/// # Errors
/// When none is named, and the parts were in directories of several names.
pub fn merged_directory(
    feature_dir: &Path,
    model: Option<&Path>,
    parts: &[PathBuf],
) -> Result<PathBuf> {
    refuse_that_of_one_model(feature_dir)?;
    if let Some(model) = model {
        let there = names(model).find(|name| feature_dir.join(name).is_dir());
        return match there.or_else(|| model_stem(model)) {
            Some(name) => Ok(feature_dir.join(name)),
            None => bail!("{} names no model", model.display()),
        };
    }
    let of_model = |path: &Path| {
        let name = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
        match part_dir::parse(&name(path)?) {
            Some(_) => name(path.parent()?),
            None => name(path),
        }
    };
    let mut names = BTreeSet::new();
    for path in parts {
        let real = fs::canonicalize(path);
        let real = real.with_context(|| format!("cannot read {}", path.display()))?;
        names.insert(of_model(&real));
    }
    match (names.first(), names.len()) {
        (Some(Some(name)), 1) => Ok(feature_dir.join(name)),
        _ => bail!(
            "--model must name the directory in {} that the parts are merged into",
            feature_dir.display()
        ),
    }
}

/// The directory below `feature_dir` that features of a model are written to, whether it is there or not.
///
/// # Errors
/// When `feature_dir` is the directory of one model itself: nobody would look for others in it.
pub fn written_directory(feature_dir: &Path, stem: &str) -> Result<PathBuf> {
    refuse_that_of_one_model(feature_dir)?;
    Ok(feature_dir.join(stem))
}

fn refuse_that_of_one_model(feature_dir: &Path) -> Result<()> {
    let (parent, stem) = (feature_dir.parent(), feature_dir.file_name());
    ensure!(
        !is_sealed(feature_dir),
        "{} is the directory of one model; use --feature-dir {} --model {}",
        feature_dir.display(),
        parent.unwrap_or(feature_dir).display(),
        stem.unwrap_or_default().display()
    );
    Ok(())
}

/// The names that the directory of a named model may have. A stem may hold a dot: what is there under the whole name is
/// meant rather than what is before the dot.
fn names(model: &Path) -> impl Iterator<Item = String> {
    let whole = model
        .to_str()
        .filter(|name| !name.starts_with('.') && !name.contains('/'));
    whole
        .map(str::to_owned)
        .into_iter()
        .chain(model_stem(model))
}

/// Whether a directory has what only a model's own directory has: a recipe, or shards.
fn is_sealed(directory: &Path) -> bool {
    let is_shard = |name: &str| ShardNumber::parse(name).is_some();
    directory.join(Recipe::FILE_NAME).exists()
        || fs::read_dir(directory).is_ok_and(|entries| {
            (entries.filter_map(Result::ok))
                .any(|entry| entry.file_name().to_str().is_some_and(is_shard))
        })
}

/// Whether a directory holds features, or says why it has none: those of the Python recipe have no `recipe.json`.
fn holds_features(directory: &Path) -> bool {
    let nested = WalkDir::new(directory).min_depth(3).max_depth(3);
    is_sealed(directory)
        || directory.join(FailureReport::FILE_NAME).is_file()
        || (nested.into_iter().filter_map(Result::ok))
            .any(|entry| entry.file_name().as_encoded_bytes().ends_with(b".npy"))
}

/// The directory name of a model's features: the file name of the model without its last extension. `.` and `..` are
/// the folders that they lead to.
pub(crate) fn model_stem(model: &Path) -> Option<String> {
    let last = model.components().next_back()?;
    let named = match last {
        Component::CurDir | Component::ParentDir => fs::canonicalize(model).ok()?,
        _ => model.to_owned(),
    };
    let stem = named.file_stem()?.to_str()?;
    (!stem.starts_with('.')).then(|| stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_by_its_stem() {
        assert_eq!(
            model_stem(Path::new("models/mobilenet_v3.onnx")).as_deref(),
            Some("mobilenet_v3")
        );
        assert_eq!(
            model_stem(Path::new("models/v1.2.onnx")).as_deref(),
            Some("v1.2")
        );
        assert_eq!(model_stem(Path::new("models/.hidden")), None);
        let here = std::env::current_dir().unwrap();
        let name = here.file_stem().unwrap().to_str();
        assert_eq!(model_stem(Path::new(".")).as_deref(), name);
        assert_eq!(model_stem(Path::new("src/..")).as_deref(), name);
        assert_eq!(model_stem(Path::new("/")), None);
    }
}
