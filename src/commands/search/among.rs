//! The objects that are asked for: those of a folder, or not of it.

use std::path::PathBuf;

use anyhow::Result;

use super::Options;
use crate::similarity::collection::{Collection, Position};
use crate::storage::folder::Folder;
use crate::storage::media::Media;

/// Some objects of a collection.
pub struct Among {
    /// Where their features are, in rising order.
    pub positions: Vec<Position>,
}

impl Among {
    /// The listed objects that are below one folder and not below another; `None` where neither is asked for.
    ///
    /// # Errors
    /// When a folder holds no listed object.
    pub fn choose(
        collection: &Collection,
        media: Option<&Media>,
        options: &Options,
    ) -> Result<Option<Self>> {
        let folder = |named: &Option<PathBuf>| match (named, media) {
            (Some(named), Some(media)) => Folder::find(named, media).map(Some),
            _ => Ok(None),
        };
        let (within, not_within) = (folder(&options.within)?, folder(&options.not_within)?);
        let Some(media) = media.filter(|_| within.is_some() || not_within.is_some()) else {
            return Ok(None);
        };
        let is_asked_for = |entry: &str| {
            within.as_ref().is_none_or(|folder| folder.holds(entry))
                && !not_within
                    .as_ref()
                    .is_some_and(|folder| folder.holds(entry))
        };
        Ok(Some(Among {
            positions: collection.listed_where(media, is_asked_for),
        }))
    }
}
