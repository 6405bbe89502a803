//! The loop that carries events from the transport to the sink. Decisions are made elsewhere.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::{oneshot, watch};

use super::handle::{State, Status};
use super::measure;
use super::session::Session;
use super::standby;
use super::storing::Stored;
use super::stream::Stream;
use super::watch::Watch;
use crate::Lsn;
use crate::error::{Error, ErrorKind};
use crate::postgres::Connection;
use crate::settings::{GapPolicy, Settings};
use crate::setup::{drop_slot, record_gap};

/// How long a stop waits for what is being stored, or asked.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How often a slot that is given up is looked at until nobody reads from it.
const GIVE_UP_ATTEMPTS: u32 = 200;
const GIVE_UP_INTERVAL: Duration = Duration::from_millis(10);

pub(super) struct Task {
    pub(super) settings: Settings,
    pub(super) status: watch::Sender<Status>,
    pub(super) stopping: watch::Receiver<bool>,
    /// The farthest position that somebody waits for.
    pub(super) wanted: watch::Receiver<Lsn>,
    /// Sent when the log is read for the first time, or when somebody else is found to read it.
    pub(super) ready: Option<oneshot::Sender<()>>,
    /// Something was stored since the last reconnect.
    pub(super) moved: bool,
    pub(super) watch: Watch,
}

/// Captures until told to stop, or until an error comes that waiting does not mend.
pub(super) async fn run(mut task: Task) -> Result<(), Error> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter();
    let mut delays = backoff.build();
    loop {
        let mut stopping = task.stopping.clone();
        let mut outcome = task.stream().await;
        if let Err(error) = &outcome
            && error.kind().is_gap()
            && task.settings.on_gap == GapPolicy::Record
        {
            // A new slot waits for the transactions that are running.
            match unless_overdue(&mut stopping, record_gap(&task.settings)).await {
                Some(Ok(gap)) => {
                    recorded(gap, &task.settings.slot, &task.status);
                    continue;
                }
                Some(Err(error)) => outcome = Err(error),
                None => outcome = Ok(()),
            }
        }
        let Err(mut error) = outcome else {
            let stopped = |status: &mut Status| status.state = State::Stopped;
            task.status.send_modify(stopped);
            return Ok(());
        };
        if let ErrorKind::SlotInUse { pid, .. } = error.kind() {
            match task.stand_by(*pid).await {
                Ok(()) => continue,
                Err(unknown) => error = unknown,
            }
        }
        let starting = task.ready.is_some();
        if !error.is_retryable() || starting {
            if !starting {
                // Whoever starts a capture is given the error; later there may be nobody who looks.
                tracing::error!(error = %Chain(&error), help = error.hint().as_deref(), "capture failed");
            }
            task.status
                .send_modify(|status| status.state = State::Failed(Chain(&error).to_string()));
            return Err(error);
        }
        let was_streaming = task.status.borrow().state == State::Streaming;
        // A stream that ends as soon as it has begun is no reason to hurry.
        if task.moved {
            delays = backoff.build();
            task.moved = false;
        }
        let delay = delays.next().unwrap_or_default();
        tracing::warn!(error = %Chain(&error), help = error.hint().as_deref(), ?delay, "capture reconnects");
        task.status.send_modify(|status| {
            status.state = State::Reconnecting(Chain(&error).to_string());
            status.reconnects += u64::from(was_streaming);
        });
        if was_streaming {
            measure::reconnects(&task.settings.slot);
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            never = Box::pin(task.watch.ask_once()) => match never {},
            () = stop_requested(&mut stopping) => {}
        }
        if let Some((retained, limit)) = task.watch.too_many.take() {
            let giving_up = task.give_up(retained, limit);
            let _overdue = unless_overdue(&mut stopping, giving_up).await;
        }
    }
}

/// Tells of changes that are missing, between these positions.
pub(super) fn recorded(gap: Option<(Lsn, Lsn)>, slot: &str, status: &watch::Sender<Status>) {
    if let Some((from, to)) = gap {
        tracing::error!(
            slot, %from, %to,
            help = "the entry with the operation GAP says why; `bemi snapshot` stores the rows anew",
            "changes are missing: what was committed in between could not be read"
        );
        measure::gap(slot);
        status.send_modify(|status| status.gaps += 1);
    }
}

impl Task {
    /// Connects and captures until told to stop, or until something fails.
    async fn stream(&mut self) -> Result<(), Error> {
        let mut stopping = self.stopping.clone();
        let mut stream = tokio::select! {
            biased;
            () = stop_requested(&mut stopping) => return Ok(()),
            stream = Stream::open(&self.settings) => stream?,
        };
        let from = stream.session.captured();
        tracing::info!(slot = self.settings.slot, lsn = %from, "capture reads the log");
        self.status.send_modify(|status| {
            status.state = State::Streaming;
            status.flush_lsn = from;
        });
        self.ready();
        // What is being stored when it is too late is stored or is not: the next start will see.
        let Some(outcome) = unless_overdue(&mut stopping, Box::pin(self.carry(&mut stream))).await
        else {
            return Ok(());
        };
        if outcome.is_ok() {
            stream.stop().await;
            return outcome;
        }
        // The source fails, perhaps, and what has been read from it can be stored all the same.
        let finishing = Box::pin(stream.storing.finish());
        match unless_overdue(&mut stopping, finishing).await {
            Some(Ok(stored)) => self.stored(&mut stream, stored),
            Some(Err(error)) => {
                let help = error.hint();
                tracing::warn!(error = %Chain(&error), help = help.as_deref(), "what was read is not stored");
            }
            None => {}
        }
        outcome
    }

    /// Carries events from the source to the destination, until told to stop: then what has been read is stored.
    async fn carry(&mut self, stream: &mut Stream) -> Result<(), Error> {
        let mut stopping = self.stopping.clone();
        loop {
            if let Some(stored) = stream.storing.try_next() {
                self.stored(stream, stored?);
            }
            let stop = *stopping.borrow();
            let reads = !stop && stream.has_room();
            // What has arrived already is taken first, so that a backlog is stored in large batches.
            let mut event = reads.then(|| stream.transport.try_recv()).flatten();
            stream.session.want(*self.wanted.borrow_and_update());
            if stop {
                stream.session.stop_resting();
            }
            let publication = &self.settings.publication;
            stream
                .store_due(event.is_some(), publication, &self.status)
                .await?;
            self.report(&stream.session);
            let idle = stream.storing.is_idle();
            if stop && idle {
                return Ok(());
            }
            if event.is_none() {
                let due_at = stream.session.deadline().filter(|_| idle);
                let (check_at, look_at) = (stream.silence.check_at(), stream.next_look());
                event = tokio::select! {
                    biased;
                    () = stop_requested(&mut stopping), if !stop => None,
                    // Also when the server of the destination is going down. Should it be the source's as
                    // well, it waits for us to leave.
                    stored = stream.storing.next() => {
                        self.stored(stream, stored?);
                        None
                    }
                    event = stream.transport.recv(), if reads => Some(event),
                    () = sleep_until(due_at), if due_at.is_some() => None,
                    Ok(()) = self.wanted.changed() => None,
                    () = sleep_until(Some(check_at)), if reads => None,
                    () = sleep_until(Some(look_at)), if !stop => None,
                };
            }
            match event {
                Some(event) => stream.take(event?, &self.status).await?,
                None if stop => continue,
                None => {
                    let publication = &self.settings.publication;
                    stream.look_around(publication, reads).await?;
                }
            }
            if let Some(slot) = stream.sweep(&self.settings.publication).await? {
                self.watch.told(&slot);
                if let Some((retained, limit)) = self.watch.too_many {
                    let slot = slot.name;
                    return Err(Error::new(ErrorKind::TooMuchLog {
                        slot,
                        retained,
                        limit,
                    }));
                }
            }
        }
    }

    /// Something is durable.
    fn stored(&mut self, stream: &mut Stream, stored: Option<Stored>) {
        // A part tells nothing yet.
        if let Some(stored) = stored {
            stream.acknowledge(stored.flush_lsn);
            stored.count(&self.settings.slot, &self.status);
            self.moved = true;
        }
    }

    /// Drops the slot, so that the source can drop the log.
    async fn give_up(&self, retained: u64, limit: u64) {
        let slot = &self.settings.slot;
        let dropping = async {
            let source = Connection::open(&self.settings.source).await?;
            // Its server process may still be about to end.
            let mut attempts = 0..GIVE_UP_ATTEMPTS;
            loop {
                let dropped = drop_slot(&source, slot).await?;
                if dropped || attempts.next().is_none() {
                    return Ok(dropped);
                }
                tokio::time::sleep(GIVE_UP_INTERVAL).await;
            }
        };
        let help = "what was not stored is lost, and the source can drop its log";
        match dropping.await {
            Ok(true) => tracing::error!(
                slot,
                retained,
                limit,
                help,
                "the replication slot is given up"
            ),
            Ok(false) => tracing::warn!(
                slot,
                "the replication slot cannot be given up: somebody reads from it"
            ),
            Err(error) => {
                tracing::warn!(slot, error = %Chain(&error), "the replication slot cannot be given up");
            }
        }
    }

    /// Waits until nobody reads from the slot any more, or until told to stop.
    async fn stand_by(&mut self, pid: Option<i32>) -> Result<(), Error> {
        tracing::info!(
            slot = self.settings.slot,
            pid,
            "capture stands by: another one reads from the slot"
        );
        self.status
            .send_modify(|status| status.state = State::StandingBy);
        self.ready();
        tokio::select! {
            free = standby::slot_is_free(&self.settings, &self.status, &self.wanted) => free,
            () = stop_requested(&mut self.stopping) => Ok(()),
        }
    }

    /// Whoever started us need not wait any longer, and may be gone.
    fn ready(&mut self) {
        if let Some(ready) = self.ready.take() {
            let _gone = ready.send(());
        }
    }

    fn report(&self, session: &Session) {
        let captured = session.captured();
        self.status.send_if_modified(|status| {
            let advanced = status.captured_lsn < captured;
            status.captured_lsn = status.captured_lsn.max(captured);
            advanced
        });
    }
}

async fn stop_requested(stopping: &mut watch::Receiver<bool>) {
    // An error means that the handle is gone, which asks for the same.
    let _stop = stopping.wait_for(|stop| *stop).await;
}

/// The outcome of `work`; `None` when it goes on for too long after a stop was requested.
async fn unless_overdue<T>(
    stopping: &mut watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let overdue = async {
        stop_requested(stopping).await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        biased;
        outcome = work => Some(outcome),
        () = overdue => None,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline.into()).await;
    }
}

/// An error with its causes on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
