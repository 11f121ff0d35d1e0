//! Command: writes all features of a model's directory as one Parquet file, for databases that search vectors.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the command |
//! | `parquet.rs` | the file format, for this one table |
//! | `thrift.rs` | the encoding of its headers |

mod parquet;
mod thrift;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::similarity::collection::{Collection, Position};
use crate::storage::files::complete;
use crate::storage::recipe::Recipe;
use parquet::ParquetWriter;

/// Rows that are in memory at a time, in one row group: 51 MB of features of 1280.
const GROUP_ROWS: usize = 10_000;

/// What to export.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's directory, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// The file to write. An existing one is replaced once the new one is complete.
    pub output: PathBuf,
}

/// What was exported.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Summary {
    /// How many features were written.
    pub rows: usize,
    /// Numbers in a feature.
    #[serde(rename = "length")]
    pub dimension: usize,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Per-object files that were left out, and why.
    pub left_out: Vec<String>,
    /// Seconds it took.
    pub seconds: f64,
}

/// Writes the features of all shards, and of the per-object files that are not packed yet, to a Parquet file.
///
/// # Errors
/// When there are no features, or a file cannot be read or written. Then whatever had the
/// file's name before still has it.
pub fn export(options: &Options) -> Result<Summary> {
    let started = Instant::now();
    let collection = Collection::open_filled(&options.directory)?;
    let recipe = Recipe::read(&options.directory)?;
    let model = options.directory.file_name().unwrap_or_default();
    let mut metadata = vec![("simsearch.model", model.to_string_lossy().into_owned())];
    if let Some(recipe) = &recipe {
        metadata.push(("simsearch.recipe", serde_json::to_string(recipe)?));
    }
    let mut bytes = 0;
    complete::write_where_it_leads(&options.output, |file| {
        bytes = write(file, &collection, &metadata)?;
        Ok(())
    })
    .with_context(|| format!("cannot write {}", options.output.display()))?;
    Ok(Summary {
        rows: collection.len(),
        dimension: collection.dimension(),
        bytes,
        left_out: collection.left_out,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn write(
    file: &mut dyn Write,
    collection: &Collection,
    metadata: &[(&str, String)],
) -> io::Result<u64> {
    let dimension = collection.dimension();
    let mut writer = ParquetWriter::new(file, dimension)?;
    for (index, part) in (0..).zip(collection.parts()) {
        let is_shown = |row: usize| {
            let (part, row) = (index, row as u32);
            !collection.is_hidden(Position { part, row })
        };
        for first in (0..part.rows()).step_by(GROUP_ROWS) {
            let rows = first..part.rows().min(first + GROUP_ROWS);
            let features = &part.features()[rows.start * dimension..rows.end * dimension];
            let shown: Vec<usize> = rows.clone().filter(|row| is_shown(*row)).collect();
            let ids: Vec<String> = shown.iter().map(|row| part.id(*row)).collect();
            let path = |row: usize| {
                let (part, row) = (index, row as u32);
                collection.path(Position { part, row })
            };
            let paths: Vec<Option<String>> = shown.iter().map(|row| path(*row)).collect();
            if shown.len() == rows.len() {
                writer.row_group(&ids, &paths, features)?;
            } else if !shown.is_empty() {
                let features = shown.iter().flat_map(|row| {
                    let at = (row - first) * dimension;
                    &features[at..at + dimension]
                });
                let features: Vec<f32> = features.copied().collect();
                writer.row_group(&ids, &paths, &features)?;
            }
        }
    }
    writer.finish(metadata)
}
