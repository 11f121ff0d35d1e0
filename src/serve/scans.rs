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
use crate::nearest::{Metric, Neighbour, nearest};

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

    /// The nearest objects to a feature; none where the features have meanwhile become others, of another length.
    pub async fn nearest(&self, feature: Vec<f32>, limit: usize) -> Option<Vec<Neighbour>> {
        let (answer, answered) = oneshot::channel();
        let question = Question {
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
        let length = features.collection.length();
        // Some have gone in the meantime.
        waiting.retain(|question| question.feature.len() == length && !question.answer.is_closed());
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
            // Whoever asked may have gone.
            let _ = question.answer.send(neighbours);
        }
    }
}
