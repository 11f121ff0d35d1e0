//! The pictures of answers, small.

use std::path::Path;

use rayon::prelude::*;

use super::Answer;
use crate::pictures::thumbnail::Thumbnail;
use crate::pictures::{PictureReader, PixelOptions};
use crate::storage::media::{Media, read_file};

/// Thumbnails of listed objects and of files.
pub struct Pictures<'a> {
    media: &'a Media,
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
    /// Pictures are looked up in the list.
    pub fn new(media: &'a Media) -> Self {
        Pictures { media }
    }

    /// The query and its neighbours, each to fit into a square of `side` pixels.
    pub fn of<'b>(&self, answer: &'b Answer, side: usize) -> Vec<Shown<'b>> {
        let query = (&*answer.query, None, answer.object_id.as_deref());
        let neighbours = answer.neighbours.iter().map(|neighbour| {
            let id = &*neighbour.object_id;
            (id, Some(neighbour.distance), Some(id))
        });
        let all: Vec<_> = [query].into_iter().chain(neighbours).collect();
        all.into_par_iter()
            .map_init(
                || PictureReader::new(PixelOptions::default()),
                |reader, (name, distance, object_id)| Shown {
                    name,
                    distance,
                    thumbnail: match object_id {
                        Some(id) => self.of_object(id, side, reader),
                        None if answer.is_words => Err("these are words".into()),
                        None => of_file(Path::new(name), side, reader),
                    },
                },
            )
            .collect()
    }

    fn of_object(
        &self,
        id: &str,
        side: usize,
        reader: &mut PictureReader,
    ) -> Result<Thumbnail, String> {
        match self.media.path(id) {
            Some(path) => of_file(&path, side, reader),
            None => Err("not in the list of objects".into()),
        }
    }
}

fn of_file(path: &Path, side: usize, reader: &mut PictureReader) -> Result<Thumbnail, String> {
    let mut bytes = Vec::new();
    read_file(path, &mut bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "the file is gone".to_owned(),
        _ => error.to_string(),
    })?;
    Thumbnail::of(&bytes, side, reader).map_err(|error| error.to_string())
}
