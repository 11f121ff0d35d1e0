//! One pass over the data for all who wait.
//!
//! A pass reads every feature from memory, which takes as long for sixteen queries as for one. So queries do not each
//! start their own: whoever asks while a pass is under way waits for the next, together with the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use std::{io, thread};

use tokio::sync::oneshot;

use super::live::Live;
use super::metrics::Metrics;
use crate::similarity::scan::{Metric, Neighbour, itself_first, nearest};

/// Queries in one pass; what waits beyond that goes into the next. It bounds how long a pass takes.
const MAX_QUERIES: usize = 64;
/// How long a pass waits for as many queries as there were in the last. Clients that have just got their answers ask again
/// within a millisecond; without this, the first of them would have a pass to itself and all others would wait for it.
const GATHER: Duration = Duration::from_millis(2);

/// The way to the thread that searches.
pub struct Scans {
    queue: Sender<Question>,
}

struct Question {
    /// None for a picture that is no object.
    object_id: Option<String>,
    feature: Vec<f32>,
    limit: usize,
    answer: oneshot::Sender<Vec<Neighbour>>,
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

    /// The nearest objects to a feature, and before all others the object whose feature it is; none where the features have
    /// meanwhile become others, of another dimension, or where the search failed.
    pub async fn nearest(
        &self,
        object_id: Option<String>,
        feature: Vec<f32>,
        limit: usize,
    ) -> Option<Vec<Neighbour>> {
        let (answer, answered) = oneshot::channel();
        let question = Question {
            object_id,
            feature,
            limit,
            answer,
        };
        self.queue.send(question).ok()?;
        answered.await.ok()
    }
}

fn answer_all(questions: &Receiver<Question>, live: &Live, metrics: &Metrics) {
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
        waiting
            .retain(|question| question.feature.len() == dimension && !question.answer.is_closed());
        let queries: Vec<f32> = (waiting.iter())
            .flat_map(|question| question.feature.iter().copied())
            .collect();
        let limit = waiting.iter().map(|question| question.limit).max();
        let started = Instant::now();
        let scan = || {
            let (collection, limit) = (&features.collection, limit.unwrap_or(0));
            nearest(collection, &queries, limit, Metric::Euclidean)
        };
        // A panic would end this thread, and with it every search from then on; like this, those who wait are told.
        let Ok(found) = catch_unwind(AssertUnwindSafe(scan)) else {
            continue;
        };
        metrics.scanned(waiting.len(), started.elapsed());
        for (question, mut neighbours) in waiting.into_iter().zip(found) {
            neighbours.truncate(question.limit);
            let itself = (question.object_id.as_deref()).and_then(|id| features.find(id));
            match itself {
                // The object may have got another feature since it was asked for.
                Some((position, feature)) if *feature == *question.feature => {
                    let collection = &features.collection;
                    itself_first(collection, position, &mut neighbours, question.limit);
                }
                _ => {}
            }
            // Whoever asked may have gone.
            let _ = question.answer.send(neighbours);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::server::Options;
    use crate::server::metrics::Gauges;
    use crate::storage::npy;
    use crate::storage::object::ObjectId;
    use crate::support::progress::Progress;

    /// Objects `0000.jpg`, `0001.jpg`, and so on, of which each two have one feature.
    fn live(root: &std::path::Path, count: usize) -> Live {
        for number in 0..count {
            let id = ObjectId::new(&format!("{number:04}.jpg")).unwrap();
            let path = root.join("model").join(id.feature_path());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut bytes = Vec::new();
            npy::append_feature(&[(number / 2) as f32], &mut bytes);
            fs::write(path, bytes).unwrap();
        }
        fs::write(root.join("objects.txt"), "").unwrap();
        let options = Options {
            directory: root.join("model"),
            media_dir: root.to_owned(),
            objects: root.join("objects.txt"),
            listen: ([127, 0, 0, 1], 0).into(),
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
        let ask = |number: usize, dimension| {
            let (answer, answered) = oneshot::channel();
            // Some are asked for as objects, some with a picture of the same feature.
            let question = Question {
                object_id: is_object(number).then(|| format!("{number:04}.jpg")),
                feature: vec![(number / 2) as f32; dimension],
                limit: 1 + number % 3,
                answer,
            };
            queue.send(question).unwrap();
            answered
        };
        let mut answers: Vec<_> = (0..MAX_QUERIES + 6).map(|number| ask(number, 1)).collect();
        // One asks for a feature of another dimension; one has gone.
        let other = ask(7, 2);
        drop(ask(8, 1));
        drop(queue);
        answer_all(&questions, &live, &metrics);
        for (number, answer) in answers.iter_mut().enumerate() {
            let neighbours = answer.try_recv().unwrap();
            let (even, odd) = (number / 2 * 2, number / 2 * 2 + 1);
            let first = if is_object(number) { number } else { even };
            let second = even + odd - first;
            let expected = [first, second].map(|number| (format!("{number:04}.jpg"), 0.0));
            assert_eq!(neighbours.len(), 1 + number % 3);
            for (found, expected) in neighbours.into_iter().zip(expected) {
                assert_eq!((found.object_id, found.distance), expected);
            }
        }
        assert!(other.blocking_recv().is_err());
        let text = metrics.text(&Gauges {
            objects: 0,
            shards: 0,
            uploads: 0,
        });
        assert!(text.contains("\nsimsearch_scans_total 2\n"), "{text}");
        let asked = format!("\nsimsearch_queries_total {}\n", MAX_QUERIES + 6);
        assert!(text.contains(&asked), "{text}");
    }
}
