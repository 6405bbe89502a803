//! The one error type of setup, capture and the command.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use crate::Lsn;

/// Why setup, capture or the command could not do its work.
///
/// Its text says what happened; [`hint`](Error::hint) says what to do about it. Neither ever holds a
/// row's value, a context or a password.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What went wrong, with the facts that the message and the hint name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting of ours has a value that cannot work.
    Configuration {
        /// What is wrong with which setting.
        problem: String,
    },
    /// The server cannot be reached.
    Connect {
        /// The server's address and database.
        endpoint: String,
    },
    /// The server refused the role, its password or the database.
    Refused {
        /// The server's address and database.
        endpoint: String,
        /// What the server said.
        reason: ServerError,
    },
    /// The connection ended in the middle of its work.
    Disconnected {
        /// The server's address and database.
        endpoint: String,
    },
    /// The server is older than PostgreSQL 14.
    ServerTooOld {
        /// Its version.
        version: String,
    },
    /// `wal_level` is not `logical`, so the log does not hold whole rows.
    WalLevel {
        /// Its value.
        current: String,
    },
    /// The role lacks the attribute `REPLICATION`.
    ReplicationPermission {
        /// The role's name.
        role: String,
    },
    /// Every replication slot that `max_replication_slots` allows is taken.
    NoFreeSlot {
        /// The setting's value.
        max: i32,
    },
    /// Tables that were asked for do not exist.
    UnknownTables {
        /// Their names as they were given.
        tables: Vec<String>,
        /// Names of tables that do exist.
        known: Vec<String>,
    },
    /// What was asked for has no log to track.
    Untrackable {
        /// Each with what it is, such as `public.totals is a view`.
        tables: Vec<String>,
    },
    /// The server refuses a row condition, or is too old for one.
    RowCondition {
        /// The table, quoted.
        table: String,
        /// What the server said, or its version.
        problem: String,
    },
    /// The role does not own tables that are to be tracked.
    NotOwner {
        /// The role's name.
        role: String,
        /// The tables, quoted.
        tables: Vec<String>,
    },
    /// The role may not make the event trigger that recording commands takes.
    EventTriggerPermission {
        /// The role's name.
        role: String,
    },
    /// A table has a name that bemi needs, and is not bemi's.
    NameTaken {
        /// The table, quoted.
        table: String,
    },
    /// Nothing has been set up yet: the named part is missing.
    NotSetUp {
        /// What is missing, such as `the replication slot "bemi"`.
        missing: String,
    },
    /// Another process reads from the slot.
    SlotInUse {
        /// The slot's name.
        slot: String,
        /// The server process that serves it.
        pid: Option<i32>,
    },
    /// The slot cannot serve this capture.
    WrongSlot {
        /// The slot's name.
        slot: String,
        /// Why not.
        problem: String,
    },
    /// The slot is gone although changes were stored from it: what was committed since cannot be read.
    SlotLost {
        /// The slot's name.
        slot: String,
        /// Everything before this is stored.
        stored: Lsn,
    },
    /// The publication is gone, or is another one than the stored changes were read through: what was
    /// committed while there was none cannot be read from the slot any more.
    PublicationLost {
        /// The publication's name.
        publication: String,
    },
    /// The slot is not the one that the stored changes were read from.
    OtherSlot {
        /// The slot that they are stored through.
        stored: String,
    },
    /// The slot has moved past the last stored change: what lies between cannot be read any more.
    Gap {
        /// Everything before this is stored.
        stored: Lsn,
        /// Where the slot begins.
        slot: Lsn,
    },
    /// The source keeps more log for the slot than the capture was told to let it.
    TooMuchLog {
        /// The slot's name.
        slot: String,
        /// How much it keeps, in bytes.
        retained: u64,
        /// How much it may, in bytes.
        limit: u64,
    },
    /// The log ends before the last stored change: the database is an older copy of the captured one.
    Rewound {
        /// Everything before this is stored.
        stored: Lsn,
        /// Where the log ends.
        end: Lsn,
    },
    /// Another capture has stored changes of the same database in the meantime.
    Fenced {
        /// Where this capture had left off.
        expected: Lsn,
    },
    /// The log holds something that cannot be decoded.
    Decode {
        /// Where in the log.
        position: Lsn,
        /// What cannot be decoded, without values.
        problem: String,
    },
    /// The server answered a statement of ours with an error.
    Server {
        /// What was being done.
        doing: &'static str,
        /// What the server said.
        error: ServerError,
    },
    /// The capture has ended, so what was waited for cannot come.
    Stopped,
    /// Changes are still refused that were put aside.
    PutAside {
        /// How many.
        changes: usize,
    },
    /// Something on this machine failed.
    Io {
        /// What was being done.
        doing: &'static str,
    },
}

/// An error that the server reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// The [SQLSTATE](https://www.postgresql.org/docs/current/errcodes-appendix.html).
    pub sqlstate: String,
    /// The message. Where it could hold a row's value, as for data and constraints and what a trigger
    /// raises, it is replaced by the name of the constraint or column, or empty.
    pub message: String,
}

impl ServerError {
    #[cfg_attr(
        not(feature = "capture"),
        allow(dead_code, reason = "only setup and capture talk to a server")
    )]
    pub(crate) fn new(sqlstate: &str, message: &str) -> Self {
        // Data, constraints, and whatever a trigger, a function or a foreign server has to say.
        let quotes_values = matches!(
            sqlstate.get(..2),
            Some("22" | "23" | "2F" | "38" | "39" | "44" | "HV" | "P0")
        );
        Self {
            sqlstate: sqlstate.to_owned(),
            message: if quotes_values {
                String::new()
            } else {
                message.to_owned()
            },
        }
    }

    /// Adds what the server names beside the message: a constraint, or a column, of a table.
    #[cfg(feature = "capture")]
    pub(crate) fn about(
        mut self,
        constraint: Option<&str>,
        column: Option<&str>,
        table: Option<&str>,
    ) -> Self {
        if self.message.is_empty() {
            let of = table.map_or_else(String::new, |table| format!(" of {table:?}"));
            match (constraint, column) {
                (Some(constraint), _) => {
                    self.message = format!("refused by the constraint {constraint:?}{of}");
                }
                (None, Some(column)) => {
                    self.message = format!("refused by the column {column:?}{of}");
                }
                (None, None) => {}
            }
        }
        self
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.message {
            "" => write!(f, "SQLSTATE {}", self.sqlstate),
            message => write!(f, "{message} (SQLSTATE {})", self.sqlstate),
        }
    }
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It passes by itself: a restart, a network cut, a busy slot.
    Later,
    /// Somebody has to do something first.
    Never,
}

impl ErrorKind {
    /// Whether it tells that changes are missing, and the capture can go on from where the log can be read.
    pub(crate) fn is_gap(&self) -> bool {
        matches!(
            self,
            Self::SlotLost { .. } | Self::Gap { .. } | Self::PublicationLost { .. }
        )
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }

    pub(crate) fn configuration(problem: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration {
            problem: problem.into(),
        })
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// What to do about it: the next command, statement or setting.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        self.policy().1
    }

    /// Whether the capture tries again by itself when it meets this error.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.policy().0 == Retry::Later
    }

    fn is_about_certificate(&self) -> bool {
        let source = self.source.as_ref().map(ToString::to_string);
        source.is_some_and(|text| text.contains("invalid peer certificate"))
    }

    /// The one place that says what happens after an error.
    #[expect(clippy::too_many_lines, reason = "a table with a line for each error")]
    fn policy(&self) -> (Retry, Option<Cow<'static, str>>) {
        use ErrorKind as K;
        let say = |hint: String| Some(Cow::Owned(hint));
        match &self.kind {
            K::Configuration { .. } | K::Stopped | K::Io { .. } => (Retry::Never, None),
            K::Connect { .. } if self.is_about_certificate() => (
                Retry::Later,
                Some(
                    "the server's certificate must be of version 3, signed by a certificate in sslrootcert, not that \
                     certificate itself, and for sslmode=verify-full name the host; sslmode=require without sslrootcert \
                     encrypts without verifying it"
                        .into(),
                ),
            ),
            K::Connect { .. } => (Retry::Later, Some("check that the server runs and that the host and port of the URL are right; `pg_isready` tells".into())),
            K::Refused { .. } => (Retry::Later, Some("check the role, the password and the database of the URL, and the server's pg_hba.conf".into())),
            K::Disconnected { .. } | K::TooMuchLog { .. } => (Retry::Later, None),
            K::ServerTooOld { .. } => (Retry::Never, Some("bemi needs PostgreSQL 14 or newer".into())),
            K::WalLevel { .. } => (
                Retry::Never,
                Some("run `ALTER SYSTEM SET wal_level = 'logical'` as a superuser and restart the server".into()),
            ),
            K::ReplicationPermission { role } => (
                Retry::Never,
                say(format!("run `ALTER ROLE {} REPLICATION` as a superuser", quote_identifier(role))),
            ),
            K::NoFreeSlot { max } => (
                Retry::Never,
                say(format!(
                    "drop a slot that nobody needs (`SELECT slot_name, active FROM pg_replication_slots`), or run \
                     `ALTER SYSTEM SET max_replication_slots = {}` and restart the server",
                    max.saturating_add(4)
                )),
            ),
            K::UnknownTables { known, .. } if known.is_empty() => {
                (Retry::Never, Some("this database has no table yet".into()))
            }
            K::UnknownTables { known, .. } => (Retry::Never, say(format!("this database has {}", known.join(", ")))),
            K::Untrackable { .. } => (
                Retry::Never,
                Some("name the tables that hold the rows; an unlogged table can be tracked after `ALTER TABLE … SET LOGGED`".into()),
            ),
            K::RowCondition { .. } => (
                Retry::Never,
                Some(
                    "a row condition is an SQL expression of the table's columns, constants and immutable \
                     built-in functions, from PostgreSQL 15 on: see WHERE in the manual's page on CREATE PUBLICATION"
                        .into(),
                ),
            ),
            K::NotOwner { role, tables } => (
                Retry::Never,
                say(format!(
                    "let the owner run setup, leave them out with --exclude, or run `{}` as a superuser",
                    tables
                        .iter()
                        .map(|table| format!("ALTER TABLE {table} OWNER TO {}", quote_identifier(role)))
                        .collect::<Vec<_>>()
                        .join("; ")
                )),
            ),
            K::EventTriggerPermission { .. } => (
                Retry::Never,
                Some("let a superuser run this setup: recording commands takes an event trigger".into()),
            ),
            K::NameTaken { table } => {
                (Retry::Never, say(format!("rename it (`ALTER TABLE {table} RENAME TO …`), or store the changes in another database")))
            }
            K::NotSetUp { .. } => (Retry::Never, Some("run `bemi setup`".into())),
            K::SlotInUse { pid, .. } => (
                Retry::Later,
                say(match pid {
                    Some(pid) => format!(
                        "stop the other capture (`SELECT * FROM pg_stat_replication WHERE pid = {pid}` tells who it is), or \
                         choose another slot with --slot"
                    ),
                    None => "stop the other capture, or choose another slot with --slot".to_owned(),
                }),
            ),
            K::WrongSlot { .. } => (Retry::Never, Some("choose another slot with --slot".into())),
            K::SlotLost { .. } => (
                Retry::Never,
                Some("`bemi setup --accept-gap` makes a new slot; what was committed in between stays missing".into()),
            ),
            K::PublicationLost { .. } => (
                Retry::Never,
                Some("`bemi setup --accept-gap` makes it anew where need be and goes on from here; what was committed in between stays missing".into()),
            ),
            K::OtherSlot { stored } => (
                Retry::Never,
                say(format!(
                    "go on with --slot {stored}; `bemi setup --accept-gap` changes over to the new one, and what was \
                     committed since the last stored change stays missing"
                )),
            ),
            K::Gap { .. } => (
                Retry::Never,
                Some("`bemi setup --accept-gap` goes on from where the slot is; what lies between stays missing".into()),
            ),
            K::Rewound { end, .. } => (
                Retry::Never,
                say(format!(
                    "the database was restored from a backup, or a standby took over that was behind: move the changes \
                     that it has not made (`commit_lsn >= {}` in public.changes) elsewhere, then `bemi setup --accept-gap` \
                     goes on from here",
                    end.as_i64()
                )),
            ),
            K::PutAside { .. } => (
                Retry::Never,
                Some("remove the cause of each reason, or upgrade bemi, and run `bemi replay-poison` again".into()),
            ),
            K::Fenced { .. } => (Retry::Later, Some("let only one capture at a time store the changes of a database".into())),
            K::Decode { .. } => (Retry::Never, Some("this is a bug in bemi: please report it".into())),
            K::Server { error, .. } => server_policy(&error.sqlstate),
        }
    }
}

/// What to do about an error of the server, by its class.
fn server_policy(sqlstate: &str) -> (Retry, Option<Cow<'static, str>>) {
    match sqlstate.get(..2).unwrap_or_default() {
        "42" if sqlstate == "42501" => (
            Retry::Never,
            Some("grant the role what the message names".into()),
        ),
        "25" if sqlstate == "25006" => (
            Retry::Later,
            Some("the database takes no writes: it is a standby, or another one is the primary now".into()),
        ),
        "42" if matches!(sqlstate, "42P01" | "42703") => (
            Retry::Never,
            Some("somebody has dropped or altered a table of bemi's: `bemi setup` makes what is missing".into()),
        ),
        // Our own statements are right, and data does not become storable by waiting.
        "0A" | "22" | "23" | "42" => (Retry::Never, None),
        "53" if sqlstate == "53100" => (
            Retry::Later,
            Some("the server's disk is full: make room".into()),
        ),
        "55" if sqlstate == "55P03" => (
            Retry::Later,
            Some("another session holds a lock on the table: try again when it is done".into()),
        ),
        _ => (Retry::Later, None),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ErrorKind as K;
        match &self.kind {
            K::Configuration { problem } => f.write_str(problem),
            K::Connect { endpoint } => write!(f, "cannot connect to {endpoint}"),
            K::Refused { endpoint, reason } => {
                write!(f, "{endpoint} refused the connection: {reason}")
            }
            K::Disconnected { endpoint } => write!(f, "lost the connection to {endpoint}"),
            K::ServerTooOld { version } => write!(f, "the server is PostgreSQL {version}"),
            K::WalLevel { current } => write!(
                f,
                "the server's wal_level is '{current}', and must be 'logical'"
            ),
            K::ReplicationPermission { role } => write!(
                f,
                "the role {role:?} may not read the log: it lacks the attribute REPLICATION"
            ),
            K::NoFreeSlot { max } => {
                write!(f, "all {max} replication slots of the server are taken")
            }
            K::PutAside { changes } => write!(
                f,
                "{changes} {} still refused, and put aside",
                plural(*changes, "change is", "changes are")
            ),
            K::UnknownTables { tables, .. } => write!(
                f,
                "unknown {}: {}",
                plural(tables.len(), "table", "tables"),
                tables.join(", ")
            ),
            K::Untrackable { tables } => {
                write!(f, "there is no log to track: {}", tables.join(", "))
            }
            K::RowCondition { table, problem } => {
                write!(f, "the row condition of {table}: {problem}")
            }
            K::NotOwner { role, tables } => write!(
                f,
                "the role {role:?} does not own the {} {}",
                plural(tables.len(), "table", "tables"),
                tables.join(", ")
            ),
            K::EventTriggerPermission { role } => {
                write!(f, "the role {role:?} may not create event triggers")
            }
            K::NameTaken { table } => write!(f, "there is a table {table} that is not bemi's"),
            K::NotSetUp { missing } => write!(f, "{missing} does not exist"),
            K::SlotInUse {
                slot,
                pid: Some(pid),
            } => write!(
                f,
                "the replication slot {slot:?} is in use by the server process {pid}"
            ),
            K::SlotInUse { slot, pid: None } => {
                write!(f, "the replication slot {slot:?} is in use")
            }
            K::WrongSlot { slot, problem } => write!(f, "the replication slot {slot:?} {problem}"),
            K::SlotLost { slot, stored } => write!(
                f,
                "the replication slot {slot:?} is gone or has lost its log, and changes after {stored} with it"
            ),
            K::PublicationLost { publication } => write!(
                f,
                "the publication {publication:?} was dropped: changes made while there was none cannot be read"
            ),
            K::OtherSlot { stored } => {
                write!(
                    f,
                    "the changes of this database are stored through the replication slot {stored:?}"
                )
            }
            K::Gap { stored, slot } => write!(
                f,
                "the slot begins at {slot}, but only changes up to {stored} are stored"
            ),
            K::TooMuchLog {
                slot,
                retained,
                limit,
            } => write!(
                f,
                "the source keeps {retained} bytes of log for the replication slot {slot:?}, more than the {limit} it may"
            ),
            K::Rewound { stored, end } => write!(
                f,
                "changes up to {stored} are stored, but the log of the database ends at {end}"
            ),
            K::Fenced { expected } => {
                write!(f, "another capture has stored changes after {expected}")
            }
            K::Decode { position, problem } => {
                write!(f, "cannot decode the log at {position}: {problem}")
            }
            K::Server { doing, error } => write!(f, "{doing}: {error}"),
            K::Stopped => f.write_str("the capture has stopped"),
            K::Io { doing } => write!(f, "{doing}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// `name` as SQL writes an identifier, always in quotes.
pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as SQL writes a string, whatever `standard_conforming_strings` says.
pub(crate) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}
