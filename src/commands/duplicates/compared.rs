//! Which objects are compared.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::Options;
use crate::similarity::collection::{Collection, IdLookup, Position};
use crate::storage::checksum::Checksum;
use crate::storage::folder::{Folder, folder_of};
use crate::storage::media::Media;
use crate::support::progress::{Progress, counted};

/// The objects that are compared; a *place* is an index into them.
pub struct Compared<'a> {
    /// Where their features are.
    pub objects: Vec<Position>,
    /// Their paths in the list; none where there is no list.
    entries: Vec<&'a str>,
    /// Where pairs are wanted between two folders alone: whether each object is below the one that the others are
    /// compared with.
    in_against: Option<Vec<bool>>,
    not_same_folder: bool,
    /// Objects that are not in the list.
    unlisted: usize,
    /// Listed objects that have no feature.
    without_feature: usize,
}

impl<'a> Compared<'a> {
    /// Chooses the objects; of several rows of one object, the first.
    pub fn choose(
        collection: &Collection,
        media: Option<&'a Media>,
        options: &Options,
    ) -> Result<Self> {
        let folder = |named: &Option<PathBuf>| match (named, media) {
            (Some(named), Some(media)) => Folder::find(named, media).map(Some),
            _ => Ok(None),
        };
        let (within, against) = (folder(&options.within)?, folder(&options.against)?);
        let mut compared = Compared {
            objects: Vec::new(),
            entries: Vec::new(),
            in_against: against.as_ref().map(|_| Vec::new()),
            not_same_folder: options.not_same_folder,
            unlisted: 0,
            without_feature: media.map_or(0, |media| media.entries().count()),
        };
        let lookup = IdLookup::of(collection);
        for position in collection.positions() {
            if lookup.find(collection, &collection.id(position)) != Some(position) {
                continue;
            }
            let Some(media) = media else {
                compared.objects.push(position);
                continue;
            };
            let Some(entry) = collection.listed(position, media) else {
                compared.unlisted += 1;
                continue;
            };
            compared.without_feature = compared.without_feature.saturating_sub(1);
            let is_in_against = against.as_ref().is_some_and(|folder| folder.holds(entry));
            if is_in_against || within.as_ref().is_none_or(|folder| folder.holds(entry)) {
                compared.objects.push(position);
                compared.entries.push(entry);
                if let Some(in_against) = &mut compared.in_against {
                    in_against.push(is_in_against);
                }
            }
        }
        ensure!(
            compared.unlisted == 0 || !compared.objects.is_empty(),
            "none of the objects with a feature is in the list; is it of another media directory?"
        );
        Ok(compared)
    }

    /// Says how many features belong to no listed object.
    pub fn say_what_is_left_out(&self, progress: &Progress) {
        if self.unlisted > 0 {
            let unlisted = self.unlisted;
            progress.note(&format!(
                "features of objects that are not in the list are left out: {unlisted}"
            ));
        }
    }

    /// Says how many listed objects have no feature.
    pub fn say_what_is_not_compared(&self, progress: &Progress) {
        if self.without_feature > 0 {
            progress.note(&format!(
                "not compared: {} without a feature; `simsearch status` says more",
                counted(self.without_feature, "listed object")
            ));
        }
    }

    /// The path of an object in the list, where there is a list.
    pub fn entry(&self, place: u32) -> Option<&'a str> {
        self.entries.get(place as usize).copied()
    }

    /// The feature of an object.
    pub fn feature<'b>(&self, collection: &'b Collection, place: u32) -> &'b [f32] {
        collection.feature(self.objects[place as usize])
    }

    /// Whether the others are compared with this object.
    pub fn is_in_against(&self, place: u32) -> bool {
        (self.in_against.as_ref()).is_some_and(|in_against| in_against[place as usize])
    }

    /// Adds to a checksum what [`is_wanted`](Self::is_wanted) depends on.
    pub fn add_to(&self, checksum: &mut Checksum) {
        checksum.update(&[u8::from(self.not_same_folder)]);
        for is_in_against in self.in_against.iter().flatten() {
            checksum.update(&[u8::from(*is_in_against)]);
        }
        for entry in self.entries.iter().filter(|_| self.not_same_folder) {
            checksum.update(entry.as_bytes());
            checksum.update(b"\n");
        }
    }

    /// Whether a pair is one to find, if it is near enough.
    pub fn is_wanted(&self, one: u32, other: u32) -> bool {
        let folder = |place: u32| self.entry(place).map(folder_of);
        (self.in_against.is_none() || self.is_in_against(one) != self.is_in_against(other))
            && !(self.not_same_folder && folder(one) == folder(other))
    }
}
