//! Command: a web server on this machine that finds similar pictures, and a page to look at them.
//!
//! Two kinds of threads: a few that talk to clients and never wait for anything but them, and those that work. A search
//! is one pass over all features for everyone who waits (`scans.rs`); what decodes pictures runs on as many threads as
//! there are processors (`work.rs`).
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | what is held open, and the command from beginning to end |
//! | `listener.rs` | where clients connect |
//! | `connections.rs` | clients that come and go: how many, how slow, and the end |
//! | `paced.rs` | how fast a client has to take an answer |
//! | `routes/` | what each address answers |
//! | `parameters.rs` | the parameters of an address |
//! | `openapi.rs` | the description of the interface for programs |
//! | `guard.rs` | who may ask, and the headers of every answer |
//! | `token.rs` | the secret that clients have to know, where there is one |
//! | `base_path.rs` | the path below which the server stands |
//! | `answer.rs` | errors as JSON |
//! | `groups.rs` | the groups of duplicates about which nothing is decided |
//! | `live.rs` | the collection and the list, read again when they change |
//! | `scans.rs` | one pass over the data for all who wait |
//! | `work.rs` | how many pictures may be in memory, and decoded, at once |
//! | `metrics.rs` | counts and times, for Prometheus |
//! | `page.rs`, `page/` | the page |

mod answer;
mod base_path;
mod connections;
mod groups;
mod guard;
mod listener;
mod live;
mod metrics;
mod openapi;
mod paced;
mod page;
mod parameters;
mod routes;
mod scans;
mod token;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::gethostname;

use crate::inference::embed::QueryModel;
use crate::inference::text::TextModel;
use crate::storage::beneath::MediaDir;
use crate::storage::decisions::DecisionFile;
use crate::support::interrupt::Interrupt;
use crate::support::progress::Progress;
pub use base_path::BasePath;
use groups::Groups;
pub use groups::{Find, Found, MAX_PAIRS, Member, NoGroups};
use guard::Guard;
pub use listener::{Listen, Listener};
use live::Live;
use metrics::Metrics;
use scans::Scans;
pub use token::Token;
use work::Work;
pub use work::{MAX_UPLOAD_BYTES, MAX_UPLOAD_PIXELS};

/// What to serve, and to whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's directory, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// The media directory.
    pub media_dir: PathBuf,
    /// The list of objects.
    pub objects: PathBuf,
    /// Whether to show listed pictures to which symbolic links lead out of the media directory. Default: no.
    pub follow_links: bool,
    /// The path below which all addresses are. Default: the root.
    pub base_path: BasePath,
    /// Whether `X-Forwarded-Prefix` and `X-Forwarded-Proto` are believed, which only a proxy may be able to set.
    /// Default: no.
    pub trust_proxy: bool,
    /// The secret of those who are answered. Default: none, and everybody is.
    pub token: Option<Token>,
    /// Whether decisions about duplicates are taken. Default: no.
    pub allow_changes: bool,
    /// Names of this server apart from `localhost` and the address that it listens on; `*.example.org` are all below
    /// one. Default: none.
    pub allowed_hosts: Vec<String>,
    /// Another site whose pages may ask, such as `http://localhost:3000`. Default: none.
    pub allowed_origin: Option<String>,
    /// Time limit for receiving a request and for producing an answer, and the time over which a client has to read at
    /// least 16 KiB a second. Default: 30 s.
    pub patience: Duration,
}

/// What the answers are made of.
struct App {
    live: Arc<Live>,
    scans: Scans,
    /// The model; none where uploads cannot be answered.
    model: Option<Arc<QueryModel>>,
    /// The same for words, where it knows some.
    text: Option<Arc<TextModel>>,
    work: Work,
    media: MediaDir,
    metrics: Arc<Metrics>,
    guard: Guard,
    base_path: BasePath,
    trust_proxy: bool,
    token: Option<Token>,
    groups: Groups,
    allow_changes: bool,
    patience: Duration,
    progress: Arc<Progress>,
}

/// Serves those who know the token, or everybody where there is none, until a signal ends it. `open_model` and
/// `open_text` get the dimension of the features; where they fail, uploads or words are refused, and all else works.
/// The latter gives `None` where the model knows no words. `find_groups` finds the groups of duplicates.
pub fn serve(
    listener: &Listener,
    options: &Options,
    open_model: impl FnOnce(usize) -> Result<QueryModel>,
    open_text: impl FnOnce(usize) -> Result<Option<TextModel>>,
    find_groups: Find,
    progress: &Arc<Progress>,
    interrupt: &Interrupt,
) -> Result<()> {
    let address = listener.address()?;
    let guard = Guard::new(
        address.map(|address| address.ip()),
        &options.allowed_hosts,
        options.allowed_origin.as_deref(),
    )?;
    let media = match options.follow_links {
        true => MediaDir::open_following_links(&options.media_dir),
        false => MediaDir::open(&options.media_dir),
    };
    let media = media.with_context(|| format!("cannot open {}", options.media_dir.display()))?;
    if let Err(why) = media.check() {
        progress.warn(&format!("no picture can be shown: {why}"));
    }
    let live = Arc::new(Live::open(options, progress)?);
    // What is served now may be replaced, and is not to be kept then.
    let (objects, dimension) = {
        let features = live.features();
        (features.collection.len(), features.collection.dimension())
    };
    let (model, text) = match dimension {
        0 => {
            let why = "there are no features yet; start the server again when there are";
            (Err(why.to_owned()), Ok(None))
        }
        dimension => {
            let model = open_model(dimension).map(Arc::new);
            let model = model.map_err(|error| format!("{error:#}"));
            (model, open_text(dimension))
        }
    };
    if let Err(why) = &model {
        progress.warn(&format!("pictures cannot be uploaded: {why}"));
    }
    if let Err(why) = &text {
        progress.warn(&format!("words cannot be looked up: {why:#}"));
    }
    // Why not has paths in it, and is not for clients to know.
    let model = model.ok();
    let text = text.ok().flatten().map(Arc::new);
    let metrics = Arc::new(Metrics::default());
    let app = Arc::new(App {
        scans: Scans::start(Arc::clone(&live), Arc::clone(&metrics))?,
        live: Arc::clone(&live),
        model,
        text,
        work: Work::new(),
        media,
        metrics,
        guard,
        base_path: options.base_path.clone(),
        trust_proxy: options.trust_proxy,
        token: options.token.clone(),
        groups: Groups::new(find_groups, DecisionFile::of(&options.directory)),
        allow_changes: options.allow_changes,
        patience: options.patience,
        progress: Arc::clone(progress),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    progress.note(&format!(
        "serving {} objects of {}",
        objects,
        options.directory.display()
    ));
    let names = app.guard.names().join(", ");
    match address {
        Some(address) if address.ip().is_loopback() => {}
        _ => progress.note(&format!(
            "answers requests to {names}; --allow-host allows another name or address{}",
            own_name().map_or(String::new(), |name| format!(", such as {name}")),
        )),
    }
    let base_path = match options.base_path.as_str() {
        "" => String::new(),
        path => format!("{path}/"),
    };
    // Whoever reads that it listens may end it.
    interrupt.begin();
    progress.note(&format!("listening on {}{base_path}", listener.shown()?));
    let served = runtime.block_on(async {
        let _watch = tokio::task::spawn(live::watch(live, Arc::clone(progress)));
        connections::serve(&listener.socket, app, interrupt).await
    });
    // Threads that still work on a picture are not waited for: nobody wants the answer any more.
    runtime.shutdown_background();
    served
}

/// The name of this machine.
fn own_name() -> Option<String> {
    gethostname().ok()?.into_string().ok()
}
