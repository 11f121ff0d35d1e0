//! Command: queries -> features -> the nearest objects of a directory -> answers, and pages of pictures.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the command: a chunk of queries at a time, one pass over the data for each |
//! | `queries.rs` | what a query is, and its feature |
//! | `answer.rs` | what is printed |
//! | `spelling.rs` | which object id was meant by one that is not there |
//! | `among.rs` | the objects that are asked for: those of a folder, or not of it |
//! | `pictures.rs` | the thumbnails of an answer |
//! | `html.rs`, `sheet.rs` | answers as a page, and as one picture |

mod among;
mod answer;
mod html;
mod pictures;
mod queries;
mod sheet;
mod spelling;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::similarity::collection::Collection;
use crate::similarity::hnsw::{ApproximateIndex, Opened};
use crate::similarity::neighbours::{Method, Query, neighbours};
use crate::similarity::scan::{Metric, Neighbour};
use crate::storage::media::Media;
use crate::storage::model_dir::ModelDir;
use crate::storage::object_id::IdKind;
use crate::storage::output::{self, Kind};
use crate::support::usage::WrongUsage;

use among::Among;
pub use answer::{Answer, COLUMNS, WithPaths};
use pictures::Pictures;
pub use queries::{Asking, chunks};
use queries::{Finder, Found};

/// What to search, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's directory of features, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// Neighbours of each query, at least 1; `None` for all of them. Default: 10.
    pub k: Option<usize>,
    /// The largest distance of a neighbour, itself included. Default: any.
    pub max_distance: Option<f64>,
    /// Whether an answer has the feature of its query. Default: no.
    pub with_feature: bool,
    /// Leave out an object that is its own query. Default: no.
    pub exclude_query: bool,
    /// Look only at objects below this folder. Default: at all.
    pub within: Option<PathBuf>,
    /// Leave out objects below this folder. Default: none.
    pub not_within: Option<PathBuf>,
    /// How far features are from each other. Default: [`Metric::Euclidean`].
    pub metric: Metric,
    /// Whether to use the index of the directory, which must be for this metric. Default: no, and all is found.
    pub approximate: bool,
    /// Where to write the answers as a page. Default: nowhere.
    pub html: Option<PathBuf>,
    /// Where to write the answers as one picture. Default: nowhere.
    pub sheet: Option<PathBuf>,
    /// The media directory and the list of objects, for pages, paths and folders; what is not listed is left out.
    /// Default: none.
    pub media: Option<(PathBuf, PathBuf)>,
}

impl Options {
    /// Why `media` cannot be left out; `None` where it can.
    pub fn needs_media(&self) -> Option<&'static str> {
        if self.html.is_some() || self.sheet.is_some() {
            Some("a page shows pictures: --media-dir must say where they are")
        } else if self.within.is_some() || self.not_within.is_some() {
            Some("a folder is one of pictures: --media-dir must say where they are")
        } else {
            None
        }
    }
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
    /// Called with a message for each query that failed.
    pub failed: &'a dyn Fn(&str),
    /// Called with a message for each file, or kind of object, that was left out.
    pub left_out: &'a dyn Fn(&str),
}

/// Answers queries, given in chunks.
///
/// # Errors
/// When nothing can be searched, or a page cannot be written. A query that fails does not end the others.
pub fn search(
    options: &Options,
    chunks: impl Iterator<Item = io::Result<Vec<OsString>>>,
    asking: Asking<'_>,
    listener: Listener<'_>,
) -> Result<Summary> {
    let mut collection = Collection::open_filled(&options.directory)?;
    let media = open_media(options, collection.id_kind())?;
    if let (Some(media), Some((_, objects))) = (&media, &options.media) {
        let unlisted = collection.keep_listed(media);
        if unlisted > 0 {
            (listener.left_out)(&format!(
                "left out: {unlisted} of {} objects, which are not listed in {}, or at another path than that of the file that \
                 their feature was made from",
                collection.len() + unlisted,
                objects.display()
            ));
        }
    }
    ensure!(
        !(options.approximate
            && (options.k.is_none() || options.within.is_some() || options.not_within.is_some())),
        WrongUsage(
            "an index finds some neighbours among all objects; leave out --approximate to ask for all, or for those in \
             a folder"
                .into()
        )
    );
    let index = match options.approximate {
        true => Some(open_index(options, &collection)?),
        false => None,
    };
    let among = Among::choose(&collection, media.as_ref(), options)?;
    let method = match (&index, &among) {
        (Some(index), _) => Method::Approximate(index),
        (None, Some(among)) => Method::Among(options.metric, &among.positions),
        (None, None) => Method::Exact(options.metric),
    };
    let asked = Asked {
        collection: &collection,
        options,
        method,
        media: media.as_ref(),
    };
    let is_shown = options.html.is_some() || options.sheet.is_some();
    let mut summary = Summary::default();
    for left_out in &collection.left_out {
        summary.failed += 1;
        (listener.left_out)(&format!("left out {left_out}"));
    }
    let mut finder = Finder::new(&collection, asking)?;
    let mut kept = Vec::new();
    for chunk in chunks {
        let chunk = chunk.context("cannot read queries from standard input")?;
        let mut found = Vec::new();
        for query in finder.find(chunk) {
            match query {
                Ok(query) => found.push(query),
                Err(message) => {
                    summary.failed += 1;
                    (listener.failed)(&message);
                }
            }
        }
        let mut found = found.into_iter();
        loop {
            let together: Vec<Found> = found.by_ref().take(asked.queries_at_once()).collect();
            if together.is_empty() {
                break;
            }
            for answer in asked.answers(together) {
                summary.answered += 1;
                (listener.answer)(&answer)?;
                if is_shown {
                    kept.push(answer);
                }
            }
        }
    }
    if let (Some(media), false) = (&media, kept.is_empty()) {
        write_pages(options, media, &collection, &kept)?;
    }
    Ok(summary)
}

/// The list of pictures, where one is named; without it nothing can be asked about files and folders.
fn open_media(options: &Options, id_kind: IdKind) -> Result<Option<Media>> {
    match (&options.media, options.needs_media()) {
        (Some((directory, objects)), _) => Media::open(directory, objects, id_kind).map(Some),
        (None, Some(why)) => bail!(WrongUsage(why.into())),
        (None, None) => Ok(None),
    }
}

fn open_index(options: &Options, collection: &Collection) -> Result<ApproximateIndex> {
    let directory = &options.directory;
    let path = directory.join(ModelDir::INDEX);
    let (path, metric) = (path.display(), options.metric.name());
    match ApproximateIndex::open(directory, collection)? {
        Opened::Index(index) if index.description().metric == options.metric => Ok(*index),
        Opened::Index(_) => bail!(
            "{path} is for another metric; `simsearch index --metric {metric}` makes one for this metric"
        ),
        Opened::Missing => bail!(
            "there is no index {path}; make it with `simsearch index`, or search without --approximate"
        ),
        Opened::Unusable { why, .. } => bail!("{path}: {why}; `simsearch index` makes a new one"),
    }
}

/// Bytes for the neighbours of the queries of one pass, at most, unless one query needs more.
const MOST_KEPT: usize = 100_000_000;
/// Bytes of a neighbour while it is looked for, in each thread: room for twice as many.
const OF_THREAD: usize = 48;
/// The same once it is found, with its object id and path.
const OF_FOUND: usize = 200;

/// What is asked of each query.
struct Asked<'a> {
    collection: &'a Collection,
    options: &'a Options,
    method: Method<'a>,
    media: Option<&'a Media>,
}

impl Asked<'_> {
    /// Neighbours of each query.
    fn k(&self) -> usize {
        self.options.k.unwrap_or(self.collection.len())
    }

    /// Queries that are answered together: all of a chunk, but where each has very many neighbours.
    fn queries_at_once(&self) -> usize {
        let each = OF_THREAD * rayon::current_num_threads() + OF_FOUND;
        (MOST_KEPT / each / self.k().max(1)).max(1)
    }

    /// The answers to some queries, together.
    fn answers(&self, queries: Vec<Found>) -> Vec<Answer> {
        // One more, for the query itself.
        let k = self
            .k()
            .saturating_add(usize::from(self.options.exclude_query));
        let asked = queries.iter().map(|query| Query {
            feature: query.feature(self.collection),
            itself: query.position(),
            k: k.min(self.collection.len()),
        });
        let asked: Vec<Query<'_>> = asked.collect();
        let started = Instant::now();
        let found = neighbours(self.collection, &asked, self.method);
        let seconds = started.elapsed().as_secs_f64();
        let answers = (queries.into_iter().zip(found)).map(|(query, mut found)| {
            found.retain(|neighbour| {
                let is_itself = Some(neighbour.position) == query.position();
                !(is_itself && self.options.exclude_query)
                    && (self.options.max_distance).is_none_or(|limit| neighbour.distance <= limit)
            });
            found.truncate(self.k());
            Answer {
                neighbours: found
                    .into_iter()
                    .map(|found| self.with_path(found))
                    .collect(),
                object_id: query.object_id(self.collection),
                feature: (self.options.with_feature)
                    .then(|| query.feature(self.collection).to_vec()),
                without_picture: query.without_picture(),
                query: query.text,
                seconds,
            }
        });
        answers.collect()
    }

    /// Where it is not recorded which file a feature was made from, it is the listed one.
    fn with_path(&self, mut found: Neighbour) -> Neighbour {
        let listed = || Some(self.media?.entry(&found.object_id)?.to_owned());
        found.path = found.path.take().or_else(listed);
        found
    }
}

/// Writes the page, and the picture.
fn write_pages(
    options: &Options,
    media: &Media,
    collection: &Collection,
    answers: &[Answer],
) -> Result<()> {
    let pictures = Pictures::new(media, collection);
    if let Some(path) = &options.html {
        output::write(path, Kind::Page, |file| {
            html::write(file, answers, options, &pictures)
        })
        .with_context(|| format!("cannot write the page {}", path.display()))?;
    }
    if let Some(path) = &options.sheet {
        let sheet = sheet::draw(answers, &pictures)?;
        output::write(path, Kind::Sheet, |file| file.write_all(&sheet))
            .with_context(|| format!("cannot write the sheet {}", path.display()))?;
    }
    Ok(())
}
