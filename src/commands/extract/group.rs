//! The pictures that a worker carries from stage to stage together.

use crate::storage::files::FileStamp;
use crate::storage::object_id::ObjectId;

/// How many pictures a worker carries from stage to stage together, at most. While a stage does the same thing again
/// and again, its code and tables stay in the core's caches: 2 to 4 % faster than one by one, and more on a machine
/// whose caches others use too.
const MOST_TOGETHER: usize = 32;

/// Pictures that go from stage to stage together, in one batch or several: those that could be read.
#[derive(Default)]
pub struct Group {
    pub ids: Vec<ObjectId>,
    /// Index into the list, for each picture.
    pub indices: Vec<u32>,
    /// The file that each was read from.
    pub files: Vec<FileStamp>,
    /// `[n, height, width, 3]`.
    pub pixels: Vec<u8>,
    /// `[n, d]`.
    pub features: Vec<f32>,
    /// Files whose pixels are to come from a GPU.
    pub waiting: Vec<Waiting>,
    /// Files whose pixels came from there.
    pub decoded: Vec<Waiting>,
}

/// A picture that a GPU decodes.
pub struct Waiting {
    /// Its number in the group.
    pub position: usize,
    pub bytes: Vec<u8>,
}

impl Group {
    /// Takes a picture of `size` bytes out; gives its id.
    pub fn remove(&mut self, position: usize, size: usize) -> ObjectId {
        self.indices.remove(position);
        self.files.remove(position);
        self.pixels.drain(position * size..(position + 1) * size);
        let files = self.waiting.iter_mut().chain(&mut self.decoded);
        for file in files.filter(|file| file.position > position) {
            file.position -= 1;
        }
        self.ids.remove(position)
    }

    pub fn clear(&mut self) {
        self.ids.clear();
        self.indices.clear();
        self.files.clear();
        self.pixels.clear();
        self.features.clear();
        self.waiting.clear();
        self.decoded.clear();
    }
}

/// How many pictures a worker takes on together: whole batches, as many as it can afford, and no more than half of its
/// share of what is left, so that all workers end at about the same time; but `least` in any case.
pub fn group_size(batch: usize, least: usize, affordable: usize, share: usize) -> usize {
    let most = MOST_TOGETHER.min(affordable).min(share / 2);
    (most - most % batch).max(batch.min(share / 2)).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::object_id::IdKind;

    #[test]
    fn a_picture_that_leaves_its_group_takes_its_pixels_along() {
        let waiting = |position: usize| Waiting {
            position,
            bytes: vec![position as u8],
        };
        let file = |size| FileStamp { size, modified: 0 };
        let mut group = Group {
            ids: ["first", "second", "third"]
                .map(|id| ObjectId::new(IdKind::Name, id).unwrap())
                .into(),
            indices: vec![7, 8, 9],
            files: vec![file(4), file(5), file(6)],
            pixels: vec![1, 1, 2, 2, 3, 3],
            decoded: vec![waiting(0), waiting(2)],
            ..Group::default()
        };
        assert_eq!(group.remove(1, 2).as_str(), "second");
        let left: Vec<&str> = group.ids.iter().map(ObjectId::as_str).collect();
        assert_eq!(left, ["first", "third"]);
        assert_eq!(group.indices, [7, 9]);
        assert_eq!(group.files, [file(4), file(6)]);
        assert_eq!(group.pixels, [1, 1, 3, 3]);
        let positions: Vec<usize> = group.decoded.iter().map(|one| one.position).collect();
        assert_eq!(positions, [0, 1]);
    }

    #[test]
    fn a_group_is_whole_batches_and_shrinks_where_time_or_objects_run_out() {
        assert_eq!(group_size(1, 1, usize::MAX, 1_000_000), MOST_TOGETHER);
        assert_eq!(group_size(8, 8, usize::MAX, 1_000_000), MOST_TOGETHER);
        // Nothing is known of the time yet, or one picture takes longer than a group may.
        assert_eq!(group_size(1, 1, 0, 1_000_000), 1);
        assert_eq!(group_size(8, 8, 0, 1_000_000), 8);
        assert_eq!(group_size(8, 8, 23, 1_000_000), 16);
        assert_eq!(group_size(1, 1, usize::MAX, 10), 5);
        assert_eq!(group_size(1, 1, usize::MAX, 0), 1);
        assert_eq!(group_size(8, 8, usize::MAX, 10), 8);
        assert_eq!(group_size(64, 8, usize::MAX, 1_000_000), 64);
        assert_eq!(group_size(64, 8, usize::MAX, 100), 50);
        assert_eq!(group_size(64, 8, usize::MAX, 4), 8);
    }
}
