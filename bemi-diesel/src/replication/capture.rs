//! Starting a capture.

use std::thread;

use tokio::sync::{oneshot, watch};

use super::guard::{Guard, WARN_BYTES};
use super::handle::{CaptureHandle, Status};
use super::task::{self, Task, recorded};
use super::watch::Watch;
use crate::Lsn;
use crate::error::{Error, ErrorKind};
use crate::settings::{DEFAULT_NAME, GapPolicy, Settings};
use crate::setup::{OnGap, RowCondition, TablePattern, Tables, setup};

/// The built-in capture: reads the write-ahead log of a database and fills the table `changes`.
///
/// ```no_run
/// # async fn example() -> Result<(), bemi_diesel::Error> {
/// use bemi_diesel::Capture;
///
/// let capture = Capture::builder("postgres://app@localhost/shop").start().await?;
/// // … serve …
/// capture.shutdown().await
/// # }
/// ```
#[derive(Debug)]
pub struct Capture(());

impl Capture {
    /// A capture of the database that `url` names (`postgres://role:password@host:port/database`, as
    /// libpq understands it, with `sslmode`, `sslrootcert`, `sslcert` and `sslkey`).
    ///
    /// A server that leaves a question without an answer for `tcp_user_timeout` milliseconds (30,000 by
    /// default) counts as lost, and the capture connects anew.
    pub fn builder(url: impl Into<String>) -> CaptureBuilder {
        CaptureBuilder {
            url: url.into(),
            destination: None,
            slot: DEFAULT_NAME.to_owned(),
            publication: DEFAULT_NAME.to_owned(),
            setup: true,
            tables: None,
            exclude: Vec::new(),
            conditions: Vec::new(),
            publish_via_partition_root: None,
            ddl: None,
            ignore: Vec::new(),
            keep_unchanged: false,
            on_gap: GapPolicy::Stop,
            give_up_at: None,
        }
    }
}

/// The settings of a capture. `Debug` hides the URLs, as they hold passwords.
#[must_use = "a capture runs once it is started"]
pub struct CaptureBuilder {
    url: String,
    destination: Option<String>,
    slot: String,
    publication: String,
    setup: bool,
    tables: Option<Vec<String>>,
    exclude: Vec<String>,
    conditions: Vec<(String, String)>,
    publish_via_partition_root: Option<bool>,
    ddl: Option<bool>,
    ignore: Vec<String>,
    keep_unchanged: bool,
    on_gap: GapPolicy,
    give_up_at: Option<u64>,
}

impl std::fmt::Debug for CaptureBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureBuilder")
            .field("slot", &self.slot)
            .field("publication", &self.publication)
            .field("setup", &self.setup)
            .field("tables", &self.tables)
            .field("exclude", &self.exclude)
            .field("conditions", &self.conditions)
            .field(
                "publish_via_partition_root",
                &self.publish_via_partition_root,
            )
            .field("ignore", &self.ignore)
            .field("keep_unchanged", &self.keep_unchanged)
            .field("on_gap", &self.on_gap)
            .field("give_up_at", &self.give_up_at)
            .finish_non_exhaustive()
    }
}

impl CaptureBuilder {
    /// The database that holds the table `changes`. Defaults to the captured one.
    pub fn destination(mut self, url: impl Into<String>) -> Self {
        self.destination = Some(url.into());
        self
    }

    /// The replication slot: lower-case letters, digits and underscores. Defaults to `bemi`.
    pub fn slot(mut self, name: impl Into<String>) -> Self {
        self.slot = name.into();
        self
    }

    /// The publication. Defaults to `bemi`.
    pub fn publication(mut self, name: impl Into<String>) -> Self {
        self.publication = name.into();
        self
    }

    /// Tracks these tables only. Each pattern is `table` (in every schema) or `schema.table`, where `*`
    /// stands for any text within a name and `?` for one character: `sales.*`, `public.order_*`. Between
    /// double quotes every character stands for itself: `"odd.schema"."a*b"`. A partitioned table means
    /// its partitions. Defaults to every table. Tables that are tracked already stay so.
    ///
    /// Tables that are made later become tracked by themselves: where the setup was a superuser's, in the
    /// transaction that makes them, by an event trigger; else within five seconds, by a running capture
    /// whose role owns them, and what is written to them before is not recorded. Nor are the rows that a
    /// `CREATE TABLE AS` or `SELECT INTO` itself writes.
    pub fn tables<T: Into<String>>(mut self, tables: impl IntoIterator<Item = T>) -> Self {
        self.tables = Some(tables.into_iter().map(Into::into).collect());
        self
    }

    /// Leaves these tables out, named like those of [`tables`](Self::tables). Defaults to none.
    pub fn exclude<T: Into<String>>(mut self, tables: impl IntoIterator<Item = T>) -> Self {
        self.exclude.extend(tables.into_iter().map(Into::into));
        self
    }

    /// Tracks only those rows of `tables` (named like those of [`tables`](Self::tables)) for which the
    /// SQL expression `condition` is true. Needs PostgreSQL 15. Defaults to every row; a condition that
    /// was set once stays until another replaces it.
    ///
    /// It is the [row filter] of a publication, with its limits: only the table's columns, constants and
    /// immutable built-in functions; an `UPDATE` that takes a row out of the condition is a `DELETE` in
    /// the trail, one that brings it in a `CREATE`; `TRUNCATE` is always recorded. The condition needs
    /// the replica identity `FULL` that setup gives: whoever takes it away makes the application's own
    /// `UPDATE` and `DELETE` fail.
    ///
    /// [row filter]: https://www.postgresql.org/docs/current/logical-replication-row-filter.html
    pub fn rows_where(mut self, tables: impl Into<String>, condition: impl Into<String>) -> Self {
        self.conditions.push((tables.into(), condition.into()));
        self
    }

    /// Whether a row of a partition passes for one of its partitioned table: with `true`, `table` is the
    /// partitioned table's name. A `TRUNCATE` of a single partition is then not recorded. Defaults to
    /// what the publication says, which is `false` for a new one.
    ///
    /// It holds for partitioned tables all of whose partitions are tracked, and which have a primary
    /// key: without one, the application's `UPDATE` of a new partition would fail.
    pub fn publish_via_partition_root(mut self, whether: bool) -> Self {
        self.publish_via_partition_root = Some(whether);
        self
    }

    /// Whether commands that make, alter or drop a table are changes too, with the operation
    /// [`Ddl`](crate::Operation::Ddl). Takes a superuser, as it takes an event trigger. Defaults to what an
    /// earlier setup said, at first `false`.
    pub fn ddl(mut self, whether: bool) -> Self {
        self.ddl = Some(whether);
        self
    }

    /// Makes no entry of an `UPDATE` that changed no other column than these. Each pattern is `column`,
    /// `table.column` or `schema.table.column`, where `*` stands for any text within a name:
    /// `*.updated_at`, `*_cached_counter`. Defaults to none.
    ///
    /// When another column changes as well, `before` and `after` hold these columns like every other.
    /// Under another replica identity than `FULL`, which setup gives, the log does not tell what an
    /// update left alone: then every update makes an entry.
    pub fn ignore<T: Into<String>>(mut self, columns: impl IntoIterator<Item = T>) -> Self {
        self.ignore.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Makes an entry also of an `UPDATE` that left its row as it was, to the last character. By
    /// default it makes none.
    ///
    /// The [`ordinal`](crate::Change::ordinal) counts such updates either way, so that the setting can
    /// be changed at any time.
    pub fn keep_unchanged(mut self) -> Self {
        self.keep_unchanged = true;
        self
    }

    /// What to do when changes cannot be read any more. Defaults to [`GapPolicy::Stop`].
    pub fn on_gap(mut self, policy: GapPolicy) -> Self {
        self.on_gap = policy;
        self
    }

    /// Gives the slot up once the source keeps as many bytes of log for it, before that fills its disk: the slot is
    /// dropped, and changes that are not stored by then are lost. What follows is a matter of
    /// [`on_gap`](Self::on_gap). Looked at every five seconds, also while the destination cannot be reached, but not
    /// while no capture runs: PostgreSQL's own `max_slot_wal_keep_size` does that. Defaults to never.
    pub fn give_up_at(mut self, bytes: u64) -> Self {
        self.give_up_at = Some(bytes);
        self
    }

    /// Expects that `bemi setup` has been run, and changes nothing but the rows of `changes`, and new
    /// tables that become tracked as far as the role owns them: the role
    /// then needs no more than `REPLICATION` and the rights on bemi's tables. By default the capture
    /// makes what is missing.
    pub fn without_setup(mut self) -> Self {
        self.setup = false;
        self
    }

    /// Starts the capture in a thread and runtime of its own, and returns once it reads the log: every
    /// change that is committed from then on will be stored.
    ///
    /// Any number of captures of one slot may be started, as by the instances of an application. One
    /// reads the log; the others [stand by](crate::State::StandingBy), for which this returns too, and one
    /// of them takes over when the first one has ended.
    ///
    /// It goes on until [`CaptureHandle::shutdown`], and reconnects by itself whenever a connection is
    /// lost. What is not stored yet the source keeps in its log: from 1 GiB on, and again each time that it has doubled, a
    /// warning says so ([`Status::retained_bytes`](crate::Status::retained_bytes)).
    ///
    /// # Errors
    ///
    /// Whatever keeps it from reading the log now; [`Error::hint`] says what to do about it.
    pub async fn start(self) -> Result<CaptureHandle, Error> {
        let mut settings = Settings::new(
            &self.url,
            self.destination.as_deref(),
            &self.slot,
            &self.publication,
        )?
        .with_rules(&self.ignore, self.keep_unchanged)?;
        (settings.on_gap, settings.give_up_at) = (self.on_gap, self.give_up_at);
        let tables = self.selection()?;
        start(settings, self.setup.then_some(tables)).await
    }

    fn selection(&self) -> Result<Tables, Error> {
        let patterns = |texts: &[String]| -> Result<Vec<TablePattern>, Error> {
            texts.iter().map(|text| TablePattern::parse(text)).collect()
        };
        let condition = |(table, condition): &(String, String)| {
            Ok(RowCondition {
                table: TablePattern::parse(table)?,
                condition: condition.clone(),
            })
        };
        Ok(Tables {
            only: self.tables.as_deref().map(patterns).transpose()?,
            exclude: patterns(&self.exclude)?,
            conditions: self
                .conditions
                .iter()
                .map(condition)
                .collect::<Result<_, Error>>()?,
            publish_via_partition_root: self.publish_via_partition_root,
            ddl: self.ddl,
        })
    }
}

/// Starts a capture in a thread and runtime of its own, after setting `tables` up if there are any.
pub(crate) async fn start(
    settings: Settings,
    tables: Option<Tables>,
) -> Result<CaptureHandle, Error> {
    let (status_sender, status) = watch::channel(Status::starting());
    let (stop, stopping) = watch::channel(false);
    let (want, wanted) = watch::channel(Lsn::ZERO);
    let (ready_sender, ready) = oneshot::channel();
    let work = async move {
        if let Some(tables) = tables {
            let notify = |note: &str| tracing::warn!("{note}");
            let on_gap = OnGap::from(settings.on_gap);
            let report = setup(&settings, &tables, on_gap, notify).await?;
            recorded(report.gap, &settings.slot, &status_sender);
        }
        let watch = Watch {
            source: settings.source.clone(),
            slot: settings.slot.clone(),
            status: status_sender.clone(),
            guard: Guard::new(WARN_BYTES, settings.give_up_at),
            too_many: None,
        };
        task::run(Task {
            settings,
            status: status_sender,
            stopping,
            wanted,
            ready: Some(ready_sender),
            moved: false,
            watch,
        })
        .await
    };
    let failed = |doing| move |error| Error::with_source(ErrorKind::Io { doing }, error);
    let thread = thread::Builder::new()
        .name("bemi-capture".to_owned())
        .spawn(move || {
            // What is stored is encoded in a thread beside the one that decodes: both take processor time.
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("bemi-connections")
                .enable_all()
                .build()
                .map_err(failed("starting the capture's runtime"))?
                .block_on(work)
        })
        .map_err(failed("starting the capture's thread"))?;
    let handle = CaptureHandle {
        status,
        stop,
        want,
        thread: Some(thread),
    };
    match ready.await {
        Ok(()) => Ok(handle),
        // The thread has given up before it was ready, and knows why.
        Err(_) => handle
            .finished()
            .await
            .and(Err(Error::new(ErrorKind::Stopped))),
    }
}
