//! A connection that ends when its client reads an answer too slowly.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How fast a client has to read an answer that waits for it, in bytes a second.
const LEAST_RATE: usize = 16 << 10;

/// Writing fails once the client has read less than [`LEAST_RATE`] over some time.
pub struct Paced<S> {
    stream: S,
    patience: Duration,
    period: Option<Period>,
}

/// Begins when an answer first has to wait for its client; the next request ends it.
struct Period {
    end: Pin<Box<Sleep>>,
    /// Bytes that were taken in it.
    taken: usize,
}

impl<S> Paced<S> {
    /// `patience` is the time over which the rate is looked at.
    pub fn new(stream: S, patience: Duration) -> Self {
        Paced {
            stream,
            patience,
            period: None,
        }
    }

    /// Passes on how far a write has come, unless that is not far enough.
    fn pace(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match (&written, &mut self.period) {
            (Poll::Ready(Ok(count)), Some(period)) => period.taken += count,
            (Poll::Ready(_), _) => {}
            (Poll::Pending, period) => {
                let patience = self.patience;
                let anew = || Period {
                    end: Box::pin(sleep(patience)),
                    taken: 0,
                };
                let least = (LEAST_RATE as f64 * patience.as_secs_f64()) as usize;
                let running = period.get_or_insert_with(anew);
                while running.end.as_mut().poll(context).is_ready() {
                    if running.taken < least {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    *running = anew();
                }
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.period = None;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.pace(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.pace(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// What becomes of an answer of a megabyte to a client that takes `step` bytes every second of a minute.
    async fn answer_to_one_that_takes(step: usize) -> io::Result<()> {
        let (server, mut client) = duplex(4 << 10);
        let mut server = Paced::new(server, Duration::from_secs(30));
        tokio::spawn(async move {
            let mut bytes = vec![0; step];
            while client.read_exact(&mut bytes).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        server.write_all(&vec![0; 1 << 20]).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_an_answer_too_slowly_is_cut_off_and_who_is_only_slow_is_not() {
        for step in [1, 100, LEAST_RATE * 9 / 10] {
            let error = answer_to_one_that_takes(step).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{step}");
        }
        for step in [LEAST_RATE * 11 / 10, 1 << 20] {
            answer_to_one_that_takes(step).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_between_two_requests_does_not_count() {
        let (server, mut client) = duplex(1000);
        let mut server = Paced::new(server, Duration::from_secs(30));
        for _ in 0..3 {
            client.write_all(b"a request").await.unwrap();
            let mut request = [0; 9];
            server.read_exact(&mut request).await.unwrap();
            // The answer has to wait once.
            let mut answer = [0; 2000];
            let (sent, taken) =
                tokio::join!(server.write_all(&[0; 2000]), client.read_exact(&mut answer));
            sent.unwrap();
            taken.unwrap();
            sleep(Duration::from_secs(100)).await;
        }
    }
}
