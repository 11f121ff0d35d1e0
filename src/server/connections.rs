//! Clients that come and go: how many there may be, how slow, and the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;

use super::listener::Socket;
use super::paced::Paced;
use super::{App, routes};
use crate::support::interrupt::Interrupt;

/// Connections at once; the next client waits until one ends. A page opens six.
const MAX_CONNECTIONS: usize = 512;
/// The most that the lines of a request may take together.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Bytes of an answer that the system holds for a client, of which it lets a third go before it takes more: few enough
/// for [`Paced`] to see how fast the client is. (It would take four megabytes, which a slow client empties in minutes.)
const SEND_BUFFER: usize = 128 << 10;
/// How long answers that are on their way may still take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// Between two looks at whether a signal has come.
const SIGNAL_POLL: Duration = Duration::from_millis(50);

/// Answers until a signal comes, and then what was asked by then.
pub async fn serve(socket: &Socket, app: Arc<App>, interrupt: &Interrupt) -> Result<()> {
    let listener = Accepting::of(socket)?;
    let patience = app.patience;
    let metrics = Arc::clone(&app.metrics);
    let router = routes::router(app);
    let mut http = http1::Builder::new();
    // Counts from the end of the last answer, so that a connection on which nothing is asked ends as well.
    http.timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD_BYTES);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let open = GracefulShutdown::new();
    let accept = async {
        loop {
            let place = Arc::clone(&places).acquire_owned().await?;
            let stream = match listener.accept().await {
                Ok(stream) => stream,
                // The client has gone again, or there are no file descriptors for now.
                Err(_) => {
                    sleep(SIGNAL_POLL).await;
                    continue;
                }
            };
            let stream = TokioIo::new(Paced::new(stream, patience));
            let service = TowerToHyperService::new(router.clone());
            let connection = open.watch(http.serve_connection(stream, service));
            let counted = metrics.connection();
            tokio::spawn(async move {
                // A client that breaks off, or does not speak HTTP, has been answered as far as possible.
                let _ = connection.await;
                drop((place, counted));
            });
        }
    };
    let stopped = async {
        while interrupt.signal().is_none() {
            sleep(SIGNAL_POLL).await;
        }
    };
    tokio::select! {
        failed = accept => failed,
        () = stopped => {
            drop(listener);
            let _ = timeout(LAST_ANSWERS, open.shutdown()).await;
            Ok(())
        }
    }
}

/// A socket in the hands of tokio.
enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accepting {
    fn of(socket: &Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Accepting::Tcp(TcpListener::from_std(listener.try_clone()?)?)
            }
            Socket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Accepting::Unix(UnixListener::from_std(listener.try_clone()?)?)
            }
        })
    }

    async fn accept(&self) -> io::Result<Either<TcpStream, UnixStream>> {
        match self {
            Accepting::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER)?;
                // It makes answers faster, and is not needed.
                let _ = stream.set_nodelay(true);
                Ok(Either::Left(stream))
            }
            Accepting::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER)?;
                Ok(Either::Right(stream))
            }
        }
    }
}
