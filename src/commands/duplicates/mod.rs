//! Command: features -> all pairs within a limit -> groups of duplicates, each with the member to keep first.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the command |
//! | `limit.rs` | how near duplicates are, where nobody says it |
//! | `compared.rs` | which objects are compared: all, those of a folder, those of two folders |
//! | `member.rs` | what is known of a member's file, and which member is best |
//! | `groups.rs` | from pairs to groups; works on numbers alone |
//! | `decided.rs` | the groups as people have decided in the page of `serve` |
//! | `kept.rs` | what a long run has found so far, for the next run if it is killed |
//! | `histogram.rs`, `chart.rs` | how many pairs there are below each distance, and that as a page |
//! | `report.rs`, `html.rs` | the groups as text and CSV, and as a page |
//! | `act.rs` | what is done to the members that are not the first |
//! | `undo.rs` | the list that undoes it |

mod act;
mod chart;
mod compared;
mod decided;
mod groups;
mod histogram;
mod html;
mod kept;
mod limit;
mod member;
mod report;
mod undo;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::similarity::collection::Collection;
use crate::similarity::scan::Metric;
use crate::similarity::scan::pairs::{self, Pair, PairSearch, Wanted};
use crate::storage::beneath::MediaDir;
use crate::storage::media::Media;
use crate::storage::object_id::IdKind;
use crate::storage::output::{self, Kind};
use crate::support::fault;
use crate::support::progress::Progress;
use crate::support::usage::WrongUsage;

pub use act::{Acted, Action, act};
use compared::Compared;
pub use decided::decisions;
pub use histogram::{Histogram, histogram};
use kept::Kept;
pub use limit::UnknownLimit;
pub use member::{Keep, Member};
pub use undo::{Change, ChangeKind, Left, Undone, undo};

/// What to compare, and what a group is.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's directory of features, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// How far features are from each other. Default: [`Metric::Euclidean`].
    pub metric: Metric,
    /// The largest distance of duplicates, itself included. Default: what is known for the model, or none.
    pub max_distance: Option<f64>,
    /// How many pairs there may be. Default: [`pairs::MOST_PAIRS`], and no more.
    pub most_pairs: usize,
    /// The media directory and the list of objects. Default: none; then an object is known by its id alone.
    pub media: Option<(PathBuf, PathBuf)>,
    /// The same media directory, where no file may be looked at that it does not give. Default: none, and links are
    /// followed wherever they lead.
    pub inside: Option<MediaDir>,
    /// Compare only objects below this folder. Default: all that are listed.
    pub within: Option<PathBuf>,
    /// Compare them with objects below this folder, which are kept, and not with each other. Default: no.
    pub against: Option<PathBuf>,
    /// Leave out pairs in one folder. Default: no.
    pub not_same_folder: bool,
    /// Whether a group is all that is linked by a chain of pairs. Default: no, and no two members are farther apart
    /// than the limit.
    pub linked: bool,
    /// Whether the groups are those of the decisions that people have made, and no pairs are looked for. Default: no.
    pub decided: bool,
    /// Which member is the best. Default: [`Keep::Largest`].
    pub keep: Keep,
    /// Where to write the groups, or the histogram, as a page. Default: nowhere.
    pub html: Option<PathBuf>,
}

/// What was found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Duplicates {
    /// How distances are measured.
    pub metric: Metric,
    /// The largest distance of a pair.
    pub max_distance: f64,
    /// How many objects were compared.
    pub objects: usize,
    /// How many pairs are within that distance.
    pub pairs: usize,
    /// In the order of their first members' paths, or object ids.
    pub groups: Vec<Group>,
    /// Per-object files that were left out: they are damaged.
    pub left_out: Vec<String>,
}

/// Objects that are duplicates of each other.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Group {
    /// The one to keep first, and then by their distance from it.
    pub members: Vec<Member>,
}

/// Finds the duplicates.
///
/// # Errors
/// When nothing can be compared, no limit is known ([`UnknownLimit`]), more pairs are within it than there may be
/// ([`pairs::TooManyPairs`]), or the page cannot be written.
pub fn duplicates(options: &Options, progress: &Progress) -> Result<Duplicates> {
    let collection = Collection::open_filled(&options.directory)?;
    let media = open_media(options, collection.id_kind())?;
    ensure!(
        options.html.is_none() || media.is_some(),
        WrongUsage("--html shows pictures: --media-dir must say where they are".into())
    );
    let compared = Compared::choose(&collection, media.as_ref(), options)?;
    compared.say_what_is_left_out(progress);
    let objects = compared.objects.len();
    let (mut groups, pairs, limit, kept) = match options.decided {
        true => {
            let (groups, pairs) = decided::groups(&collection, &compared, options, progress)?;
            let farthest = pairs.iter().map(|pair| pair.distance).fold(0.0, f64::max);
            (groups, pairs.len(), farthest, Kept::none())
        }
        false => {
            compared.say_what_is_not_compared(progress);
            let limit = limit::choose(options)?;
            let (groups, pairs, kept) =
                find_groups(&collection, &compared, options, limit, progress)?;
            (groups, pairs, limit, kept)
        }
    };
    groups.sort_by(|one, other| one.members[0].name().cmp(other.members[0].name()));
    let found = Duplicates {
        metric: options.metric,
        max_distance: limit,
        objects,
        pairs,
        groups,
        left_out: collection.left_out,
    };
    if let (Some(path), Some(media)) = (&options.html, &media) {
        output::write(path, Kind::Page, |file| html::write(file, &found, media))
            .with_context(|| format!("cannot write the page {}", path.display()))?;
    }
    kept.remove();
    Ok(found)
}

/// The groups that all pairs within a limit make, how many pairs there are, and what of them is kept for the case of a
/// kill.
fn find_groups(
    collection: &Collection,
    compared: &Compared<'_>,
    options: &Options,
    limit: f64,
    progress: &Progress,
) -> Result<(Vec<Group>, usize, Kept)> {
    let (pairs, kept) = find_pairs(collection, compared, options, limit, progress)?;
    let members = member::ranked(collection, compared, &pairs, options, progress);
    let distance = |one: u32, other: u32| {
        let [one, other] = [one, other].map(|place| compared.feature(collection, place));
        options.metric.between(one, other)
    };
    let numbered = groups::groups(&members, &pairs, compared, options, &distance);
    let groups = (numbered.into_iter())
        .map(|group| Group {
            members: (group.into_iter())
                .map(|(rank, distance)| members.member(rank, distance))
                .collect(),
        })
        .collect();
    Ok((groups, pairs.len(), kept))
}

/// The list of objects, where there is one; without it nothing can be asked about files and folders.
fn open_media(options: &Options, id_kind: IdKind) -> Result<Option<Media>> {
    let Some((directory, objects)) = &options.media else {
        let needs = [
            (options.within.is_some(), "--within"),
            (options.against.is_some(), "--against"),
            (options.not_same_folder, "--not-same-folder"),
            (options.keep != Keep::Largest, "--keep"),
        ];
        return match needs.iter().find(|(is_asked, _)| *is_asked) {
            Some((_, option)) => bail!(WrongUsage(format!(
                "{option} is about files: --media-dir must say where they are"
            ))),
            None => Ok(None),
        };
    };
    Media::open(directory, objects, id_kind).map(Some)
}

/// The pairs within a limit, the nearest first; and what of them is kept for the case of a kill, to be removed when it
/// is no longer needed.
fn find_pairs(
    collection: &Collection,
    compared: &Compared<'_>,
    options: &Options,
    limit: f64,
    progress: &Progress,
) -> Result<(Vec<Pair>, Kept)> {
    let wanted = Wanted {
        metric: options.metric,
        limit,
        most: options.most_pairs,
        is_wanted: &|one, other| compared.is_wanted(one, other),
        advance: &|more| progress.advance(more),
    };
    let mut pairs = Vec::new();
    let mut kept = Kept::none();
    if compared.objects.len() >= fault::enough(kept::WORTH_IT) {
        let key = kept::key(collection, compared, options.metric, limit);
        kept = Kept::open(&options.directory, &key, wanted.most, &mut pairs, progress);
    }
    progress.begin(pairs::count(compared.objects.len()));
    let search = PairSearch::new(collection, &compared.objects, &wanted);
    let shares = 0..search.shares();
    let done: u64 = shares
        .clone()
        .take(kept.shares)
        .map(|share| search.count(share))
        .sum();
    progress.go_on(done);
    for share in shares.skip(kept.shares) {
        let found = match search.find(share) {
            Ok(found) if pairs.len() + found.len() <= wanted.most => found,
            _ => {
                // The same command would end in the same way.
                kept.remove();
                return Err(search.too_many().into());
            }
        };
        kept.add(&found, progress);
        pairs.extend(found);
    }
    progress.end();
    pairs::sort(&mut pairs);
    Ok((pairs, kept))
}
