//! One pass over the data for all who wait.
//!
//! A pass reads every feature from memory, which takes as long for sixteen queries as for one. So queries do not each
//! start their own: a query that comes during a pass waits for the next, together with the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use std::{io, thread};

use tokio::sync::oneshot;

use super::answer::Problem;
use super::live::{Features, Live};
use super::metrics::Metrics;
use crate::similarity::neighbours::{self, Query};
use crate::similarity::scan::{Metric, Neighbour};
use crate::storage::folder::Folder;

/// Queries in one pass; what waits beyond that goes into the next. It bounds how long a pass takes.
const MAX_QUERIES: usize = 64;
/// How long a pass waits for as many queries as there were in the last. Clients that have just got their answers ask
/// again within a millisecond; without this, the first of them would have a pass to itself and all others would wait
/// for it.
const GATHER: Duration = Duration::from_millis(2);

/// The way to the thread that searches.
pub struct Scans {
    queue: Sender<Waiting>,
}

/// What is near to a feature?
pub struct Question {
    /// None for a picture that is not an object.
    pub object_id: Option<String>,
    /// `[dimension]`.
    pub feature: Vec<f32>,
    /// Neighbours that are wanted.
    pub limit: usize,
    pub method: Method,
}

/// How neighbours are found; those who ask for the same share a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// All of them.
    Exact(Metric),
    /// All of them below a folder of the list.
    Within(Metric, Folder),
    /// Through the index.
    Approximate(Metric),
}

struct Waiting {
    question: Question,
    /// None where the search failed.
    answer: oneshot::Sender<Option<Vec<Neighbour>>>,
}

impl Scans {
    /// Starts the thread; it ends with the last of those who can ask.
    pub fn start(live: Arc<Live>, metrics: Arc<Metrics>) -> io::Result<Self> {
        // No bound: a connection asks one question at a time, and their number is bounded.
        let (queue, questions) = mpsc::channel();
        thread::Builder::new()
            .name("scan".into())
            .spawn(move || answer_all(&questions, &live, &metrics))?;
        Ok(Scans { queue })
    }

    /// The nearest objects to a feature, and before all others the object whose feature it is.
    ///
    /// # Errors
    /// When the features, or their index, have meanwhile become others, so that the client may ask again; and when the
    /// search failed, as it would again.
    pub async fn nearest(&self, question: Question) -> Result<Vec<Neighbour>, Problem> {
        let (answer, answered) = oneshot::channel();
        let failed = || Problem::internal("the search failed: a bug in the program");
        (self.queue.send(Waiting { question, answer })).map_err(|_| failed())?;
        (answered.await.map_err(|_| Problem::busy())?).ok_or_else(failed)
    }
}

fn answer_all(questions: &Receiver<Waiting>, live: &Live, metrics: &Metrics) {
    let mut last = 1;
    while let Ok(first) = questions.recv() {
        let mut waiting = vec![first];
        let deadline = Instant::now() + GATHER;
        while waiting.len() < MAX_QUERIES {
            let next = match waiting.len() < last {
                true => questions
                    .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                    .ok(),
                false => questions.try_recv().ok(),
            };
            let Some(next) = next else { break };
            waiting.push(next);
        }
        last = waiting.len();
        let features = live.features();
        let dimension = features.collection.dimension();
        // Some have gone in the meantime.
        waiting.retain(|one| one.question.feature.len() == dimension && !one.answer.is_closed());
        while let Some(first) = waiting.first() {
            let method = first.question.method.clone();
            let together = waiting.extract_if(.., |one| one.question.method == method);
            let together: Vec<Waiting> = together.collect();
            answer_together(together, &method, live, &features, metrics);
        }
    }
}

/// Answers questions of one method in one pass.
fn answer_together(
    waiting: Vec<Waiting>,
    method: &Method,
    live: &Live,
    features: &Features,
    metrics: &Metrics,
) {
    let queries = waiting.iter().map(|Waiting { question, .. }| {
        let itself = (question.object_id.as_deref()).and_then(|id| features.find(id));
        Query {
            feature: &question.feature,
            // The object may have got another feature since it was asked for.
            itself: (itself.filter(|(_, feature)| **feature == *question.feature))
                .map(|(position, _)| position),
            k: question.limit,
        }
    });
    let queries: Vec<Query<'_>> = queries.collect();
    let started = Instant::now();
    let collection = &features.collection;
    let scan = || match method {
        Method::Exact(metric) => Some(neighbours::neighbours(
            collection,
            &queries,
            neighbours::Method::Exact(*metric),
        )),
        Method::Within(metric, folder) => {
            let media = live.media();
            let inside = collection.listed_where(&media, |entry| folder.holds(entry));
            let method = neighbours::Method::Among(*metric, &inside);
            Some(neighbours::neighbours(collection, &queries, method))
        }
        Method::Approximate(metric) => {
            // There was one when this was asked; the features may be others by now.
            let index = live.index(features, *metric).ok()?;
            let method = neighbours::Method::Approximate(&index);
            Some(neighbours::neighbours(collection, &queries, method))
        }
    };
    // A panic would end this thread, and with it every search from then on; like this, those who wait are told.
    let found = catch_unwind(AssertUnwindSafe(scan));
    if let Ok(Some(_)) = found {
        metrics.scanned(waiting.len(), started.elapsed());
    }
    tell(waiting, found);
}

/// Gives those who wait what was found, if there was something to search in and the search did not panic.
fn tell(waiting: Vec<Waiting>, found: thread::Result<Option<Vec<Vec<Neighbour>>>>) {
    let found = match found {
        Ok(None) => return,
        Ok(Some(found)) => found.into_iter().map(Some).collect(),
        Err(_) => vec![None; waiting.len()],
    };
    for (waiting, neighbours) in waiting.into_iter().zip(found) {
        // Whoever asked may have gone.
        let _ = waiting.answer.send(neighbours);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;

    use axum::response::IntoResponse;

    use crate::server::metrics::Gauges;
    use crate::server::{BasePath, Options};
    use crate::storage::npy;
    use crate::storage::object_id::{IdKind, ObjectId};
    use crate::support::progress::Progress;

    /// Objects `0000.jpg`, `0001.jpg`, and so on, of which each two have one feature.
    pub fn live(root: &std::path::Path, count: usize) -> Live {
        for number in 0..count {
            let id = ObjectId::new(IdKind::Name, &format!("{number:04}.jpg")).unwrap();
            let path = root.join("model").join(id.feature_path());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut bytes = Vec::new();
            npy::append_feature(&[(number / 2) as f32], &mut bytes);
            fs::write(path, bytes).unwrap();
        }
        let list: String = (0..count)
            .map(|number| format!("{number:04}.jpg\n"))
            .collect();
        fs::write(root.join("objects.txt"), list).unwrap();
        let options = Options {
            directory: root.join("model"),
            media_dir: root.to_owned(),
            objects: root.join("objects.txt"),
            follow_links: false,
            base_path: BasePath::default(),
            trust_proxy: false,
            token: None,
            allow_changes: false,
            allowed_hosts: Vec::new(),
            allowed_origin: None,
            patience: Duration::from_secs(30),
        };
        Live::open(&options, &Progress::new(true)).unwrap()
    }

    #[test]
    fn all_who_wait_share_a_scan_and_each_gets_what_it_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let (live, metrics) = (live(root.path(), 100), Metrics::default());
        let (queue, questions) = mpsc::channel();
        let is_object = |number: usize| !number.is_multiple_of(5);
        let ask_by = |metric, number: usize, dimension| {
            let (answer, answered) = oneshot::channel();
            // Some are asked for as objects, some with a picture of the same feature.
            let question = Question {
                object_id: is_object(number).then(|| format!("{number:04}.jpg")),
                feature: vec![(number / 2) as f32; dimension],
                limit: 1 + number % 3,
                method: Method::Exact(metric),
            };
            queue.send(Waiting { question, answer }).unwrap();
            answered
        };
        let ask = |number, dimension| ask_by(Metric::Euclidean, number, dimension);
        let mut answers: Vec<_> = (0..MAX_QUERIES + 6).map(|number| ask(number, 1)).collect();
        // One asks for a feature of another dimension; one has gone.
        let other = ask(7, 2);
        drop(ask(8, 1));
        // One asks for another metric, by which all features but zero are equal.
        let mut by_cosine = ask_by(Metric::Cosine, 7, 1);
        drop(queue);
        answer_all(&questions, &live, &metrics);
        for (number, answer) in answers.iter_mut().enumerate() {
            let neighbours = answer.try_recv().unwrap().unwrap();
            let (even, odd) = (number / 2 * 2, number / 2 * 2 + 1);
            let first = if is_object(number) { number } else { even };
            let second = even + odd - first;
            let expected = [first, second].map(|number| (format!("{number:04}.jpg"), 0.0));
            assert_eq!(neighbours.len(), 1 + number % 3);
            for (found, expected) in neighbours.into_iter().zip(expected) {
                assert_eq!((found.object_id, found.distance), expected);
            }
        }
        let neighbours = by_cosine.try_recv().unwrap().unwrap();
        let ids: Vec<String> = neighbours.into_iter().map(|one| one.object_id).collect();
        assert_eq!(ids, ["0007.jpg", "0002.jpg"]);
        assert!(other.blocking_recv().is_err());
        let text = metrics.text(&Gauges {
            objects: 0,
            shards: 0,
            uploads: 0,
        });
        assert!(text.contains("\nsimsearch_scans_total 3\n"), "{text}");
        let asked = format!("\nsimsearch_queries_total {}\n", MAX_QUERIES + 7);
        assert!(text.contains(&asked), "{text}");
    }

    #[test]
    fn a_search_that_failed_is_no_reason_to_ask_again() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        for (found, status) in [(Err(Box::new("a bug") as _), 500), (Ok(None), 503)] {
            let (queue, questions) = mpsc::channel();
            let scans = Scans { queue };
            let question = Question {
                object_id: None,
                feature: vec![0.0],
                limit: 1,
                method: Method::Exact(Metric::Euclidean),
            };
            let problem = thread::scope(|scope| {
                scope.spawn(move || tell(vec![questions.recv().unwrap()], found));
                runtime.block_on(scans.nearest(question)).unwrap_err()
            });
            assert_eq!(problem.into_response().status(), status);
        }
    }
}
