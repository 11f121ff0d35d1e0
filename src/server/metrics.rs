//! Counts and times, in the text format that Prometheus reads.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub use prometheus_text::CONTENT_TYPE;

/// What has happened since the server began.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    objects: Gauge,
    shards: Gauge,
    uploads: Gauge,
    connections: Gauge,
    scans: Counter,
    scan_seconds: Counter<f64, AtomicU64>,
    queries: Counter,
    request_seconds: Family<Request, Histogram>,
}

/// What was asked, and the status of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    endpoint: &'static str,
    status: u16,
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
        self.0.connections.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("simsearch"),
            objects: Gauge::default(),
            shards: Gauge::default(),
            uploads: Gauge::default(),
            connections: Gauge::default(),
            scans: Counter::default(),
            scan_seconds: Counter::default(),
            queries: Counter::default(),
            // From 1 ms to 16 s: an answer takes from a few milliseconds to the patience of a client.
            request_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 15))
            }),
        };
        let registry = &mut metrics.registry;
        for (name, help, gauge) in [
            ("objects", "Objects that are searched", &metrics.objects),
            ("shards", "Shards that are open", &metrics.shards),
            ("connections", "Open connections", &metrics.connections),
            (
                "uploads",
                "Uploads that are received or decoded",
                &metrics.uploads,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        registry.register("scans", "Passes over all features", metrics.scans.clone());
        registry.register(
            "scan_seconds",
            "Time that they took",
            metrics.scan_seconds.clone(),
        );
        registry.register(
            "queries",
            "Queries that they answered",
            metrics.queries.clone(),
        );
        registry.register(
            "request_seconds",
            "Requests and the time that they took, by endpoint and status",
            metrics.request_seconds.clone(),
        );
        metrics
    }
}

impl Metrics {
    pub fn connection(self: &Arc<Self>) -> Connection {
        self.connections.inc();
        Connection(Arc::clone(self))
    }

    pub fn answered(&self, endpoint: &'static str, status: u16, took: Duration) {
        let request = Request { endpoint, status };
        let times = self.request_seconds.get_or_create(&request);
        times.observe(took.as_secs_f64());
    }

    pub fn scanned(&self, queries: usize, took: Duration) {
        self.scans.inc();
        self.scan_seconds.inc_by(took.as_secs_f64());
        self.queries.inc_by(queries as u64);
    }

    /// All of it as text, of the type [`CONTENT_TYPE`].
    pub fn text(&self, gauges: &Gauges) -> String {
        for (gauge, value) in [
            (&self.objects, gauges.objects),
            (&self.shards, gauges.shards),
            (&self.uploads, gauges.uploads),
        ] {
            gauge.set(value as i64);
        }
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry).expect("a string takes all text");
        text
    }
}
