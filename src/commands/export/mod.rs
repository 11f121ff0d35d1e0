//! Command: writes all features of a model's directory as one Parquet file, or as several of so many rows, for
//! databases that search vectors.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the command |
//! | `parquet.rs` | the file format, for this one table |
//! | `thrift.rs` | the encoding of its headers |

mod parquet;
mod thrift;

use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::similarity::collection::{Collection, Position};
use crate::storage::output::{self, Kind, Output};
use crate::storage::recipe::Recipe;
use crate::support::fault;
use crate::support::usage::WrongUsage;
use parquet::ParquetWriter;

/// Rows that are in memory at a time, in one row group: 51 MB of features of 1280.
const GROUP_ROWS: usize = 10_000;

/// What to export.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's directory, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// The file to write, or the folder for several. An existing file is replaced once the new one is complete.
    pub output: Output,
    /// Rows of a file, where there are to be several. Default: one file.
    pub rows_per_file: Option<usize>,
}

/// What was exported.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Summary {
    /// How many features were written.
    pub rows: usize,
    /// Numbers in a feature.
    #[serde(rename = "length")]
    pub dimension: usize,
    /// How many files were written.
    pub files: usize,
    /// Length of the files in bytes.
    pub bytes: u64,
    /// Per-object files that were left out, and why.
    pub left_out: Vec<String>,
    /// Seconds it took.
    pub seconds: f64,
}

/// Writes the features of all shards, and of the per-object files that are not packed yet, to a Parquet file, or to
/// several.
///
/// Several are `<model>-00000.parquet` and so on in the folder that is named, with the rows in the order of one file.
/// They have the same names each time, and those of an earlier export that come after the last are removed.
///
/// # Errors
/// When there are no features, or a file cannot be read or written. Then whatever had the file's name before still has
/// it.
pub fn export(options: &Options) -> Result<Summary> {
    let started = Instant::now();
    match (&options.output, options.rows_per_file) {
        (Output::File(path), None) => ensure!(
            !path.as_os_str().as_encoded_bytes().ends_with(b"/") && !path.is_dir(),
            "{} is a folder; name a file, or say with --rows-per-file how many rows each file in it is to have",
            path.display()
        ),
        (Output::Stdout, Some(_)) => {
            bail!(WrongUsage(
                "standard output takes one file; with --rows-per-file name a folder".into()
            ))
        }
        _ => {}
    }
    let collection = Collection::open_filled(&options.directory)?;
    let recipe = Recipe::read(&options.directory)?;
    let model = options.directory.file_name().unwrap_or_default();
    let model = model.to_string_lossy().into_owned();
    let mut metadata = vec![("simsearch.model", model.clone())];
    if let Some(recipe) = &recipe {
        metadata.push(("simsearch.recipe", serde_json::to_string(recipe)?));
    }
    let files = files(&collection, options.rows_per_file.unwrap_or(usize::MAX));
    let mut bytes = 0;
    let mut write = |file: &mut dyn Write, groups: &[Group]| {
        bytes += write(file, &collection, groups, &metadata)?;
        Ok(())
    };
    let mut write_file = |path: &Path, groups: &[Group]| {
        output::write(path, Kind::Parquet, |file| write(file, groups))
            .with_context(|| format!("cannot write {}", path.display()))
    };
    match (&options.output, options.rows_per_file) {
        (Output::Stdout, _) => {
            // Not as with what is printed: what tells where everything is stands at the end of a Parquet file.
            let mut out = io::stdout().lock();
            let written = write(&mut out, &files[0]).and_then(|()| out.flush());
            written.context("cannot write all of the file to standard output")?;
        }
        (Output::File(path), None) => write_file(path, &files[0])?,
        (Output::File(folder), Some(_)) => {
            let making = || format!("cannot make the folder {}", folder.display());
            fs::create_dir_all(folder).with_context(making)?;
            for (number, groups) in files.iter().enumerate() {
                write_file(&folder.join(file_name(&model, number)), groups)?;
            }
            remove_after_the_last(folder, &model, files.len())?;
        }
    }
    Ok(Summary {
        rows: collection.len(),
        dimension: collection.dimension(),
        files: files.len(),
        bytes,
        left_out: collection.left_out,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The name of one of several files.
fn file_name(model: &str, number: usize) -> String {
    format!("{model}-{number:05}.parquet")
}

/// Removes the files of an earlier export that had more of them.
fn remove_after_the_last(folder: &Path, model: &str, files: usize) -> Result<()> {
    let reading = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(reading)? {
        let name = entry.with_context(reading)?.file_name();
        let number = name.to_str().and_then(|name| {
            let digits = name.strip_prefix(model)?.strip_prefix('-')?;
            let number = digits.strip_suffix(".parquet")?.parse().ok()?;
            (file_name(model, number) == name).then_some(number)
        });
        if number.is_some_and(|number| number >= files) {
            let path = folder.join(&name);
            let removed = fault::step("remove a file of an earlier export", || {
                fs::remove_file(&path)
            });
            removed.with_context(|| {
                format!(
                    "the export is complete, but {} of an earlier one cannot be removed",
                    path.display()
                )
            })?;
        }
    }
    Ok(())
}

/// Rows of one part of the collection, which go into a row group.
struct Group {
    part: u32,
    rows: Range<usize>,
}

/// The rows of each file: as many as `rows_per_file` that are shown, but for the last. There is one file at least.
fn files(collection: &Collection, rows_per_file: usize) -> Vec<Vec<Group>> {
    let mut files = vec![Vec::new()];
    let mut in_file = 0;
    for (index, part) in (0..).zip(collection.parts()) {
        let mut first = 0;
        for row in 0..part.rows() {
            let is_hidden = collection.is_hidden(Position {
                part: index,
                row: row as u32,
            });
            if in_file == rows_per_file && !is_hidden {
                push(&mut files, index, first..row);
                files.push(Vec::new());
                (first, in_file) = (row, 0);
            } else if row - first == GROUP_ROWS {
                push(&mut files, index, first..row);
                first = row;
            }
            in_file += usize::from(!is_hidden);
        }
        push(&mut files, index, first..part.rows());
    }
    files
}

fn push(files: &mut [Vec<Group>], part: u32, rows: Range<usize>) {
    if let (Some(last), false) = (files.last_mut(), rows.is_empty()) {
        last.push(Group { part, rows });
    }
}

fn write(
    file: &mut dyn Write,
    collection: &Collection,
    groups: &[Group],
    metadata: &[(&str, String)],
) -> io::Result<u64> {
    let dimension = collection.dimension();
    let mut writer = ParquetWriter::new(file, dimension)?;
    for Group { part, rows } in groups {
        let at = |row: usize| Position {
            part: *part,
            row: row as u32,
        };
        let of = &collection.parts()[*part as usize];
        let features = &of.features()[rows.start * dimension..rows.end * dimension];
        let shown = rows.clone().filter(|row| !collection.is_hidden(at(*row)));
        let shown: Vec<usize> = shown.collect();
        let ids: Vec<String> = shown.iter().map(|row| of.id(*row)).collect();
        let paths = shown.iter().map(|row| collection.path(at(*row)));
        let paths: Vec<Option<String>> = paths.collect();
        if shown.len() == rows.len() {
            writer.row_group(&ids, &paths, features)?;
        } else if !shown.is_empty() {
            let features = shown.iter().flat_map(|row| {
                let at = (row - rows.start) * dimension;
                &features[at..at + dimension]
            });
            let features: Vec<f32> = features.copied().collect();
            writer.row_group(&ids, &paths, &features)?;
        }
    }
    writer.finish(metadata)
}
