//! What a query is: an object that is extracted, a picture file, a feature in a `.npy` file, or words.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use anyhow::{Error, Result};
use rayon::prelude::*;

use super::spelling;
use crate::inference::embed::QueryModel;
use crate::inference::text::TextModel;
use crate::similarity::collection::{Collection, Position};
use crate::storage::files::is_missing;
use crate::storage::media::{is_in_tar, read_file};
use crate::storage::npy;
use crate::storage::object_id::IdKind;

/// Queries for one pass over the data: more would make the pass no shorter for each, and the first answers later.
const CHUNK: usize = 256;

/// The arguments in chunks; for `-`, the lines of `input`. A line is not waited for while there are others to answer,
/// so that a program may write one and read its answer.
pub fn chunks(
    arguments: Vec<OsString>,
    input: impl Read,
) -> impl Iterator<Item = io::Result<Vec<OsString>>> {
    let mut arguments = arguments.into_iter().peekable();
    let mut lines = BufReader::with_capacity(1 << 16, input);
    let mut reading = false;
    let mut ends = LineEnds::default();
    std::iter::from_fn(move || {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK {
            if reading {
                if !chunk.is_empty() && !lines.buffer().contains(&b'\n') {
                    break;
                }
                match next_line(&mut lines, &mut ends) {
                    Ok(Some(line)) => chunk.push(line),
                    Ok(None) => reading = false,
                    Err(error) => return Some(Err(error)),
                }
            } else {
                match arguments.next() {
                    Some(argument) if argument == "-" => reading = true,
                    Some(argument) => chunk.push(argument),
                    None => break,
                }
            }
        }
        (!chunk.is_empty()).then_some(Ok(chunk))
    })
}

/// How lines end: where the first one ends in CRLF, all of them may, as in a list of objects.
#[derive(Default)]
struct LineEnds {
    crlf: Option<bool>,
}

/// The next line that is not empty, without its end.
fn next_line(lines: &mut impl BufRead, ends: &mut LineEnds) -> io::Result<Option<OsString>> {
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        line.pop_if(|last| *last == b'\n');
        if *ends.crlf.get_or_insert(line.ends_with(b"\r")) {
            line.pop_if(|last| *last == b'\r');
        }
        if !line.is_empty() {
            return Ok(Some(OsString::from_vec(line)));
        }
    }
    Ok(None)
}

/// A query whose feature is known.
pub struct Found {
    /// What was asked.
    pub text: String,
    feature: Feature,
}

enum Feature {
    Object(Position),
    Picture(Vec<f32>),
    /// Of a `.npy` file.
    Itself(Vec<f32>),
    Words(Vec<f32>),
}

impl Found {
    /// The feature, `[dimension]`.
    pub fn feature<'a>(&'a self, collection: &'a Collection) -> &'a [f32] {
        match &self.feature {
            Feature::Object(position) => collection.feature(*position),
            Feature::Picture(feature) | Feature::Itself(feature) | Feature::Words(feature) => {
                feature
            }
        }
    }

    /// Where the feature is, for an object.
    pub fn position(&self) -> Option<Position> {
        match self.feature {
            Feature::Object(position) => Some(position),
            Feature::Picture(_) | Feature::Itself(_) | Feature::Words(_) => None,
        }
    }

    /// What it is, where there is no picture of it.
    pub fn without_picture(&self) -> Option<&'static str> {
        match self.feature {
            Feature::Words(_) => Some("these are words"),
            Feature::Itself(_) => Some("this is a feature"),
            Feature::Object(_) | Feature::Picture(_) => None,
        }
    }

    /// The object's id; none for anything else.
    pub fn object_id(&self, collection: &Collection) -> Option<String> {
        self.position().map(|position| collection.id(position))
    }
}

/// What queries are, and how the model is loaded that makes their features, for features of a dimension.
#[derive(Clone, Copy)]
pub enum Asking<'a> {
    /// Objects and files. The model is loaded when the first query is a picture.
    Pictures(&'a dyn Fn(usize) -> Result<QueryModel>),
    /// Words.
    Words(&'a dyn Fn(usize) -> Result<TextModel>),
}

/// Finds the features of queries.
pub enum Finder<'a> {
    /// Of objects and picture files.
    Pictures(Box<PictureFinder<'a>>),
    /// Of words.
    Words(Box<TextModel>),
}

impl<'a> Finder<'a> {
    /// Over a collection.
    ///
    /// # Errors
    /// When the model for words cannot be loaded.
    pub fn new(collection: &'a Collection, asking: Asking<'a>) -> Result<Self> {
        Ok(match asking {
            Asking::Pictures(open_model) => {
                Finder::Pictures(Box::new(PictureFinder::new(collection, open_model)))
            }
            Asking::Words(open_model) => {
                Finder::Words(Box::new(open_model(collection.dimension())?))
            }
        })
    }

    /// The features of a chunk of queries, in order, or why one has none.
    pub fn find(&mut self, queries: Vec<OsString>) -> Vec<Result<Found, String>> {
        match self {
            Finder::Pictures(finder) => finder.find(queries),
            Finder::Words(model) => (queries.iter())
                .map(|query| of_words(model, query).map_err(|why| about(query, &why)))
                .collect(),
        }
    }
}

/// Finds the features of objects and picture files.
pub struct PictureFinder<'a> {
    collection: &'a Collection,
    open_model: &'a dyn Fn(usize) -> Result<QueryModel>,
    model: Option<Result<QueryModel>>,
    /// For how many more unknown ids a similar one is looked for.
    spellings: usize,
}

/// Unknown object ids that are named with a similar one: each takes a look at every id.
const SPELLINGS: usize = 20;

impl<'a> PictureFinder<'a> {
    /// Over a collection; `open_model` is called with the dimension of the features when the first query is a picture.
    fn new(
        collection: &'a Collection,
        open_model: &'a dyn Fn(usize) -> Result<QueryModel>,
    ) -> Self {
        PictureFinder {
            collection,
            open_model,
            model: None,
            spellings: SPELLINGS,
        }
    }

    /// The features of a chunk of queries, in order, or why one has none.
    fn find(&mut self, queries: Vec<OsString>) -> Vec<Result<Found, String>> {
        let ids = queries.iter().map(|query| query.to_str());
        let ids: Vec<Option<&str>> = ids.map(|id| id.filter(|id| may_be_id(id))).collect();
        let known: Vec<&str> = ids.iter().flatten().copied().collect();
        let mut found = self.collection.find_all(&known).into_iter();
        let positions = ids.iter().map(|id| id.and_then(|_| found.next().flatten()));
        let positions: Vec<Option<Position>> = positions.collect();
        let is_file = |(query, position): (&OsString, &Option<Position>)| {
            let path = Path::new(query);
            position.is_none() && !is_feature_file(path) && (path.is_file() || is_in_tar(path))
        };
        if self.model.is_none() && queries.iter().zip(&positions).any(is_file) {
            self.model = Some((self.open_model)(self.collection.dimension()));
        }
        let similar: Vec<Option<String>> = (queries.iter().zip(&positions))
            .map(|(query, position)| self.similar(query, *position))
            .collect();
        let (collection, model) = (self.collection, self.model.as_ref());
        let found = (queries.into_par_iter().zip(positions)).zip(similar);
        let found = found.map(|((query, position), similar)| {
            let found = match position {
                Some(position) => of_object(collection, &query, position),
                None => of_file(collection, model, &query),
            };
            found.map_err(|why| match similar {
                Some(similar) => about(&query, &format!("{why}; did you mean {similar}?")),
                None => about(&query, &why),
            })
        });
        found.collect()
    }
}

/// Why a query has no feature. What would not be seen is in quotes.
fn about(query: &OsStr, why: &str) -> String {
    let query = query.to_string_lossy();
    match query.trim().is_empty() {
        true => format!("{query:?}: {why}"),
        false => format!("{query}: {why}"),
    }
}

/// Whether a query that is no object id is a file with a feature.
fn is_feature_file(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "npy")
}

/// Whether a query is looked up as an object id: all are but what begins like a path outside or like `./x.jpg`.
fn may_be_id(query: &str) -> bool {
    let begins = |start: &&str| query.starts_with(*start);
    !query.is_empty() && !["/", "./", "../"].iter().any(begins)
}

impl PictureFinder<'_> {
    /// The object id that a query which is nothing may have meant; looked for a few times in a run.
    fn similar(&mut self, query: &OsStr, position: Option<Position>) -> Option<String> {
        let is_something = position.is_some() || fs::symlink_metadata(query).is_ok();
        if is_something || self.spellings == 0 {
            return None;
        }
        self.spellings -= 1;
        spelling::nearest(self.collection, query.to_str()?)
    }
}

fn of_object(collection: &Collection, query: &OsStr, position: Position) -> Result<Found, String> {
    let text = query.to_string_lossy().into_owned();
    match collection
        .feature(position)
        .iter()
        .all(|value| value.is_finite())
    {
        true => Ok(Found {
            text,
            feature: Feature::Object(position),
        }),
        false => Err(
            "its feature holds a number that is not finite; `simsearch verify` says more".into(),
        ),
    }
}

fn of_file(
    collection: &Collection,
    model: Option<&Result<QueryModel>>,
    query: &OsStr,
) -> Result<Found, String> {
    let text = query.to_string_lossy().into_owned();
    let mut bytes = Vec::new();
    match read_file(Path::new(query), &mut bytes) {
        Err(error) if is_missing(&error) => {
            let is_path = collection.id_kind() == IdKind::Name && text.contains('/');
            let why = if !may_be_id(&text) || is_path {
                "there is no such file"
            } else if collection.has_hidden(&text) {
                "is extracted, and left out: the list of objects does not have it, or has it at another path"
            } else {
                "is neither an object that is extracted nor a file"
            };
            return Err(why.into());
        }
        read => read.map_err(|error| error.to_string())?,
    };
    if is_feature_file(Path::new(query)) {
        let feature = npy::any_feature(&bytes, collection.dimension()).map_err(Error::from);
        return Ok(Found {
            text,
            feature: Feature::Itself(feature.map_err(|error| format!("{error:#}"))?),
        });
    }
    let feature = match model {
        Some(Ok(model)) => model.feature(&bytes).map_err(Error::from),
        Some(Err(error)) => return Err(format!("{error:#}")),
        None => return Err("no model was loaded".into()),
    };
    match feature {
        Ok(feature) => Ok(Found {
            text,
            feature: Feature::Picture(feature),
        }),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// The feature of words, or why they have none.
fn of_words(model: &TextModel, query: &OsStr) -> Result<Found, String> {
    let text = query.to_string_lossy().into_owned();
    let words = query.to_str().ok_or("is no text in UTF-8")?;
    match model.feature(words) {
        Ok(feature) => Ok(Found {
            text,
            feature: Feature::Words(feature),
        }),
        Err(error) => Err(format!("{:#}", Error::from(error))),
    }
}
