//! What is searched and shown, as it is now: read again when it changes, while answers go on with what was there
//! before.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};

use super::Options;
use crate::similarity::collection::{Collection, IdLookup, Position};
use crate::similarity::hnsw::{ApproximateIndex, Opened};
use crate::similarity::scan::Metric;
use crate::storage::files::FileStamp;
use crate::storage::media::Media;
use crate::storage::model_dir::ModelDir;
use crate::storage::object_id::IdKind;
use crate::storage::shard::{Listing, ShardFiles, ShardNumber};
use crate::storage::sources::{self, Source};
use crate::support::mutex;
use crate::support::progress::Progress;

/// Between two looks at the names of the shards, at the list of objects and at the records of what is extracted.
const LOOK: Duration = Duration::from_secs(1);
/// To walk over all per-object files takes a while where there are many: the rest after it is so many times as long.
const REST: u32 = 20;
/// The same while features come: of 40,000 objects a new one is shown two seconds after it is extracted, instead of
/// six.
const REST_WHILE_NEW: u32 = 4;

/// The features and the list as they are now.
pub struct Live {
    directory: PathBuf,
    media_dir: PathBuf,
    objects: PathBuf,
    features: RwLock<Arc<Features>>,
    media: RwLock<Arc<Media>>,
}

/// A collection that never changes, and the way from an id into it.
pub struct Features {
    pub collection: Collection,
    pub lookup: IdLookup,
    /// The index of these features, once it has been asked for, and what its file was then.
    index: Mutex<Option<(Option<FileStamp>, Arc<ApproximateIndex>)>>,
}

impl Features {
    fn of(collection: Collection) -> Self {
        let lookup = IdLookup::of(&collection);
        Features {
            collection,
            lookup,
            index: Mutex::new(None),
        }
    }

    /// Where the feature of an object is, and the feature.
    pub fn find(&self, id: &str) -> Option<(Position, &[f32])> {
        let position = self.lookup.find(&self.collection, id)?;
        Some((position, self.collection.feature(position)))
    }

    /// The file that the feature of an object was made from, where it has one and that is recorded; also where it is
    /// not shown, since another file is listed now.
    pub fn source(&self, id: &str) -> Option<Source> {
        let shown = self.lookup.find(&self.collection, id);
        let any = || self.lookup.find_hidden(&self.collection, id);
        self.collection.source(shown.or_else(any)?)
    }
}

impl Live {
    pub fn open(options: &Options, progress: &Progress) -> Result<Self> {
        let mut collection = Collection::open(&options.directory)?;
        let media = Media::open(&options.media_dir, &options.objects, collection.id_kind())?;
        let unlisted = collection.keep_listed(&media);
        if unlisted > 0 {
            progress.note(&format!(
                "left out: {unlisted} of {} objects, which are not listed in {}, or at another path than that of the file that \
                 their feature was made from",
                collection.len() + unlisted,
                options.objects.display()
            ));
        }
        for file in &collection.left_out {
            progress.warn(&format!("left out: {file}"));
        }
        Ok(Live {
            directory: options.directory.clone(),
            media_dir: options.media_dir.clone(),
            objects: options.objects.clone(),
            features: RwLock::new(Arc::new(Features::of(collection))),
            media: RwLock::new(Arc::new(media)),
        })
    }

    /// The features as they are now.
    pub fn features(&self) -> Arc<Features> {
        Arc::clone(&self.features.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The list as it is now.
    pub fn media(&self) -> Arc<Media> {
        Arc::clone(&self.media.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The approximate index of some features, for a metric, or why there is none.
    pub fn index(
        &self,
        features: &Features,
        metric: Metric,
    ) -> Result<Arc<ApproximateIndex>, String> {
        let mut known = mutex::lock(&features.index);
        // One that is made anew meanwhile is another file.
        let now = stamp(&self.directory.join(ModelDir::INDEX));
        let index = match &*known {
            Some((then, index)) if *then == now => Arc::clone(index),
            _ => {
                let opened = ApproximateIndex::open(&self.directory, &features.collection);
                // Where it is, is not for the client to know.
                let unreadable =
                    |error: Error| format!("the index cannot be read: {}", error.root_cause());
                let index = match opened.map_err(unreadable)? {
                    Opened::Index(index) => Arc::from(index),
                    Opened::Missing => {
                        return Err(
                            "there is no index here; `simsearch index` makes one".to_owned()
                        );
                    }
                    Opened::Unusable { why, .. } => {
                        return Err(format!("{why}; `simsearch index` makes a new index"));
                    }
                };
                Arc::clone(&known.insert((now, index)).1)
            }
        };
        match index.description().metric == metric {
            true => Ok(index),
            false => Err(format!(
                "the index is for another metric; `simsearch index --metric {}` makes one for this metric",
                metric.name()
            )),
        }
    }

    fn refresh_features(&self) -> Result<()> {
        let now = self.features();
        let mut collection = now.collection.reopen(&self.directory)?;
        // The first features say what the ids are.
        if collection.id_kind() != self.media().id_kind() {
            self.refresh_media(collection.id_kind())?;
        }
        collection.keep_listed(&self.media());
        if !collection.is_same_as(&now.collection) {
            let features = Arc::new(Features::of(collection));
            *(self.features.write()).unwrap_or_else(PoisonError::into_inner) = features;
        }
        Ok(())
    }

    fn refresh_media(&self, id_kind: IdKind) -> Result<()> {
        let media = Arc::new(Media::open(&self.media_dir, &self.objects, id_kind)?);
        *self.media.write().unwrap_or_else(PoisonError::into_inner) = media;
        Ok(())
    }
}

/// Looks again and again, for as long as the server runs.
pub async fn watch(live: Arc<Live>, progress: Arc<Progress>) {
    let mut seen = Seen::now(&live);
    loop {
        tokio::time::sleep(LOOK).await;
        let (live, progress) = (Arc::clone(&live), Arc::clone(&progress));
        let looked = tokio::task::spawn_blocking(move || {
            seen.look_and_tell(|seen| seen.look(&live), &progress);
            seen
        });
        match looked.await {
            Ok(next) => seen = next,
            // The server ends.
            Err(_) => return,
        }
    }
}

/// What the last look saw.
struct Seen {
    list: Option<FileStamp>,
    shards: Vec<(PathBuf, ShardNumber)>,
    /// The records of what the features were made from: each is in one before it is there.
    records: Vec<(PathBuf, FileStamp)>,
    /// When the last walk over the per-object files ended, and how long it took.
    walked: (Instant, Duration),
    /// The last problem, which is told once.
    problem: Option<String>,
}

impl Seen {
    fn now(live: &Live) -> Self {
        Seen {
            list: stamp(&live.objects),
            // Those that came before this are looked for at once.
            shards: Vec::new(),
            records: Vec::new(),
            walked: (Instant::now(), Duration::ZERO),
            problem: None,
        }
    }

    /// Looks, and tells what is wrong once, until something else is. A bug is told as well: it would end all looks
    /// otherwise, and what was read last would be served for ever.
    fn look_and_tell(
        &mut self,
        look: impl FnOnce(&mut Self) -> Option<Error>,
        progress: &Progress,
    ) {
        let looked = catch_unwind(AssertUnwindSafe(|| look(self)));
        let problem = looked
            .unwrap_or_else(|_| Some(anyhow!("the look for changes met a bug in the program")));
        let problem =
            problem.map(|error| format!("what was read before is still served: {error:#}"));
        if let Some(message) = problem.as_ref().filter(|_| problem != self.problem) {
            progress.warn(message);
        }
        self.problem = problem;
    }

    /// Reads again what has changed; gives back what is wrong.
    fn look(&mut self, live: &Live) -> Option<Error> {
        let mut problem = None;
        // The stamp of before the list is read: what is written meanwhile is another.
        let list = stamp(&live.objects);
        // What is listed now may be shown.
        let mut is_listed_anew = false;
        if list != self.list {
            match live.refresh_media(live.media().id_kind()) {
                Ok(()) => {
                    self.list = list;
                    is_listed_anew = true;
                }
                Err(error) => problem = Some(error),
            }
        }
        let started = Instant::now();
        let records = sources::records(&live.directory).unwrap_or_default();
        let rest = match records == self.records {
            true => REST,
            false => REST_WHILE_NEW,
        };
        let (ended, took) = self.walked;
        let is_rested = started >= ended + took * rest;
        // Where they cannot be listed, the walk will say so.
        let listed = ShardFiles::list_all(&live.directory).unwrap_or_default();
        let shards = listed.iter().flat_map(|Listing { directory, files }| {
            (files.complete_pairs()).map(move |number| (directory.clone(), number))
        });
        let shards: Vec<(PathBuf, ShardNumber)> = shards.collect();
        if is_listed_anew || is_rested || shards != self.shards {
            match live.refresh_features() {
                Ok(()) => (self.shards, self.records) = (shards, records),
                Err(error) => problem = Some(error),
            }
            self.walked = (Instant::now(), started.elapsed());
        }
        problem
    }
}

fn stamp(path: &Path) -> Option<FileStamp> {
    fs::metadata(path).ok().map(|file| FileStamp::of(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_in_a_look_is_told_and_the_next_look_is_taken() {
        let progress = Progress::new(true);
        let mut seen = Seen {
            list: None,
            shards: Vec::new(),
            records: Vec::new(),
            walked: (Instant::now(), Duration::ZERO),
            problem: None,
        };
        seen.look_and_tell(|_| panic!("a bug"), &progress);
        let told = seen.problem.clone().unwrap();
        assert!(
            told.contains("still served") && told.contains("bug"),
            "{told}"
        );
        seen.look_and_tell(|_| None, &progress);
        assert_eq!(seen.problem, None);
    }
}
