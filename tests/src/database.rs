//! A database for one test.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use postgres::{Client, NoTls};

use crate::{Cluster, Error};

/// A database of its own for a test, in the [shared cluster](Cluster::shared).
///
/// When it is dropped, so also when the test panics, it goes with everything that would hold on to it:
/// its sessions, and its replication slots, which would otherwise keep the log of all the others.
///
/// ```
/// let database = bemi_tests::Database::create()?;
/// println!("{}", database.url());
/// # Ok::<(), bemi_tests::Error>(())
/// ```
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    /// Of the database `postgres`, from where it is dropped.
    admin_url: String,
}

impl Database {
    /// An empty database in the shared cluster.
    ///
    /// # Errors
    /// As [`Cluster::shared`], and when the server cannot be reached.
    pub fn create() -> Result<Self, Error> {
        Self::create_in(Cluster::shared()?)
    }

    /// An empty database in `cluster`.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn create_in(cluster: &Cluster) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!(
            "test_{}_{}",
            process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        cluster.create_database(&name)?;
        Ok(Self {
            url: cluster.url(&name),
            admin_url: cluster.url("postgres"),
            name,
        })
    }

    /// Its connection URL, as the superuser.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let name = &self.name;
        let dropped = with_client(&self.admin_url, |client| {
            let quoted = quote(name);
            // First of all, or a capture that connects again could be quicker than us.
            client.batch_execute(&format!("ALTER DATABASE {quoted} ALLOW_CONNECTIONS false"))?;
            client.execute(
                "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots \
                 WHERE database = $1 AND active_pid IS NOT NULL",
                &[name],
            )?;
            client.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                 WHERE database = $1",
                &[name],
            )?;
            client.batch_execute(&format!("DROP DATABASE {quoted} WITH (FORCE)"))
        });
        // A test may well have stopped the server; it matters to whoever looks for a slot left behind.
        if let Err(error) = dropped {
            eprintln!("the database {name} was not dropped: {}", error.chain());
        }
    }
}

pub(crate) fn create(admin_url: &str, name: &str) -> Result<(), Error> {
    with_client(admin_url, |client| {
        client.batch_execute(&format!("CREATE DATABASE {}", quote(name)))
    })
}

fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// Runs `work` on a thread of its own: the client brings a runtime, and those do not nest.
fn with_client(
    url: &str,
    work: impl FnOnce(&mut Client) -> Result<(), postgres::Error> + Send,
) -> Result<(), Error> {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut client = Client::connect(url, NoTls)?;
            work(&mut client)
        });
        match worker.join() {
            Ok(result) => result.map_err(|error| Error::because("the harness's SQL", error)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
