//! The members of groups: what is known of their files, and which of them is best.

use std::cmp::Reverse;
use std::fs;
use std::io::{BufReader, Seek};
use std::path::Path;

use rayon::prelude::*;

use super::{Compared, Options};
use crate::pictures::{PictureReader, PixelOptions, Size, stated_size};
use crate::similarity::collection::Collection;
use crate::similarity::scan::pairs::Pair;
use crate::storage::beneath::MediaDir;
use crate::storage::files::FileStamp;
use crate::storage::media::MediaFile;
use crate::support::progress::Progress;

/// Which member of a group is the best. Where members are equal in that, the others decide in this order: the most
/// pixels, the most bytes, the oldest, the first by path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// The most pixels.
    #[default]
    Largest,
    /// The file that was changed first.
    Oldest,
    /// The file that was changed last.
    Newest,
    /// The path of the fewest characters.
    ShortestPath,
}

/// An object of a group.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Member {
    /// Its object id.
    pub object_id: String,
    /// Its path below the media directory; `None` where there is no list.
    pub path: Option<String>,
    /// How far it is from the first member.
    pub distance: f64,
    /// What is known of its file; all is `None` where that is gone, or there is no media directory.
    #[serde(flatten)]
    pub file: FileFacts,
    /// What the file was when the feature was made from it, where that is recorded.
    #[serde(skip)]
    pub made_from: Option<FileStamp>,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FileFacts {
    /// Pixels in a row, as the picture is stored.
    pub width: Option<usize>,
    /// Rows.
    pub height: Option<usize>,
    /// Length in bytes.
    pub bytes: Option<u64>,
    /// Time of the last change, in nanoseconds since 1970; of a member of a tar, that of the tar.
    pub mtime_ns: Option<i64>,
}

impl Member {
    /// Its path, or its object id where that is not known.
    pub fn name(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.object_id)
    }
}

impl FileFacts {
    fn pixels(&self) -> Option<usize> {
        Some(self.width? * self.height?)
    }

    /// Looks at the file of a listed object; nothing is known of one that is gone, or is not inside.
    fn of(
        entry: &str,
        directory: &Path,
        inside: Option<&MediaDir>,
        reader: &mut PictureReader,
    ) -> Self {
        let path = directory.join(entry);
        let opened = match inside {
            Some(inside) => inside.open_picture(entry),
            None => MediaFile::open(&path),
        };
        let Ok(file) = opened else {
            // One that may not be read is there all the same.
            let metadata = fs::metadata(path).ok().filter(|_| inside.is_none());
            let stamp = metadata.map(|metadata| FileStamp::of(&metadata));
            return FileFacts {
                bytes: stamp.map(|stamp| stamp.size),
                mtime_ns: stamp.map(|stamp| stamp.modified),
                ..FileFacts::default()
            };
        };
        let (bytes, modified) = (file.size(), file.stamp().modified);
        let size = size_of_picture(file, reader);
        FileFacts {
            width: size.map(|size| size.width),
            height: size.map(|size| size.height),
            bytes: Some(bytes),
            mtime_ns: Some(modified),
        }
    }
}

/// As the file says it, or else as it is decoded.
fn size_of_picture(mut file: MediaFile, reader: &mut PictureReader) -> Option<Size> {
    let stated = stated_size(&mut BufReader::new(&mut file));
    stated.or_else(|| {
        file.rewind().ok()?;
        let mut bytes = Vec::new();
        file.read_whole(&mut bytes).ok()?;
        reader.decode(&bytes).ok().map(|(size, _)| size)
    })
}

/// All objects that are in a pair, the best first. A *rank* is an index into them.
pub struct Ranked {
    places: Vec<u32>,
    members: Vec<Member>,
}

impl Ranked {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The place of a rank among the objects that were compared.
    pub fn place(&self, rank: usize) -> u32 {
        self.places[rank]
    }

    /// The member, at a distance from the first one.
    pub fn member(&self, rank: usize, distance: f64) -> Member {
        Member {
            distance,
            ..self.members[rank].clone()
        }
    }
}

/// Looks at the files of all objects that are in a pair, and puts the best first.
pub fn ranked(
    collection: &Collection,
    compared: &Compared<'_>,
    pairs: &[Pair],
    options: &Options,
    progress: &Progress,
) -> Ranked {
    let places = pairs.iter().flat_map(|pair| [pair.first, pair.second]);
    let mut places: Vec<u32> = places.collect();
    places.par_sort_unstable();
    places.dedup();
    let directory = options.media.as_ref().map(|(directory, _)| directory);
    progress.begin(places.len() as u64);
    let new_reader = || PictureReader::new(PixelOptions::default());
    let members = places
        .into_par_iter()
        .map_init(new_reader, |reader, place| {
            let entry = compared.entry(place);
            let file = entry.and_then(|entry| {
                let inside = options.inside.as_ref();
                Some(FileFacts::of(entry, directory?, inside, reader))
            });
            progress.advance(1);
            let position = compared.objects[place as usize];
            let member = Member {
                object_id: collection.id(position),
                path: entry.map(str::to_owned),
                distance: 0.0,
                file: file.unwrap_or_default(),
                made_from: collection.source(position).map(|source| source.file),
            };
            (place, member)
        });
    let mut members: Vec<(u32, Member)> = members.collect();
    progress.end();
    let gone = members
        .iter()
        .filter(|(_, member)| member.path.is_some() && member.file.bytes.is_none());
    if let Some((_, first)) = gone.clone().next() {
        let (count, first) = (gone.count(), first.name());
        progress.warn(&format!(
            "{count} of the files cannot be found, such as {first}"
        ));
    }
    members.par_sort_by(|(_, one), (_, other)| {
        rank(one, options.keep).cmp(&rank(other, options.keep))
    });
    let (places, members) = members.into_iter().unzip();
    Ranked { places, members }
}

/// The smallest is the best.
fn rank(member: &Member, keep: Keep) -> impl Ord + use<'_> {
    let FileFacts {
        bytes, mtime_ns, ..
    } = member.file;
    let wanted = match keep {
        Keep::Largest => 0,
        Keep::Oldest => mtime_ns.map_or(0, i128::from),
        Keep::Newest => -mtime_ns.map_or(0, i128::from),
        Keep::ShortestPath => member.name().chars().count() as i128,
    };
    // A file that is gone can be kept by nobody.
    let is_gone = bytes.is_none();
    let (pixels, bytes) = (Reverse(member.file.pixels()), Reverse(bytes));
    (is_gone, wanted, pixels, bytes, mtime_ns, member.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str, side: usize, bytes: u64, mtime_ns: i64) -> Member {
        Member {
            object_id: path.to_owned(),
            path: Some(path.to_owned()),
            distance: 0.0,
            file: FileFacts {
                width: Some(side),
                height: Some(2 * side),
                bytes: Some(bytes),
                mtime_ns: Some(mtime_ns),
            },
            made_from: None,
        }
    }

    #[test]
    fn the_best_member_is_the_largest_or_what_is_asked_for() {
        let gone = Member {
            file: FileFacts::default(),
            ..member("0", 0, 0, 0)
        };
        let members = [
            member("b/large", 30, 500, 40),
            member("a/dense", 20, 900, 50),
            member("c/older", 20, 400, 10),
            member("d/later", 20, 400, 60),
            member("a/twin", 20, 400, 60),
            gone,
        ];
        for (keep, expected) in [
            (Keep::Largest, "b/large a/dense c/older a/twin d/later 0"),
            (Keep::Oldest, "c/older b/large a/dense a/twin d/later 0"),
            (Keep::Newest, "a/twin d/later a/dense b/large c/older 0"),
            (
                Keep::ShortestPath,
                "a/twin b/large a/dense c/older d/later 0",
            ),
        ] {
            let mut members = members.clone();
            members.sort_by(|one, other| rank(one, keep).cmp(&rank(other, keep)));
            let names: Vec<&str> = members.iter().map(Member::name).collect();
            assert_eq!(names.join(" "), expected, "{keep:?}");
        }
    }
}
