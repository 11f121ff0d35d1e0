//! The arguments of `serve`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use simsearch::inference::ModelFile;
use simsearch::inference::embed::{self, QueryModel};
use simsearch::server;
use simsearch::storage::model_dir::model_directory;
use simsearch::support::interrupt::Interrupt;
use simsearch::support::progress::Progress;

use super::{ModelArguments, given, places};

#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Directory of the features, the same as for `extract`.
    #[arg(long, env = "FEATURE_DIR", value_name = "DIR")]
    feature_dir: PathBuf,
    /// Directory of the pictures.
    #[arg(long, env = "MEDIA_DIR", value_name = "DIR")]
    media_dir: PathBuf,
    /// List of objects [default: MEDIA_DIR/objects.txt].
    #[arg(long, value_name = "FILE")]
    objects: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// Address and port to listen on; port 0 is any that is free.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    listen: SocketAddr,
    /// Another name of this server, which browsers may use for it; may be repeated.
    #[arg(long = "allow-host", value_name = "HOST")]
    allowed_hosts: Vec<String>,
    /// Another site whose pages may ask, such as http://localhost:3000 [default: none].
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    allowed_origin: Option<String>,
    /// Seconds that a client may take to send a request, and an answer may take to be made; of a long answer the client has
    /// to take 16 KiB a second over this time.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

/// An address and a port. The one name that stands for an address is looked up nowhere.
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
    let named = given(arguments.model.model);
    let directory = model_directory(&arguments.feature_dir, named.as_deref())?;
    let objects = arguments.objects;
    let options = server::Options {
        directory: directory.clone(),
        objects: objects.unwrap_or_else(|| arguments.media_dir.join("objects.txt")),
        media_dir: arguments.media_dir,
        listen: arguments.listen,
        allowed_hosts: arguments.allowed_hosts,
        allowed_origin: arguments.allowed_origin,
        patience: Duration::from_secs(arguments.timeout),
    };
    let query_options = embed::Options {
        output_name: arguments.model.output_name,
        device: arguments.model.device,
        max_pixels: server::MAX_UPLOAD_PIXELS,
    };
    let places = places(arguments.model.runtime);
    let open_model = |length| {
        let model = ModelFile::read(named.as_deref().filter(|path| path.is_file()))?;
        let note = |line: &str| progress.note(line);
        QueryModel::open(&directory, length, model, &places, &query_options, &note)
    };
    server::serve(&options, open_model, &progress, &interrupt)?;
    Ok(ExitCode::SUCCESS)
}
