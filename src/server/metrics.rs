//! Counts and times, in the text format that Prometheus reads.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::lock::lock;

/// What has happened since the server began.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By what was asked and the status of the answer.
    requests: Mutex<BTreeMap<(&'static str, u16), Requests>>,
    connections: AtomicU64,
    scans: AtomicU64,
    queries: AtomicU64,
    scan_microseconds: AtomicU64,
}

#[derive(Debug, Default)]
struct Requests {
    count: u64,
    seconds: f64,
}

/// What the server knows without counting.
pub struct Gauges {
    pub objects: usize,
    pub shards: usize,
    pub uploads: usize,
}

/// A connection that counts for as long as this lives.
pub struct Connection(Arc<Metrics>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub fn connection(self: &Arc<Self>) -> Connection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connection(Arc::clone(self))
    }

    pub fn answered(&self, endpoint: &'static str, status: u16, took: Duration) {
        let mut requests = lock(&self.requests);
        let so_far = requests.entry((endpoint, status)).or_default();
        so_far.count += 1;
        so_far.seconds += took.as_secs_f64();
    }

    pub fn scanned(&self, queries: usize, took: Duration) {
        self.scans.fetch_add(1, Ordering::Relaxed);
        self.queries.fetch_add(queries as u64, Ordering::Relaxed);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.scan_microseconds
            .fetch_add(microseconds, Ordering::Relaxed);
    }

    /// All of it as text.
    pub fn text(&self, gauges: &Gauges) -> String {
        let [scans, queries, connections] = [&self.scans, &self.queries, &self.connections]
            .map(|count| count.load(Ordering::Relaxed) as f64);
        let scan_seconds = self.scan_microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        let mut text = String::new();
        for (name, kind, help, value) in [
            (
                "objects",
                "gauge",
                "Objects that are searched.",
                gauges.objects as f64,
            ),
            (
                "shards",
                "gauge",
                "Shards that are open.",
                gauges.shards as f64,
            ),
            ("connections", "gauge", "Open connections.", connections),
            (
                "uploads",
                "gauge",
                "Uploads in hand.",
                gauges.uploads as f64,
            ),
            ("scans_total", "counter", "Passes over all features.", scans),
            (
                "scan_seconds_total",
                "counter",
                "Time that they took.",
                scan_seconds,
            ),
            (
                "queries_total",
                "counter",
                "Queries that they answered.",
                queries,
            ),
        ] {
            head(&mut text, name, kind, help);
            let _ = writeln!(text, "simsearch_{name} {value}");
        }
        let requests = lock(&self.requests);
        head(
            &mut text,
            "request_seconds",
            "summary",
            "Requests and the time that they took, by endpoint and status.",
        );
        for ((endpoint, status), Requests { count, seconds }) in &*requests {
            let labels = format!("{{endpoint=\"{endpoint}\",status=\"{status}\"}}");
            let _ = writeln!(text, "simsearch_request_seconds_sum{labels} {seconds}");
            let _ = writeln!(text, "simsearch_request_seconds_count{labels} {count}");
        }
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        text,
        "# HELP simsearch_{name} {help}\n# TYPE simsearch_{name} {kind}"
    );
}
