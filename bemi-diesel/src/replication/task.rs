//! The loop that carries events from the transport to the sink. Decisions are made elsewhere.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::Utc;
use tokio::sync::{oneshot, watch};

use super::catalog;
use super::handle::{State, Status};
use super::measure;
use super::session::{self, BATCH_BYTES, BATCH_CHANGES, Batch, Session, Silence};
use super::standby;
use super::transport::{Event, Transport, decode_error};
use super::watch::Watch;
use crate::Lsn;
use crate::error::{Error, ErrorKind};
use crate::pgoutput::{Message, Relation, RelationId};
use crate::postgres::Connection;
use crate::settings::Settings;
use crate::setup::{Publication, SWEEP_INTERVAL, Server, Slot, Swept, sweep, tell_partitions};
use crate::sink::postgres::PostgresSink;
use crate::stitch::{RejectedContext, Stitcher, Transaction};

/// How long a stop waits for what is being stored, or asked.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How long a stop waits for the server to release the slot, and how often it looks.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);
const RELEASE_INTERVAL: Duration = Duration::from_millis(10);

/// How often what is stored is checked to have been published all the time.
const PUBLICATION_INTERVAL: Duration = Duration::from_secs(2);

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
        let error = match task.stream().await {
            Ok(()) => {
                task.status
                    .send_modify(|status| status.state = State::Stopped);
                return Ok(());
            }
            Err(error) => error,
        };
        if let ErrorKind::SlotInUse { pid, .. } = error.kind() {
            task.stand_by(*pid).await;
            continue;
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
        let mut stopping = task.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            never = Box::pin(task.watch.ask_once()) => match never {},
            () = stop_requested(&mut stopping) => {}
        }
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
        tracing::info!(slot = self.settings.slot, lsn = %stream.session.captured(), "capture reads the log");
        self.status.send_modify(|status| {
            status.state = State::Streaming;
            status.flush_lsn = stream.sink.flush_lsn();
        });
        self.ready();
        loop {
            // What has arrived already is taken first, so that a backlog is stored in large batches.
            let mut event = stream.transport.try_recv();
            stream.session.want(*self.wanted.borrow_and_update());
            let storing =
                stream.store_due(event.is_some(), &self.settings.publication, &self.status);
            let storing = self.watch.meanwhile(storing);
            let Some(stored) = unless_overdue(&mut stopping, storing).await? else {
                // What it was storing is stored or is not: the next start will see.
                return Ok(());
            };
            if let Some(stored) = stored {
                self.moved = true;
                stored.count(&self.settings.slot, &self.status);
            }
            self.report(&stream.session);
            if *stopping.borrow() {
                stream.stop().await;
                return Ok(());
            }
            if event.is_none() {
                let idle = stream.session.idle_deadline();
                event = tokio::select! {
                    biased;
                    () = stop_requested(&mut stopping) => None,
                    // The server of the destination is going down. Should it be the source's as well, it
                    // waits for us to leave.
                    () = stream.sink.closed() => return Err(stream.sink.disconnected()),
                    event = stream.transport.recv() => Some(event),
                    () = sleep_until(idle), if idle.is_some() => None,
                    Ok(()) = self.wanted.changed() => None,
                    () = sleep_until(Some(stream.silence.check_at())) => None,
                    () = sleep_until(Some(stream.check_publication_at.min(stream.sweep_at))) => None,
                };
            }
            let next = async {
                match event {
                    Some(event) => stream.handle(event?, &self.status).await,
                    None => stream.look_around(&self.settings).await,
                }?;
                stream.sweep(&self.settings.publication).await
            };
            let Some(slot) = unless_overdue(&mut stopping, next).await? else {
                return Ok(());
            };
            if let Some(slot) = slot {
                self.watch.told(&slot);
            }
        }
    }

    /// Waits until nobody reads from the slot any more, or until told to stop.
    async fn stand_by(&mut self, pid: Option<i32>) {
        tracing::info!(
            slot = self.settings.slot,
            pid,
            "capture stands by: another one reads from the slot"
        );
        self.status
            .send_modify(|status| status.state = State::StandingBy);
        self.ready();
        tokio::select! {
            () = standby::slot_is_free(&self.settings, &self.status, &self.wanted) => {}
            () = stop_requested(&mut self.stopping) => {}
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

/// What one replication connection needs.
struct Stream {
    slot: String,
    source: Connection,
    sink: PostgresSink,
    transport: Transport,
    stitcher: Stitcher,
    session: Session,
    silence: Silence,
    check_publication_at: Instant,
    /// The tables with columns of a composite type.
    composed: HashMap<RelationId, Relation>,
    /// Those of them that this transaction has looked at.
    seen: HashSet<RelationId>,
    /// When to look for new tables.
    sweep_at: Instant,
    /// The partitioned tables and their partitions, once they have been told of.
    partitions: Option<Vec<(u32, String)>>,
    /// New tables that cannot be tracked, and have been told of.
    refused: HashSet<String>,
}

impl Stream {
    async fn open(settings: &Settings) -> Result<Self, Error> {
        let source = Connection::open(&settings.source).await?;
        let server = Server::read(&source).await?;
        server.check()?;
        let slot = Slot::read(&source, &settings.slot).await?;
        // First of all, as whoever reads from it may hold a lock on the progress.
        if let Some(pid) = slot.as_ref().and_then(|slot| slot.active_pid) {
            return Err(Error::new(ErrorKind::SlotInUse {
                slot: settings.slot.clone(),
                pid: Some(pid),
            }));
        }
        let sink = PostgresSink::open(
            &settings.destination,
            server.system_identifier,
            &server.database,
            &settings.slot,
        )
        .await?;
        let stored = sink.flush_lsn();
        let Some(slot) = slot.filter(|slot| !slot.is_lost()) else {
            return Err(Error::new(ErrorKind::SlotLost {
                slot: settings.slot.clone(),
                stored,
            }));
        };
        slot.check_database(&server.database)?;
        Publication::check(&source, &settings.publication, sink.publication()).await?;
        let from =
            session::resume(slot.confirmed_flush_lsn, stored, slot.log_end).map_err(Error::new)?;
        let transport = Transport::start(
            &settings.source,
            source.host(),
            &settings.slot,
            &settings.publication,
            from,
        )
        .await?;
        Ok(Self {
            slot: settings.slot.clone(),
            source,
            sink,
            transport,
            stitcher: Stitcher::new(
                server.system_identifier,
                server.database.into(),
                settings.rules.clone(),
            ),
            session: Session::new(stored, Instant::now()),
            composed: HashMap::new(),
            seen: HashSet::new(),
            sweep_at: Instant::now(),
            partitions: None,
            refused: HashSet::new(),
            silence: Silence::new(settings.source.patience(), Instant::now()),
            check_publication_at: Instant::now() + PUBLICATION_INTERVAL,
        })
    }

    /// Ends the stream, and leaves the server a moment to let go of the slot: whoever stops a capture to
    /// drop the slot, or to start another one, would find it in use.
    async fn stop(self) {
        self.transport.stop().await;
        let released = async {
            while let Ok(Some(_)) = catalog::walsender(&self.source, &self.slot).await {
                tokio::time::sleep(RELEASE_INTERVAL).await;
            }
        };
        // It may be another one's by now, or the server does not answer: nothing depends on it.
        let _in_time = tokio::time::timeout(RELEASE_PATIENCE, released).await;
    }

    /// Stores what the session says is due, or a part of a transaction that is being read.
    async fn store_due(
        &mut self,
        more: bool,
        publication: &str,
        status: &watch::Sender<Status>,
    ) -> Result<Option<Stored>, Error> {
        let part = self.stitcher.take_part(BATCH_CHANGES, BATCH_BYTES);
        let part = part.filter(|part| !self.session.is_stored(part.commit_lsn));
        let batch = match &part {
            Some(_) => self.session.part(),
            None => self.session.due(Instant::now(), more),
        };
        if part.is_some() || batch.is_some() {
            Box::pin(self.check_publication(publication)).await?;
        }
        let stored = match batch {
            // Boxed, as this is made for each event and comes here seldom.
            Some(batch) => Some(Box::pin(self.store(batch)).await?),
            None => None,
        };
        if let Some(part) = part {
            report_rejected(&self.slot, &part.rejected, status);
            Box::pin(self.sink.store_part(&part.changes)).await?;
        }
        Ok(stored)
    }

    /// Stores the batch, and then acknowledges it.
    async fn store(&mut self, batch: Batch) -> Result<Stored, Error> {
        failpoint!("read");
        let since = Instant::now();
        self.sink
            .store(&batch.transactions, batch.flush_lsn)
            .await?;
        self.session.flushed(batch.flush_lsn, Instant::now());
        let put_aside = self.sink.take_put_aside();
        failpoint!("stored");
        self.transport.acknowledge(batch.flush_lsn);
        failpoint!("acknowledged");
        Ok(Stored {
            transactions: batch.transactions,
            put_aside,
            flush_lsn: batch.flush_lsn,
            took: since.elapsed(),
        })
    }

    /// Asks the server, if it was not asked a moment ago, whether what it sends was published.
    async fn check_publication(&mut self, publication: &str) -> Result<(), Error> {
        if Instant::now() < self.check_publication_at {
            return Ok(());
        }
        self.check_publication_at = Instant::now() + PUBLICATION_INTERVAL;
        Publication::check(&self.source, publication, self.sink.publication()).await
    }

    /// Asks the server whether all is well that cannot be told from the stream.
    async fn look_around(&mut self, settings: &Settings) -> Result<(), Error> {
        self.check_publication(&settings.publication).await?;
        self.check_silence().await
    }

    /// Asks the server whether something should have come, if the silence is long.
    async fn check_silence(&mut self) -> Result<(), Error> {
        if Instant::now() < self.silence.check_at() {
            return Ok(());
        }
        let Some(walsender) = catalog::walsender(&self.source, &self.slot).await? else {
            return Err(self.source.silent());
        };
        let sent = walsender.idle.then_some(walsender.sent);
        if self
            .silence
            .checked(self.session.read(), sent, Instant::now())
        {
            return Err(self.source.silent());
        }
        Ok(())
    }

    /// Tracks tables that are new, if it is time to look for some, and sees how the slot is.
    async fn sweep(&mut self, publication: &str) -> Result<Option<Slot>, Error> {
        if Instant::now() < self.sweep_at {
            return Ok(None);
        }
        let swept = match sweep(&self.source, publication).await {
            Err(error) if matches!(error.kind(), ErrorKind::Server { .. }) => {
                tracing::warn!(error = %Chain(&error), "the capture cannot look for new tables");
                Swept::default()
            }
            swept => swept?,
        };
        match tell_partitions(&self.source, &mut self.partitions).await {
            Err(error) if matches!(error.kind(), ErrorKind::Server { .. }) => {
                tracing::warn!(error = %Chain(&error), "the capture cannot look at the partitions");
            }
            told => told?,
        }
        for table in swept.tracked {
            tracing::info!(table, "a new table is tracked");
        }
        for (table, reason) in swept.refused {
            if self.refused.insert(table.clone()) {
                tracing::warn!(table, reason, "a new table is not tracked");
            }
        }
        self.sweep_at = Instant::now() + SWEEP_INTERVAL;
        Slot::read(&self.source, &self.slot).await
    }

    /// The table with this identifier, if what was said of it may not hold any more.
    fn unseen(&mut self, id: RelationId) -> Option<Relation> {
        if self.composed.is_empty() || self.seen.contains(&id) {
            return None;
        }
        self.composed.get(&id).cloned()
    }

    /// Tells the stitcher of a table. The server sends a table anew after it was altered, but not after
    /// one of its types was: a table with composites is looked at in each transaction.
    async fn describe(&mut self, relation: Relation) -> Result<(), Error> {
        if let Some(xid) = self.stitcher.xid() {
            catalog::seen(&self.source, xid).await?;
        }
        let description = catalog::describe(&self.source, &relation).await?;
        self.composed.remove(&relation.id);
        if catalog::is_composed(&description) {
            self.seen.insert(relation.id);
            self.composed.insert(relation.id, relation.clone());
        }
        self.stitcher.describe(relation, description);
        Ok(())
    }

    async fn handle(&mut self, event: Event, status: &watch::Sender<Status>) -> Result<(), Error> {
        self.silence.broken(Instant::now());
        match event {
            Event::Message {
                message: Message::Relation(relation),
                ..
            } => {
                self.describe(relation).await?;
            }
            Event::Message {
                message: Message::LogicalMessage(message),
                ..
            } if message.is_heartbeat() && self.stitcher.is_idle() => {
                self.session.keepalive(message.lsn, true);
            }
            Event::Message { message, position } => {
                if let Message::Begin(_) = message {
                    self.seen.clear();
                } else if let Some(relation) = message.relation().and_then(|id| self.unseen(id)) {
                    self.describe(relation).await?;
                }
                let pushed = self.stitcher.push(message, position, Utc::now());
                if let Some(transaction) = pushed.map_err(|error| decode_error(position, &error))? {
                    report_rejected(&self.slot, &transaction.rejected, status);
                    self.session.transaction(transaction);
                }
            }
            Event::Keepalive {
                wal_end,
                reply_requested,
            } if self.stitcher.is_idle() => {
                self.session.keepalive(wal_end, reply_requested);
            }
            Event::Keepalive { .. } => {}
        }
        Ok(())
    }
}

/// A batch that is durable.
struct Stored {
    transactions: Vec<Transaction>,
    /// How many of their changes were put aside.
    put_aside: u64,
    flush_lsn: Lsn,
    took: Duration,
}

impl Stored {
    fn count(self, slot: &str, status: &watch::Sender<Status>) {
        let changes: u64 = self.transactions.iter().map(Transaction::count).sum();
        let with_changes = self
            .transactions
            .iter()
            .filter(|transaction| transaction.count() > 0);
        let transactions = with_changes.count() as u64;
        let last = self.transactions.last();
        let committed_at = last.map(|transaction| transaction.committed_at);
        let delay = committed_at.map(measure::since);
        measure::stored(
            slot,
            transactions,
            changes,
            self.took,
            delay.unwrap_or_default(),
        );
        measure::put_aside(slot, self.put_aside);
        status.send_modify(|status| {
            status.flush_lsn = self.flush_lsn;
            status.changes += changes;
            status.put_aside += self.put_aside;
            status.transactions += transactions;
            status.batches += u64::from(changes > 0);
            status.last_committed_at = committed_at.or(status.last_committed_at);
            status.delay = delay.or(status.delay);
        });
    }
}

fn report_rejected(slot: &str, rejected: &[RejectedContext], status: &watch::Sender<Status>) {
    for rejected in rejected {
        tracing::warn!(lsn = %rejected.lsn, reason = %rejected.reason, "a context could not be attached");
    }
    if !rejected.is_empty() {
        measure::rejected(slot, rejected.len() as u64);
        status.send_modify(|status| status.rejected_contexts += rejected.len() as u64);
    }
}

async fn stop_requested(stopping: &mut watch::Receiver<bool>) {
    // An error means that the handle is gone, which asks for the same.
    let _stop = stopping.wait_for(|stop| *stop).await;
}

/// The outcome of `work`; `None` when it goes on for too long after a stop was requested.
async fn unless_overdue<T>(
    stopping: &mut watch::Receiver<bool>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<Option<T>, Error> {
    let overdue = async {
        stop_requested(stopping).await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        biased;
        outcome = work => outcome.map(Some),
        () = overdue => Ok(None),
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
