//! Command: queries -> features -> the nearest objects of a directory -> answers, and pages of pictures.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the command: a chunk of queries at a time, one pass over the data for each |
//! | `queries.rs` | what a query is, and its feature |
//! | `answer.rs` | what is printed |
//! | `pictures.rs` | the thumbnails of an answer |
//! | `html.rs`, `sheet.rs` | answers as a page, and as one picture |

mod answer;
mod html;
mod pictures;
mod queries;
mod sheet;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::inference::embed::QueryModel;
use crate::similarity::collection::Collection;
use crate::similarity::hnsw::{self, ApproximateIndex, Opened};
use crate::similarity::neighbours::{Method, Query, neighbours};
use crate::similarity::scan::Metric;
use crate::storage::files::complete;
use crate::storage::media::Media;

pub use answer::{Answer, WithPaths};
use pictures::Pictures;
pub use queries::chunks;
use queries::{Finder, Found};

/// What to search, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's directory of features, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// Neighbours of each query, at least 1. Default: 10.
    pub k: usize,
    /// How far features are from each other. Default: [`Metric::Euclidean`].
    pub metric: Metric,
    /// Whether to use the index of the directory, which must be for this metric. Default: no, and all is found.
    pub approximate: bool,
    /// Where to write the answers as a page. Default: nowhere.
    pub html: Option<PathBuf>,
    /// Where to write the answers as one picture. Default: nowhere.
    pub sheet: Option<PathBuf>,
    /// The media directory and the list of objects, for the pages; what is not listed is left out. A list that is not there
    /// counts as none where no page is asked for. Default: none.
    pub media: Option<(PathBuf, PathBuf)>,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Queries that were answered.
    pub answered: usize,
    /// Queries that failed, and per-object files that were left out; each was named.
    pub failed: usize,
}

/// Receives answers and failures, as they come.
pub struct Listener<'a> {
    /// Called with each answer.
    pub answer: &'a mut dyn FnMut(&Answer) -> Result<()>,
    /// Called with a message for each query that failed and each file that was left out.
    pub warn: &'a dyn Fn(&str),
}

/// Answers queries, given in chunks. `open_model` loads the model that made the features of a directory of this feature
/// dimension; it is called once, and only when a query is a picture.
///
/// # Errors
/// When nothing can be searched, or a page cannot be written. A query that fails does not end the others.
pub fn search(
    options: &Options,
    chunks: impl Iterator<Item = io::Result<Vec<OsString>>>,
    open_model: &dyn Fn(usize) -> Result<QueryModel>,
    listener: Listener<'_>,
) -> Result<Summary> {
    let media = open_media(options)?;
    let mut collection = Collection::open_filled(&options.directory)?;
    if let (Some(media), Some((_, objects))) = (&media, &options.media) {
        let unlisted = collection.keep_listed(media);
        if unlisted > 0 {
            (listener.warn)(&format!(
                "left out: {unlisted} of {} objects, which are not listed in {}, or at another path than that of the file that \
                 their feature was made from",
                collection.len() + unlisted,
                objects.display()
            ));
        }
    }
    let index = match options.approximate {
        true => Some(open_index(options, &collection)?),
        false => None,
    };
    let method = match &index {
        Some(index) => Method::Approximate(index),
        None => Method::Exact(options.metric),
    };
    let mut summary = Summary::default();
    for left_out in &collection.left_out {
        summary.failed += 1;
        (listener.warn)(&format!("left out {left_out}"));
    }
    let mut finder = Finder::new(&collection, open_model);
    let mut kept = Vec::new();
    for chunk in chunks {
        let chunk = chunk.context("cannot read queries from standard input")?;
        let mut found = Vec::new();
        for query in finder.find(chunk) {
            match query {
                Ok(query) => found.push(query),
                Err(message) => {
                    summary.failed += 1;
                    (listener.warn)(&message);
                }
            }
        }
        for answer in answers(&collection, found, options.k, method) {
            summary.answered += 1;
            (listener.answer)(&answer)?;
            if options.html.is_some() || options.sheet.is_some() {
                kept.push(answer);
            }
        }
    }
    if let (Some(media), false) = (&media, kept.is_empty()) {
        write_pages(options, media, &kept)?;
    }
    Ok(summary)
}

/// The list of pictures, where there is one, or a page is to be written.
fn open_media(options: &Options) -> Result<Option<Media>> {
    let is_there = (options.media.as_ref()).is_some_and(|(_, objects)| objects.exists());
    if options.html.is_none() && options.sheet.is_none() && !is_there {
        return Ok(None);
    }
    let (directory, objects) = (options.media.as_ref())
        .context("a page shows pictures: --media-dir must say where they are")?;
    Media::open(directory, objects).map(Some)
}

fn open_index(options: &Options, collection: &Collection) -> Result<ApproximateIndex> {
    let directory = &options.directory;
    let path = directory.join(hnsw::FILE_NAME);
    let (path, metric) = (path.display(), options.metric.name());
    match ApproximateIndex::open(directory, collection)? {
        Opened::Index(index) if index.description().metric == options.metric => Ok(*index),
        Opened::Index(_) => bail!(
            "{path} is for another metric; `simsearch index --metric {metric}` makes one for this metric"
        ),
        Opened::Missing => bail!(
            "there is no index {path}; make it with `simsearch index`, or search without --approximate"
        ),
        Opened::Unusable(why) => bail!("{path}: {why}; `simsearch index` makes a new one"),
    }
}

/// The answers to all queries of a chunk, together.
fn answers(
    collection: &Collection,
    queries: Vec<Found>,
    k: usize,
    method: Method<'_>,
) -> Vec<Answer> {
    let asked = queries.iter().map(|query| Query {
        feature: query.feature(collection),
        itself: query.position(),
        k,
    });
    let asked: Vec<Query<'_>> = asked.collect();
    let started = Instant::now();
    let found = neighbours(collection, &asked, method);
    let seconds = started.elapsed().as_secs_f64();
    let answers = (queries.into_iter().zip(found)).map(|(query, neighbours)| Answer {
        neighbours,
        object_id: query.object_id(collection),
        query: query.text,
        seconds,
    });
    answers.collect()
}

/// Writes the page, and the picture.
fn write_pages(options: &Options, media: &Media, answers: &[Answer]) -> Result<()> {
    let pictures = Pictures::new(media);
    if let Some(path) = &options.html {
        complete::write_where_it_leads(path, |file| html::write(file, answers, options, &pictures))
            .with_context(|| format!("cannot write the page {}", path.display()))?;
    }
    if let Some(path) = &options.sheet {
        let sheet = sheet::draw(answers, &pictures)?;
        complete::write_where_it_leads(path, |file| file.write_all(&sheet))
            .with_context(|| format!("cannot write the sheet {}", path.display()))?;
    }
    Ok(())
}
