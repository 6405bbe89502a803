//! A PostgreSQL server of one's own, in a temporary folder.

mod builder;
mod watchdog;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

pub use builder::Builder;
use watchdog::Watchdog;

use crate::command::{run, unprivileged};
use crate::{Binaries, Error, database};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a server is told to stop: the modes of
/// [`pg_ctl stop`](https://www.postgresql.org/docs/current/app-pg-ctl.html).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Waits until every client has gone.
    Smart,
    /// Ends the clients' sessions, and waits until every walsender was told that all is flushed.
    Fast,
    /// Ends everything at once; the next start recovers as after a crash.
    Immediate,
}

/// A running server with a superuser `postgres` who needs no password, and nothing in it.
///
/// It listens on 127.0.0.1 and on a socket in its temporary folder. Its `wal_level` is `logical`, its
/// encoding UTF-8, its collation that of `C`; a crash of the machine would lose what it holds
/// (`fsync = off`). It stops and its folder goes when this is dropped, and when the process ends without:
/// by a panic, by `exit`, by SIGKILL.
///
/// ```
/// use bemi_tests::{Cluster, Shutdown};
///
/// let mut cluster = Cluster::builder().setting("wal_level", "replica").start()?;
/// cluster.create_database("shop")?;
/// cluster.stop(Shutdown::Fast)?;
/// cluster.start_again()?;
/// # Ok::<(), bemi_tests::Error>(())
/// ```
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    port: u16,
    watchdog: Watchdog,
}

impl Cluster {
    /// A cluster with settings of one's own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A cluster with the settings described above.
    ///
    /// # Errors
    /// When there is no server to be had, or it does not start: with the end of its log.
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// The cluster that the tests of one process share. It is started by the first one that asks, and
    /// stops when the process ends.
    ///
    /// # Errors
    /// As [`start`](Self::start), and then the same again each time.
    pub fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceLock<Result<Cluster, Error>> = OnceLock::new();
        SHARED
            .get_or_init(Self::start)
            .as_ref()
            .map_err(Error::clone)
    }

    /// The connection URL of the database `name`, as the superuser, without TLS.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/{}",
            self.port,
            utf8_percent_encode(name, NON_ALPHANUMERIC)
        )
    }

    /// The TCP port on 127.0.0.1. It stays the same when the server is stopped and started again.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket, which is named after the [`port`](Self::port).
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        self.watchdog.folder()
    }

    /// The data directory, for what only a change of its files can bring about.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        data(self.watchdog.folder())
    }

    /// The major version of the server.
    #[must_use]
    pub const fn major(&self) -> u32 {
        self.binaries.major()
    }

    /// The program `name`, such as `pg_dump`, of the server's major version, where there is one. See
    /// [`Binaries::program`].
    #[must_use]
    pub fn bin(&self, name: &str) -> Option<PathBuf> {
        self.binaries.program(name)
    }

    /// Makes the empty database `name`.
    ///
    /// # Errors
    /// When there is one of that name, or the server is not running.
    pub fn create_database(&self, name: &str) -> Result<(), Error> {
        database::create(&self.url("postgres"), name)
    }

    /// Stops the server and returns how long that took, to a tenth of a second.
    ///
    /// # Errors
    /// When it is still running after 60 seconds, or was not running.
    pub fn stop(&mut self, how: Shutdown) -> Result<Duration, Error> {
        let mode = match how {
            Shutdown::Smart => "smart",
            Shutdown::Fast => "fast",
            Shutdown::Immediate => "immediate",
        };
        let started = Instant::now();
        self.pg_ctl(&["stop", "-m", mode])?;
        Ok(started.elapsed())
    }

    /// Starts the server that was stopped, with what it holds, on the same port.
    ///
    /// # Errors
    /// When it does not start: with the end of its log.
    pub fn start_again(&mut self) -> Result<(), Error> {
        let log = log(self.watchdog.folder());
        self.pg_ctl(&["start", "-l", &log.to_string_lossy()])
            .map_err(|error| Error::new(format!("{}\n{}", error.chain(), tail(&log))))
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Result<(), Error> {
        let folder = self.watchdog.folder();
        run(
            unprivileged(self.binaries.folder().join("pg_ctl"), folder)
                .args(arguments)
                .args(["-w", "-t", &PATIENCE.as_secs().to_string(), "-D"])
                .arg(data(folder)),
            PATIENCE * 2,
        )
        .map(|_said| ())
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// The end of the server's log.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(20)..)
        .unwrap_or_default()
        .join("\n")
}
