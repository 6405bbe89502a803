//! What the application holds of a running capture.

use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::Lsn;
use crate::error::{Error, ErrorKind};

/// A running capture. Dropping it asks the capture to stop; [`shutdown`](CaptureHandle::shutdown) also
/// waits until it has.
#[derive(Debug)]
pub struct CaptureHandle {
    pub(super) status: watch::Receiver<Status>,
    pub(super) stop: watch::Sender<bool>,
    /// The farthest position that somebody waits for.
    pub(super) want: watch::Sender<Lsn>,
    pub(super) thread: Option<thread::JoinHandle<Result<(), Error>>>,
}

/// Tells how a capture is doing, wherever it is needed: a cheap handle that does not keep the capture alive.
#[derive(Clone, Debug)]
pub struct CaptureObserver {
    status: watch::Receiver<Status>,
}

impl CaptureObserver {
    /// How the capture is doing, or how it ended.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until the status is another one than when this was last called, at first than when the observer was
    /// made. Whether it can still change: a capture that has ended says nothing more.
    pub async fn changed(&mut self) -> bool {
        self.status.changed().await.is_ok()
    }
}

/// How a capture is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Everything that was committed before this is stored.
    pub captured_lsn: Lsn,
    /// What the server has been told is stored, so that it may drop the log before it.
    pub flush_lsn: Lsn,
    /// When the last transaction that changed a tracked row was committed, of those stored since the
    /// start.
    pub last_committed_at: Option<DateTime<Utc>>,
    /// Changes stored since the start.
    pub changes: u64,
    /// Transactions stored since the start.
    pub transactions: u64,
    /// Changes that could not be stored since the start, and were put aside: `bemi replay-poison` tells why.
    /// They count among the [changes](Self::changes).
    pub put_aside: u64,
    /// Contexts that could not be attached since the start: not a JSON object, or over 1 MiB.
    pub rejected_contexts: u64,
    /// How often the connection was made anew since the start.
    pub reconnects: u64,
    /// Gaps that were found and recorded since the start ([`GapPolicy::Record`](crate::GapPolicy::Record)).
    pub gaps: u64,
    /// Transactions of the destination that changes were stored in since the start.
    pub batches: u64,
    /// How long the last change that was stored took from its commit until then, by the clocks of the
    /// source and of this machine.
    pub delay: Option<Duration>,
    /// How many bytes of the source's log were not stored, when it was last asked: every five seconds, and
    /// between attempts to reconnect, if it answers before the next one. `None` until then.
    pub lag_bytes: Option<u64>,
    /// How many bytes of log the source kept for the slot then: on its disk, until they are stored. More than
    /// what is not stored, as it is dropped in files, and kept while a transaction is open.
    pub retained_bytes: Option<u64>,
}

/// What a capture is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It connects for the first time.
    Starting,
    /// Another capture reads from the slot; this one takes over when that ends.
    StandingBy,
    /// It reads the log.
    Streaming,
    /// It waits before it tries again; the text says what went wrong.
    Reconnecting(String),
    /// It was asked to stop, and has.
    Stopped,
    /// It met an error that waiting does not mend; the text says which.
    Failed(String),
}

impl Status {
    pub(super) fn starting() -> Self {
        Self {
            state: State::Starting,
            captured_lsn: Lsn::ZERO,
            flush_lsn: Lsn::ZERO,
            last_committed_at: None,
            changes: 0,
            transactions: 0,
            put_aside: 0,
            rejected_contexts: 0,
            reconnects: 0,
            gaps: 0,
            batches: 0,
            delay: None,
            lag_bytes: None,
            retained_bytes: None,
        }
    }

    /// Whether the capture has ended.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self.state, State::Stopped | State::Failed(_))
    }
}

impl CaptureHandle {
    /// Waits until every change that was committed before `lsn` is stored in `changes`, and the trail is
    /// known to reach there, so that it can be asked as of `lsn`.
    ///
    /// Take `lsn` from `pg_current_wal_insert_lsn()` after the commit to see one's own changes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] when the capture ends before that. While it reconnects, this waits; wrap
    /// it in a timeout where that matters.
    ///
    /// A capture that stands by asks the other one four times a second to store how far it has come: by a
    /// message in the log of the source with the prefix `_bemi_heartbeat`.
    pub async fn wait_for(&self, lsn: Lsn) -> Result<(), Error> {
        let mut status = self.status.clone();
        let has_reached = |status: &Status| status.captured_lsn.min(status.flush_lsn) >= lsn;
        self.want.send_if_modified(|wanted| {
            let farther = *wanted < lsn;
            *wanted = lsn.max(*wanted);
            farther
        });
        let reached = status
            .wait_for(|status| has_reached(status) || status.is_final())
            .await;
        match reached {
            Ok(status) if has_reached(&status) => Ok(()),
            Ok(_) | Err(_) => Err(Error::new(ErrorKind::Stopped)),
        }
    }

    /// How the capture is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// A handle that tells the same, for a health check beside the application.
    #[must_use]
    pub fn observer(&self) -> CaptureObserver {
        CaptureObserver {
            status: self.status.clone(),
        }
    }

    /// Asks the capture to stop and waits until it has. What it has stored stays stored, and the next
    /// start goes on from there.
    ///
    /// # Errors
    ///
    /// The error that ended the capture, if one did before it was asked.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.stop.send_replace(true);
        self.finished().await
    }

    /// [Stops](Self::shutdown) the capture and returns how far it came.
    #[cfg(feature = "cli")]
    pub(crate) async fn stop(self) -> Result<Status, Error> {
        let status = self.status.clone();
        self.shutdown().await?;
        Ok(status.borrow().clone())
    }

    /// Waits until the capture ends by itself, which only an error does that waiting cannot mend.
    ///
    /// # Errors
    ///
    /// That error.
    pub async fn finished(mut self) -> Result<(), Error> {
        self.ended().await;
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        thread.join().unwrap_or_else(|_panic| {
            Err(Error::new(ErrorKind::Io {
                doing: "the capture panicked",
            }))
        })
    }

    /// Waits until the capture has ended; [`finished`](Self::finished) tells why. For a `select!`
    /// beside the application's own work.
    pub async fn ended(&self) {
        // An error means that the thread is gone, which is as final.
        let mut status = self.status.clone();
        let _status = status.wait_for(Status::is_final).await;
    }
}

impl Drop for CaptureHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
