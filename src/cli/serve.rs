//! The arguments of `serve`.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use simsearch::commands::duplicates::{self, Keep, UnknownLimit};
use simsearch::inference::embed::{self, QueryModel};
use simsearch::inference::text::TextModel;
use simsearch::inference::{LazyRuntime, ModelFile};
use simsearch::server::{self, BasePath, Found, Listen, Listener, NoGroups, Token};
use simsearch::similarity::scan::Metric;
use simsearch::storage::model_dir::model_directory;
use simsearch::storage::object_list::ObjectList;
use simsearch::support::interrupt::Interrupt;
use simsearch::support::progress::Progress;
use simsearch::support::usage::WrongUsage;

use super::shared::{FeatureDirArgument, MediaArguments, ModelArguments};

#[derive(Debug, Args)]
pub struct ServeArguments {
    #[command(flatten)]
    features: FeatureDirArgument,
    #[command(flatten)]
    media: MediaArguments,
    #[command(flatten)]
    model: ModelArguments,
    /// Show the listed pictures to which symbolic links lead out of the media directory, as `list --follow-links` lists
    /// them.
    #[arg(long)]
    follow_links: bool,
    /// Address and port to listen on, where port 0 means any free port, or `unix:PATH` for a Unix socket [default: the
    /// socket that systemd passes on, or 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen)]
    listen: Option<Listen>,
    /// Path below which the page and all other addresses are, such as /photos, where a proxy passes it on [default:
    /// none].
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true, value_parser = base_path)]
    base_path: BasePath,
    /// Believe the headers X-Forwarded-Prefix, with which a proxy says which path it took off, and X-Forwarded-Proto.
    /// Only for servers that nobody reaches but through one that sets them.
    #[arg(long)]
    trust_proxy: bool,
    /// File with a secret in one line, 16 characters or more: only those who know it are answered. A program sends it
    /// as `Authorization: Bearer TOKEN`; a browser opens /?token=TOKEN once and keeps a cookie.
    #[arg(long, value_name = "FILE")]
    auth_token_file: Option<PathBuf>,
    /// Take decisions about duplicates from the page, and remember them beside the model's directory. No picture is
    /// touched.
    #[arg(long)]
    allow_changes: bool,
    /// Another name under which browsers may reach this server, such as pictures.example.org, or *.example.org for all
    /// names below one; may be repeated.
    #[arg(long = "allow-host", value_name = "HOST")]
    allowed_hosts: Vec<String>,
    /// Another site whose pages may send requests, such as http://localhost:3000 [default: none].
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    allowed_origin: Option<String>,
    /// Time limit in seconds for receiving a request and producing an answer. Clients must read a
    /// long answer at 16 KiB/s or more, measured over this time.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

/// An address and a port, or a Unix socket. `localhost` is the only name that is understood, and it is not looked up.
fn listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Listen::Unix(PathBuf::from(path)));
    }
    let local = text
        .strip_prefix("localhost:")
        .and_then(|port| port.parse().ok());
    match local {
        Some(port) => Ok(Listen::Address((Ipv4Addr::LOCALHOST, port).into())),
        None => (text.parse().map(Listen::Address)).map_err(|_| {
            "must be an address and a port, such as 127.0.0.1:8080 or [::]:80, or unix:PATH".into()
        }),
    }
}

/// Empty where there is none.
fn base_path(text: &str) -> Result<BasePath, String> {
    match text {
        "" => Ok(BasePath::default()),
        _ => text.parse(),
    }
}

/// The socket that systemd passes on, or the one that is asked for.
fn listener(named: Option<Listen>) -> Result<Listener> {
    let Some(inherited) = Listener::inherited()? else {
        let default = Listen::Address((Ipv4Addr::LOCALHOST, 8080).into());
        return Listener::open(&named.unwrap_or(default));
    };
    ensure!(
        named.is_none(),
        "systemd passes on a socket: leave out --listen, or start the program without the socket"
    );
    Ok(inherited)
}

pub fn run(arguments: ServeArguments) -> Result<ExitCode> {
    let (media_dir, objects) = arguments.media.media_and_objects();
    ensure!(
        objects != Path::new(ObjectList::STDIN),
        WrongUsage("`serve` reads the list again and again: --objects needs a file".into())
    );
    let listener = listener(arguments.listen)?;
    let progress = Arc::new(Progress::new(false));
    let token = arguments.auth_token_file;
    let token = token.map(|path| Token::read(&path, |line| progress.warn(line)));
    let token = token.transpose()?;
    let interrupt = Interrupt::install().context("cannot catch signals")?;
    let named = arguments.model.named();
    let directory = model_directory(&arguments.features.feature_dir, named)?;
    let options = server::Options {
        directory: directory.clone(),
        media_dir,
        objects,
        follow_links: arguments.follow_links,
        base_path: arguments.base_path,
        trust_proxy: arguments.trust_proxy,
        token,
        allow_changes: arguments.allow_changes,
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
    // The server asks for the model first.
    let is_checked = Cell::new(false);
    let open_model = |length| {
        let model = ModelFile::read(model)?;
        let note = |line: &str| progress.note(line);
        let opened = QueryModel::open(
            &directory,
            length,
            model,
            &lazy_runtime,
            &query_options,
            &note,
        )?;
        is_checked.set(true);
        Ok(opened)
    };
    let open_text = |length| match (model.map(ModelFile::for_words), is_checked.get()) {
        (Some(Ok(_)), true) => {
            TextModel::open_checked(&directory, length, model, &lazy_runtime).map(Some)
        }
        (Some(Ok(_)), false) => TextModel::open(&directory, length, model, &lazy_runtime).map(Some),
        _ => Ok(None),
    };
    let places = (
        options.directory.clone(),
        options.media_dir.clone(),
        options.objects.clone(),
    );
    let find_groups: server::Find = Box::new(move |max_distance, inside| {
        let (directory, media_dir, objects) = places.clone();
        find_groups(&duplicates::Options {
            directory,
            metric: Metric::Euclidean,
            max_distance,
            most_pairs: server::MAX_PAIRS,
            media: Some((media_dir, objects)),
            inside: Some(inside.clone()),
            within: None,
            against: None,
            not_same_folder: false,
            linked: false,
            decided: false,
            keep: Keep::default(),
            html: None,
        })
    });
    server::serve(
        &listener,
        &options,
        open_model,
        open_text,
        find_groups,
        &progress,
        &interrupt,
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The groups of duplicates, as the server shows them.
fn find_groups(options: &duplicates::Options) -> Result<Found, NoGroups> {
    let found = duplicates::duplicates(options, &Progress::new(true));
    let found = found.map_err(|error| {
        if error.is::<UnknownLimit>() {
            return NoGroups::UnknownLimit;
        }
        match error.downcast() {
            Ok(too_many) => NoGroups::TooManyPairs(too_many),
            Err(error) => NoGroups::Failed(Arc::new(error)),
        }
    })?;
    let groups = found.groups.into_iter().map(|group| {
        let members = group.members.into_iter().map(|member| server::Member {
            object_id: member.object_id,
            path: member.path,
            distance: member.distance,
            width: member.file.width,
            height: member.file.height,
            bytes: member.file.bytes,
        });
        members.collect()
    });
    Ok(Found {
        max_distance: found.max_distance,
        groups: groups.collect(),
    })
}
