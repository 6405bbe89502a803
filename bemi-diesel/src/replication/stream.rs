//! What one replication connection needs, and what is done with it.

mod tables;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use self::tables::Composed;
use super::catalog;
use super::handle::Status;
use super::measure;
use super::session::{self, BATCH_BYTES, BATCH_CHANGES, Session, Silence};
use super::storing::{Due, Storing};
use super::task::Chain;
use super::transport::{Event, Transport, decode_error};
use crate::Lsn;
use crate::error::{Error, ErrorKind};
use crate::pgoutput::Message;
use crate::postgres::Connection;
use crate::settings::Settings;
use crate::setup::{Publication, SWEEP_INTERVAL, Server, Slot, Swept, sweep, tell_partitions};
use crate::sink::postgres::PostgresSink;
use crate::stitch::{RejectedContext, Stitcher};

/// How long a stop waits for the server to release the slot, and how often it looks.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);
const RELEASE_INTERVAL: Duration = Duration::from_millis(10);

/// What a stream that falls silent was doing.
const READING: &str = "reading the log";

/// How often what is stored is checked to have been published all the time.
const PUBLICATION_INTERVAL: Duration = Duration::from_secs(2);

/// What one replication connection needs.
pub(super) struct Stream {
    slot: String,
    source: Connection,
    pub(super) storing: Storing,
    /// The identifier of the publication that the stored changes were read through.
    publication: u32,
    pub(super) transport: Transport,
    stitcher: Stitcher,
    pub(super) session: Session,
    pub(super) silence: Silence,
    check_publication_at: Instant,
    composed: Composed,
    /// When to look for new tables.
    sweep_at: Instant,
    /// The partitioned tables and their partitions, once they have been told of.
    partitions: Option<Vec<(u32, String)>>,
    /// New tables that cannot be tracked, and have been told of.
    refused: HashSet<String>,
}

impl Stream {
    pub(super) async fn open(settings: &Settings) -> Result<Self, Error> {
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
            publication: sink.publication(),
            storing: Storing::new(sink),
            transport,
            stitcher: Stitcher::new(
                server.system_identifier,
                server.database.into(),
                settings.rules.clone(),
            ),
            session: Session::new(stored, Instant::now()),
            composed: Composed::default(),
            sweep_at: Instant::now(),
            partitions: None,
            refused: HashSet::new(),
            silence: Silence::new(settings.source.patience(), Instant::now()),
            check_publication_at: Instant::now() + PUBLICATION_INTERVAL,
        })
    }

    /// Ends the stream, and leaves the server a moment to let go of the slot: whoever stops a capture to
    /// drop the slot, or to start another one, would find it in use.
    pub(super) async fn stop(self) {
        self.transport.stop().await;
        let released = async {
            while let Ok(Some(_)) = catalog::walsender(&self.source, &self.slot).await {
                tokio::time::sleep(RELEASE_INTERVAL).await;
            }
        };
        // It may be another one's by now, or the server does not answer: nothing depends on it.
        let _in_time = tokio::time::timeout(RELEASE_PATIENCE, released).await;
    }

    /// Whether more can be read: not while what has been read already has to be stored first.
    pub(super) fn has_room(&self) -> bool {
        self.storing.is_idle() || !self.is_full()
    }

    /// Whether as much has been read as is stored at a time.
    fn is_full(&self) -> bool {
        self.session.is_full() || self.stitcher.has_part(BATCH_CHANGES, BATCH_BYTES)
    }

    /// Begins to store what is due, or a part of a transaction that is being read, unless something is being stored.
    /// `more` tells whether something further has arrived already.
    pub(super) async fn store_due(
        &mut self,
        more: bool,
        publication: &str,
        status: &watch::Sender<Status>,
    ) -> Result<(), Error> {
        if !self.storing.is_idle() {
            return Ok(());
        }
        if let Some(due) = self.due(more, status) {
            // Boxed, as this is made for each event and comes here seldom.
            Box::pin(self.check_publication(publication)).await?;
            self.storing.begin(due);
        }
        Ok(())
    }

    fn due(&mut self, more: bool, status: &watch::Sender<Status>) -> Option<Due> {
        if !self.stitcher.has_part(BATCH_CHANGES, BATCH_BYTES) {
            return self.session.due(Instant::now(), more).map(Due::Batch);
        }
        // What was read before must be stored first.
        if let Some(batch) = self.session.pending() {
            return Some(Due::Batch(batch));
        }
        let part = self.stitcher.take_part(BATCH_CHANGES, BATCH_BYTES)?;
        if self.session.is_stored(part.commit_lsn) {
            return None;
        }
        self.session.part();
        report_rejected(&self.slot, &part.rejected, status);
        Some(Due::Part(part))
    }

    /// Acknowledges what has been stored.
    pub(super) fn acknowledge(&mut self, flush_lsn: Lsn) {
        failpoint!("stored");
        self.session.flushed(flush_lsn, Instant::now());
        self.transport.acknowledge(flush_lsn);
        failpoint!("acknowledged");
    }

    /// Asks the server, if it was not asked a moment ago, whether what it sends was published.
    async fn check_publication(&mut self, publication: &str) -> Result<(), Error> {
        if Instant::now() < self.check_publication_at {
            return Ok(());
        }
        self.check_publication_at = Instant::now() + PUBLICATION_INTERVAL;
        Publication::check(&self.source, publication, self.publication).await
    }

    /// When to look for what cannot be told from the stream, if nothing comes.
    pub(super) fn next_look(&self) -> Instant {
        self.check_publication_at.min(self.sweep_at)
    }

    /// Asks the server whether all is well that cannot be told from the stream; `reads` tells whether what it sends
    /// is read.
    pub(super) async fn look_around(
        &mut self,
        publication: &str,
        reads: bool,
    ) -> Result<(), Error> {
        self.check_publication(publication).await?;
        if reads {
            self.check_silence().await?;
        }
        Ok(())
    }

    /// Asks the server whether something should have come, if the silence is long.
    async fn check_silence(&mut self) -> Result<(), Error> {
        if Instant::now() < self.silence.check_at() {
            return Ok(());
        }
        let Some(walsender) = catalog::walsender(&self.source, &self.slot).await? else {
            return Err(self.source.silent(READING));
        };
        let sent = walsender.idle.then_some(walsender.sent);
        if self
            .silence
            .checked(self.session.read(), sent, Instant::now())
        {
            return Err(self.source.silent(READING));
        }
        Ok(())
    }

    /// Tracks tables that are new, if it is time to look for some, and sees how the slot is.
    pub(super) async fn sweep(&mut self, publication: &str) -> Result<Option<Slot>, Error> {
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

    /// Takes `event`, and what came with it.
    pub(super) async fn take(
        &mut self,
        event: Event,
        status: &watch::Sender<Status>,
    ) -> Result<(), Error> {
        self.silence.broken(Instant::now());
        let queued_at = Utc::now();
        self.handle(event, queued_at, status).await?;
        while !self.is_full()
            && let Some(event) = self.transport.at_hand()
        {
            self.handle(event?, queued_at, status).await?;
        }
        Ok(())
    }

    /// Takes an event that was read at `queued_at`.
    async fn handle(
        &mut self,
        event: Event,
        queued_at: DateTime<Utc>,
        status: &watch::Sender<Status>,
    ) -> Result<(), Error> {
        match event {
            Event::Message {
                message: Message::Relation(relation),
                frame,
                ..
            } => {
                self.describe(relation, frame).await?;
            }
            Event::Message {
                message: Message::LogicalMessage(message),
                ..
            } if message.is_heartbeat() && self.stitcher.is_idle() => {
                self.session.keepalive(message.lsn, true);
            }
            Event::Message {
                message,
                position,
                frame,
            } => {
                if let Message::Begin(_) = message {
                    self.composed.begin();
                } else if let Some(id) = message.relation() {
                    self.look_again(id).await?;
                }
                let pushed = self.stitcher.push(message, position, queued_at);
                match pushed {
                    Ok(None) => {}
                    Ok(Some(transaction)) => {
                        report_rejected(&self.slot, &transaction.rejected, status);
                        self.session.transaction(transaction);
                    }
                    Err(error) if error.is_of_a_row() => {
                        self.put_aside(&frame, &error, position).await?;
                    }
                    Err(error) => return Err(decode_error(position, &error)),
                }
            }
            Event::Unreadable {
                frame,
                position,
                problem,
            } => {
                self.unreadable(&frame, problem, position).await?;
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

fn report_rejected(slot: &str, rejected: &[RejectedContext], status: &watch::Sender<Status>) {
    for rejected in rejected {
        tracing::warn!(lsn = %rejected.lsn, reason = %rejected.reason, "a context could not be attached");
    }
    if !rejected.is_empty() {
        measure::rejected(slot, rejected.len() as u64);
        status.send_modify(|status| status.rejected_contexts += rejected.len() as u64);
    }
}
