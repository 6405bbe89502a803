//! What the source says about itself: its settings, our role, its tables, our slot and publication.

use tokio_postgres::types::{PgLsn, ToSql};

use crate::Lsn;
use crate::error::{Error, ErrorKind};
use crate::postgres::Connection;

/// The oldest supported server.
const MINIMUM_VERSION: i32 = 140_000;

/// The server and our role on it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    version_number: i32,
    version: String,
    wal_level: String,
    pub(crate) role: String,
    may_replicate: bool,
    pub(crate) is_superuser: bool,
    max_slots: i32,
    used_slots: i64,
    /// The cluster's system identifier.
    pub(crate) system_identifier: i64,
    pub(crate) database: String,
}

impl Server {
    pub(crate) async fn read(source: &Connection) -> Result<Self, Error> {
        let query = source.client.query_one(
                // On Amazon RDS membership in a role takes the place of the attribute.
                "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
                        current_setting('wal_level'), r.rolname::text, \
                        r.rolreplication OR r.rolsuper OR EXISTS (SELECT FROM pg_roles m \
                            WHERE m.rolname = 'rds_replication' AND pg_has_role(r.oid, m.oid, 'member')), \
                        current_setting('max_replication_slots')::int, \
                        (SELECT count(*) FROM pg_replication_slots), \
                        (SELECT system_identifier FROM pg_control_system()), current_database()::text, r.rolsuper \
                 FROM pg_roles r WHERE r.rolname = current_user",
                &[],
            );
        let row = source
            .answer("reading the server's settings", query)
            .await?;
        Ok(Self {
            version_number: row.get(0),
            version: row.get(1),
            wal_level: row.get(2),
            role: row.get(3),
            may_replicate: row.get(4),
            max_slots: row.get(5),
            used_slots: row.get(6),
            system_identifier: row.get(7),
            database: row.get(8),
            is_superuser: row.get(9),
        })
    }

    /// Whether changes can be read from here at all.
    pub(crate) fn check(&self) -> Result<(), Error> {
        Err(Error::new(if self.version_number < MINIMUM_VERSION {
            ErrorKind::ServerTooOld {
                version: self.version.clone(),
            }
        } else if self.wal_level != "logical" {
            ErrorKind::WalLevel {
                current: self.wal_level.clone(),
            }
        } else if !self.may_replicate {
            ErrorKind::ReplicationPermission {
                role: self.role.clone(),
            }
        } else {
            return Ok(());
        }))
    }

    /// Whether a publication can be asked for stored generated columns. There it must be: without
    /// them PostgreSQL refuses the application's UPDATE and DELETE under `REPLICA IDENTITY FULL`.
    pub(crate) fn publishes_generated_columns(&self) -> bool {
        self.version_number >= 180_000
    }

    /// Whether publications can leave rows out.
    pub(crate) fn has_row_conditions(&self) -> bool {
        self.version_number >= 150_000
    }

    /// Whether slots can go on [on a standby] that takes over.
    ///
    /// [on a standby]: https://www.postgresql.org/docs/current/logical-replication-failover.html
    pub(crate) fn has_failover_slots(&self) -> bool {
        self.version_number >= 170_000
    }

    /// Its version, for messages.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Whether there is room for one more slot.
    pub(crate) fn check_free_slot(&self) -> Result<(), Error> {
        if self.used_slots < i64::from(self.max_slots) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NoFreeSlot {
            max: self.max_slots,
        }))
    }
}

/// Drops the slot, unless somebody reads from it. Whether there was one to drop.
pub(crate) async fn drop_slot(source: &Connection, name: &str) -> Result<bool, Error> {
    let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
               WHERE slot_name = $1 AND active_pid IS NULL";
    let name: [&(dyn ToSql + Sync); 1] = [&name];
    let dropping = source.client.execute(sql, &name);
    let dropped = source
        .answer("dropping the replication slot", dropping)
        .await?;
    Ok(dropped > 0)
}

/// A replication slot as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) name: String,
    plugin: Option<String>,
    database: Option<String>,
    pub(crate) active_pid: Option<i32>,
    pub(crate) confirmed_flush_lsn: Lsn,
    wal_status: Option<String>,
    /// How much log the server keeps for it, in bytes.
    pub(crate) retained_bytes: i64,
    /// Where the server's log ends.
    pub(crate) log_end: Lsn,
    /// How much log its reader has not confirmed yet, in bytes.
    pub(crate) lag_bytes: i64,
}

impl Slot {
    pub(crate) async fn read(source: &Connection, name: &str) -> Result<Option<Self>, Error> {
        let name: [&(dyn ToSql + Sync); 1] = [&name];
        let query = source.client.query_opt(
                "SELECT slot_name::text, plugin::text, database::text, active_pid, confirmed_flush_lsn, wal_status, \
                        coalesce(pg_wal_lsn_diff(here, restart_lsn), 0)::bigint, \
                        coalesce(pg_wal_lsn_diff(here, confirmed_flush_lsn), 0)::bigint, here \
                 FROM pg_replication_slots, \
                      LATERAL (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
                                           ELSE pg_current_wal_lsn() END AS here) position \
                 WHERE slot_name = $1",
                &name,
            );
        let row = source.answer("reading the replication slot", query).await?;
        Ok(row.map(|row| Self {
            name: row.get(0),
            plugin: row.get(1),
            database: row.get(2),
            active_pid: row.get(3),
            confirmed_flush_lsn: row
                .get::<_, Option<PgLsn>>(4)
                .map_or(Lsn::ZERO, |lsn| Lsn::new(lsn.into())),
            wal_status: row.get(5),
            retained_bytes: row.get(6),
            lag_bytes: row.get(7),
            log_end: Lsn::new(row.get::<_, PgLsn>(8).into()),
        }))
    }

    /// The error for a slot that [is lost](Self::is_lost).
    pub(crate) fn lost(&self) -> Error {
        self.wrong("has lost its log: it kept more than max_slot_wal_keep_size allows")
    }

    /// Whether the server has dropped log that was kept for it.
    pub(crate) fn is_lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost")
    }

    /// Whether it is a slot of ours in `database`.
    pub(crate) fn check_database(&self, database: &str) -> Result<(), Error> {
        match (&self.plugin, &self.database) {
            (Some(plugin), _) if plugin != "pgoutput" => {
                Err(self.wrong(format!("uses the plugin {plugin}, and must use pgoutput")))
            }
            (None, _) => Err(self.wrong("is a physical one, and must be logical")),
            (_, Some(other)) if other != database => {
                Err(self.wrong(format!("belongs to the database {other:?}")))
            }
            _ => Ok(()),
        }
    }

    fn wrong(&self, problem: impl Into<String>) -> Error {
        Error::new(ErrorKind::WrongSlot {
            slot: self.name.clone(),
            problem: problem.into(),
        })
    }
}

/// A publication as it is.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the columns of the catalog, which are no states"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    /// Its identifier: that of another one, made anew under the same name, is another.
    pub(crate) oid: u32,
    /// It publishes every table, also those that do not exist yet.
    pub(crate) all_tables: bool,
    /// The tables that it names.
    pub(crate) tables: Vec<u32>,
    /// It publishes stored generated columns; before PostgreSQL 18 none does.
    pub(crate) generated_columns: bool,
    /// Rows of partitions pass for rows of the partitioned table that it names.
    pub(crate) via_partition_root: bool,
    pub(crate) comment: Option<String>,
    pub(crate) owned: bool,
    /// What it leaves out: operations, rows, columns.
    pub(crate) leaves_out: Vec<String>,
}

impl Publication {
    /// Checks that the publication `name` is the one that the stored changes were `read` through.
    ///
    /// What is committed while there is none is not published. Up to PostgreSQL 17 the server ends the
    /// stream there; since then it passes over such changes, and tells nobody but its own log.
    pub(crate) async fn check(source: &Connection, name: &str, read: u32) -> Result<(), Error> {
        let binds: [&(dyn ToSql + Sync); 1] = [&name];
        let sql = "SELECT oid FROM pg_publication WHERE pubname = $1";
        let query = source.client.query_opt(sql, &binds);
        let row = source.answer("looking for the publication", query).await?;
        Err(Error::new(match row.map(|row| row.get::<_, u32>(0)) {
            Some(oid) if oid == read => return Ok(()),
            Some(_) => ErrorKind::PublicationLost {
                publication: name.to_owned(),
            },
            None => ErrorKind::NotSetUp {
                missing: format!("the publication {name:?}"),
            },
        }))
    }

    pub(crate) async fn read(source: &Connection, name: &str) -> Result<Option<Self>, Error> {
        let row = source
            .client
            .query_opt(
                "SELECT p.oid, p.puballtables, ARRAY(SELECT r.prrelid FROM pg_publication_rel r WHERE r.prpubid = p.oid), \
                        ARRAY(SELECT what FROM (VALUES (NOT p.pubinsert, 'inserts'), (NOT p.pubupdate, 'updates'), \
                                  (NOT p.pubdelete, 'deletes'), (NOT p.pubtruncate, 'truncates')) v (missing, what) WHERE missing \
                              UNION ALL SELECT 'rows of ' || r.prrelid::regclass FROM pg_publication_rel r \
                                  WHERE r.prpubid = p.oid AND to_jsonb(r) ->> 'prqual' IS NOT NULL \
                              UNION ALL SELECT 'columns of ' || r.prrelid::regclass FROM pg_publication_rel r \
                                  WHERE r.prpubid = p.oid AND to_jsonb(r) ->> 'prattrs' IS NOT NULL), \
                        coalesce(to_jsonb(p) ->> 'pubgencols' = 's', false), p.pubviaroot, \
                        obj_description(p.oid, 'pg_publication'), pg_has_role(current_user, p.pubowner, 'USAGE') \
                 FROM pg_publication p WHERE p.pubname = $1",
                &[&name],
            )
            .await
            .map_err(|error| source.error("reading the publication", &error))?;
        Ok(row.map(|row| Self {
            oid: row.get(0),
            all_tables: row.get(1),
            tables: row.get(2),
            leaves_out: row.get(3),
            generated_columns: row.get(4),
            via_partition_root: row.get(5),
            comment: row.get(6),
            owned: row.get(7),
        }))
    }
}
