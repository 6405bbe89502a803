//! The thread that the stream is read in.
//!
//! It answers the server whatever the rest of the capture is at: a row of a hundred megabytes takes that a second.
//! While it [rests](Pace) it waits for nothing, so the server, which sends each message by itself, has nobody to wake.

use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use pgwire_replication::{Lsn as WireLsn, PgWireError, ReplicationClient, ReplicationEvent};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_postgres::config::Host;

use super::client::{self, Wanted};
use super::pace::Pace;
use crate::Lsn;
use crate::error::{Error, ErrorKind};

/// What came from the server.
pub(super) type Came = Result<ReplicationEvent, PgWireError>;

/// What came between two looks, in the order in which it was sent: about so many events or bytes at most.
type Gulp = Vec<Came>;
const GULP_EVENTS: usize = 1024;
const GULP_BYTES: usize = 256 << 10;

/// How many gulps may wait for whoever takes them, before no more is read.
const WAITING: usize = 4;

/// After the first time the runtime looks at the socket, after the second one the client reads from it.
const LOOKS: u32 = 3;

/// How long the server is given to end the stream.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// The other end of the thread, which ends when this is dropped.
pub(super) struct Reading {
    pub(super) gulps: mpsc::Receiver<Gulp>,
    stored: watch::Sender<Lsn>,
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl Reading {
    /// Starts the thread, and returns once the stream has begun.
    pub(super) async fn start(wanted: Wanted) -> Result<Self, Error> {
        let (mut connected, is_connected) = oneshot::channel();
        let (gulps_sender, gulps) = mpsc::channel(WAITING);
        let (stored, stored_receiver) = watch::channel(Lsn::ZERO);
        let (stop, stopping) = oneshot::channel();
        let (stopped_sender, stopped) = oneshot::channel();
        let failed = |error| {
            let doing = "starting the thread that reads the log";
            Error::with_source(ErrorKind::Io { doing }, error)
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let is_local = matches!(wanted.host, (Host::Unix(_), _));
        let read = async move {
            let client = tokio::select! {
                client = client::start(wanted) => client,
                () = connected.closed() => return,
            };
            let client = match client {
                Ok(client) => client,
                Err(error) => {
                    let _gone = connected.send(Err(error));
                    return;
                }
            };
            if connected.send(Ok(())).is_ok() {
                let pace = Pace::new(is_local, Instant::now());
                read(client, gulps_sender, stored_receiver, stopping, pace).await;
            }
            let _gone = stopped_sender.send(());
        };
        thread::Builder::new()
            .name("bemi-reading".to_owned())
            .spawn(move || runtime.block_on(read))
            .map_err(failed)?;
        is_connected
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Stopped)))?;
        Ok(Self {
            gulps,
            stored,
            stop,
            stopped,
        })
    }

    /// Tells the server that everything before `lsn` is stored.
    pub(super) fn acknowledge(&self, lsn: Lsn) {
        self.stored.send_replace(lsn);
    }

    /// Ends the stream in order.
    pub(super) async fn stop(self) {
        let _gone = self.stop.send(());
        drop(self.gulps);
        let _gone = self.stopped.await;
    }
}

/// Reads until the other end is gone or the stream has ended.
async fn read(
    mut client: ReplicationClient,
    gulps: mpsc::Sender<Gulp>,
    mut stored: watch::Receiver<Lsn>,
    mut stopping: oneshot::Receiver<()>,
    mut pace: Pace,
) {
    loop {
        let event = tokio::select! {
            biased;
            () = gulps.closed() => break,
            Ok(()) = stored.changed() => {
                acknowledge(&client, &mut stored);
                continue;
            }
            event = client.recv() => event,
        };
        let Some(event) = event.transpose() else {
            return;
        };
        let (gulp, bytes) = gulp(&mut client, event).await;
        let messages = gulp.len();
        if gulps.send(gulp).await.is_err() {
            break;
        }
        let rest = pace.read(messages, bytes, Instant::now());
        if let Some(rest) = rest.filter(|_| !is_full(messages, bytes)) {
            thread::sleep(rest);
        }
    }
    if stopping.try_recv().is_ok() {
        acknowledge(&client, &mut stored);
        // What the server thinks of our leaving changes nothing: all that matters is stored.
        let _ended = tokio::time::timeout(STOP_PATIENCE, client.shutdown()).await;
    }
}

/// `first`, and what has come behind it; and how many bytes that is.
async fn gulp(client: &mut ReplicationClient, first: Came) -> (Gulp, usize) {
    let mut bytes = size(&first);
    let mut gulp = vec![first];
    while !is_full(gulp.len(), bytes)
        && let Some(event) = next(client).await
    {
        bytes += size(&event);
        gulp.push(event);
    }
    (gulp, bytes)
}

fn is_full(events: usize, bytes: usize) -> bool {
    events >= GULP_EVENTS || bytes >= GULP_BYTES
}

/// The next event, if one has come; those that still lie in the socket count.
async fn next(client: &mut ReplicationClient) -> Option<Came> {
    for _ in 0..LOOKS {
        // Under tokio's budget for one turn a full buffer would look empty now and then.
        let event = tokio::task::unconstrained(client.recv()).now_or_never();
        if let Some(event) = event {
            return event.transpose();
        }
        tokio::task::yield_now().await;
    }
    None
}

fn size(event: &Came) -> usize {
    match event {
        Ok(ReplicationEvent::XLogData { data, .. }) => data.len(),
        Ok(ReplicationEvent::Message { content, .. }) => content.len(),
        _ => 0,
    }
}

fn acknowledge(client: &ReplicationClient, stored: &mut watch::Receiver<Lsn>) {
    client.update_applied_lsn(WireLsn(stored.borrow_and_update().as_u64()));
}
