//! How a cluster is set up.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use super::watchdog::Watchdog;
use super::{Cluster, data, log, tail};
use crate::{Binaries, Error};

const INITDB: [&str; 5] = [
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--no-locale",
    "--no-sync",
];

/// What every cluster has unless a [`Builder::setting`] says otherwise.
const SETTINGS: [(&str, &str); 7] = [
    ("wal_level", "logical"),
    ("max_connections", "200"),
    ("max_replication_slots", "100"),
    ("max_wal_senders", "100"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("listen_addresses", "127.0.0.1"),
];

/// Another process can take a port between our look and the server's.
const PORTS_TO_TRY: usize = 5;

/// The settings of a [`Cluster`] that is to be started.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    major: Option<u32>,
    settings: Vec<(String, String)>,
}

impl Builder {
    /// The major version of the server, from 14 to 18. Defaults to what [`Binaries::resolve`] finds.
    pub fn major(mut self, major: u32) -> Self {
        self.major = Some(major);
        self
    }

    /// A parameter of `postgresql.conf`, such as `wal_level`; it wins over the harness's own.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Initializes and starts the cluster.
    ///
    /// # Errors
    /// When there is no server to be had, or it does not start: with the end of its log.
    pub fn start(self) -> Result<Cluster, Error> {
        let binaries = Binaries::resolve(self.major)?;
        let watchdog = Watchdog::start(binaries.folder(), &INITDB)?;
        let folder = watchdog.folder();
        let socket = ("unix_socket_directories", folder.to_string_lossy());
        configure(folder, [socket])?;
        configure(folder, SETTINGS.map(|(name, value)| (name, value.into())))?;
        configure(
            folder,
            self.settings
                .iter()
                .map(|(name, value)| (name.as_str(), value.into())),
        )?;
        let mut cluster = Cluster {
            binaries,
            port: 0,
            watchdog,
        };
        let mut result = Ok(());
        for _ in 0..PORTS_TO_TRY {
            cluster.port = free_port()?;
            let port = cluster.port.to_string();
            configure(cluster.watchdog.folder(), [("port", port.into())])?;
            result = cluster.start_again();
            let taken = "could not create any TCP/IP sockets";
            if result.is_ok() || !tail(&log(cluster.watchdog.folder())).contains(taken) {
                break;
            }
        }
        result.map(|()| cluster)
    }
}

/// Appends to `postgresql.conf`, where the last word on a parameter counts.
fn configure<'a>(
    folder: &Path,
    settings: impl IntoIterator<Item = (&'a str, Cow<'a, str>)>,
) -> Result<(), Error> {
    let mut lines = String::new();
    for (name, value) in settings {
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        // Writing to a string cannot fail.
        let _infallible = writeln!(lines, "{name} = '{value}'");
    }
    OpenOptions::new()
        .append(true)
        .open(data(folder).join("postgresql.conf"))
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(|error| Error::because("postgresql.conf cannot be written", error))
}

/// A port that nobody listens on, below those that systems give to outgoing connections: while a server
/// is stopped, nothing else is likely to take its port.
fn free_port() -> Result<u16, Error> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that start together begin at places far from one another.
    let scattered = u16::try_from(process::id() % u32::from(COUNT)).unwrap_or_default();
    (0..COUNT)
        .map(|_| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            FIRST + (scattered.wrapping_mul(31) % COUNT + next) % COUNT
        })
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| Error::new("no free port on 127.0.0.1"))
}
