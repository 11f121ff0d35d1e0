//! The arguments of `serve`.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use simsearch::inference::embed::{self, QueryModel};
use simsearch::inference::text::TextModel;
use simsearch::inference::{LazyRuntime, ModelFile};
use simsearch::server;
use simsearch::storage::model_dir::model_directory;
use simsearch::support::interrupt::Interrupt;
use simsearch::support::progress::Progress;

use super::shared::{FeatureDirArgument, MediaArguments, ModelArguments};

#[derive(Debug, Args)]
pub struct ServeArguments {
    #[command(flatten)]
    features: FeatureDirArgument,
    #[command(flatten)]
    media: MediaArguments,
    #[command(flatten)]
    model: ModelArguments,
    /// Show the listed pictures to which symbolic links lead out of the media directory, as `list --follow-links` lists them.
    #[arg(long)]
    follow_links: bool,
    /// Address and port to listen on; port 0 means any free port.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    listen: SocketAddr,
    /// Another name under which browsers may reach this server; may be repeated.
    #[arg(long = "allow-host", value_name = "HOST")]
    allowed_hosts: Vec<String>,
    /// Another site whose pages may send requests, such as http://localhost:3000 [default: none].
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    allowed_origin: Option<String>,
    /// Time limit in seconds for receiving a request and producing an answer. Clients must read a
    /// long answer at 16 KiB/s or more, measured over this time.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

/// An address and a port. `localhost` is the only name that is understood, and it is not looked up.
fn address(text: &str) -> Result<SocketAddr, String> {
    let local = text
        .strip_prefix("localhost:")
        .and_then(|port| port.parse().ok());
    match local {
        Some(port) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        None => (text.parse())
            .map_err(|_| "must be an address and a port, such as 127.0.0.1:8080 or [::]:80".into()),
    }
}

pub fn run(arguments: ServeArguments) -> Result<ExitCode> {
    let progress = Arc::new(Progress::new(false));
    let interrupt = Interrupt::install().context("cannot catch signals")?;
    let named = arguments.model.path();
    let directory = model_directory(&arguments.features.feature_dir, named)?;
    let (media_dir, objects) = arguments.media.media_and_objects();
    let options = server::Options {
        directory: directory.clone(),
        media_dir,
        objects,
        follow_links: arguments.follow_links,
        listen: arguments.listen,
        allowed_hosts: arguments.allowed_hosts,
        allowed_origin: arguments.allowed_origin,
        patience: Duration::from_secs(arguments.timeout),
    };
    let runtime = &arguments.model.runtime;
    let query_options = embed::Options {
        output_name: runtime.output_name.clone(),
        device: runtime.device,
        max_pixels: server::MAX_UPLOAD_PIXELS,
    };
    let lazy_runtime = LazyRuntime::new(runtime.places());
    let model = arguments.model.file();
    let open_model = |length| {
        let model = ModelFile::read(model)?;
        let note = |line: &str| progress.note(line);
        QueryModel::open(
            &directory,
            length,
            model,
            &lazy_runtime,
            &query_options,
            &note,
        )
    };
    let open_text = |length| match model.map(ModelFile::for_words) {
        Some(Ok(_)) => TextModel::open(&directory, length, model, &lazy_runtime).map(Some),
        _ => Ok(None),
    };
    server::serve(&options, open_model, open_text, &progress, &interrupt)?;
    Ok(ExitCode::SUCCESS)
}
