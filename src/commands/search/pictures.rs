//! The pictures of answers, small.

use std::path::Path;

use rayon::prelude::*;

use super::Answer;
use crate::pictures::thumbnail::Thumbnail;
use crate::pictures::{PictureReader, PixelOptions};
use crate::similarity::collection::{Collection, Position};
use crate::storage::media::{Media, read_file};
use crate::storage::sources::Source;

/// Thumbnails of listed objects and of files.
pub struct Pictures<'a> {
    media: &'a Media,
    collection: &'a Collection,
}

/// What is shown for one picture.
pub struct Shown<'a> {
    /// The object id, or what was asked.
    pub name: &'a str,
    /// None for the query.
    pub distance: Option<f64>,
    /// The thumbnail, or why there is none.
    pub thumbnail: Result<Thumbnail, String>,
}

impl<'a> Pictures<'a> {
    /// Pictures of the objects of a collection are looked up in the list.
    pub fn new(media: &'a Media, collection: &'a Collection) -> Self {
        Pictures { media, collection }
    }

    /// The query and its neighbours, each to fit into a square of `side` pixels.
    pub fn of<'b>(&self, answer: &'b Answer, side: usize) -> Vec<Shown<'b>> {
        let query_id = answer.object_id.as_deref();
        let query_at = query_id.and_then(|id| self.collection.find(id));
        let query = (&*answer.query, None, query_at);
        let neighbours = answer.neighbours.iter().map(|neighbour| {
            let (id, distance) = (&*neighbour.object_id, Some(neighbour.distance));
            (id, distance, Some(neighbour.position))
        });
        let all: Vec<_> = [query].into_iter().chain(neighbours).collect();
        all.into_par_iter()
            .map_init(
                || PictureReader::new(PixelOptions::default()),
                |reader, (name, distance, position)| Shown {
                    name,
                    distance,
                    thumbnail: match position {
                        Some(at) => self.of_object(at, side, reader),
                        None if let Some(what) = answer.without_picture => Err(what.into()),
                        None => of_file(Path::new(name), None, side, reader),
                    },
                },
            )
            .collect()
    }

    fn of_object(
        &self,
        at: Position,
        side: usize,
        reader: &mut PictureReader,
    ) -> Result<Thumbnail, String> {
        let source = self.collection.source(at);
        match self.media.path(&self.collection.id(at)) {
            Some(path) => of_file(&path, source.as_ref(), side, reader),
            None => Err("not in the list of objects".into()),
        }
    }
}

/// The thumbnail of a file, unless it is known to be another one than the `source` of a feature.
fn of_file(
    path: &Path,
    source: Option<&Source>,
    side: usize,
    reader: &mut PictureReader,
) -> Result<Thumbnail, String> {
    let mut bytes = Vec::new();
    let file = read_file(path, &mut bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "the file is gone".to_owned(),
        _ => error.to_string(),
    })?;
    if source.is_some_and(|source| source.file != file) {
        return Err("the file has changed since its feature was made".to_owned());
    }
    Thumbnail::of(&bytes, side, reader).map_err(|error| error.to_string())
}
