//! Which tables are published, and how: their replica identities come first.

use std::collections::HashMap;

use tokio_postgres::types::ToSql;

use super::selection::{Selected, Tables};
use super::source::{Publication, Server};
use super::table::{Kind, Relation, Table};
use super::{Report, follow};
use crate::error::{Error, ErrorKind, quote_identifier, quote_literal};
use crate::postgres::Connection;

/// How long setup waits for the lock on a table: it must not queue in front of the application. The event
/// trigger keeps out of it.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '5s'; SET LOCAL bemi.tracking = 'on'";

/// A publication that does not outlive the transaction in which a row condition is tried.
const TRIAL: &str = "\"_bemi_trial\"";

/// A publication to be made or extended, whose checks have passed.
pub(super) struct Publishing {
    name: String,
    /// As it is.
    publication: Option<Publication>,
    /// It publishes stored generated columns when asked to.
    generated_columns: bool,
    via_partition_root: Option<bool>,
    selected: Selected,
    /// Tables that cannot be tracked without harm.
    harmful: Vec<Table>,
    /// Partitioned tables whose partitions are published one by one, although they were not to be.
    apart: Vec<Table>,
    units: Vec<Unit>,
    /// The selection to be kept in the publication's comment.
    comment: String,
    /// Whether it can be kept there.
    keeps_comment: bool,
    /// What makes the event trigger; `None` where there can be none.
    trigger: Option<Vec<String>>,
}

/// What is published for itself: a table, or a partitioned table in place of its partitions.
struct Unit {
    table: Table,
    published: bool,
    /// The row condition to be set, as the server writes it.
    condition: Option<String>,
}

impl Publishing {
    pub(super) async fn make(
        source: &Connection,
        name: &str,
        server: &Server,
        tables: &Tables,
        publication: Option<Publication>,
    ) -> Result<Self, Error> {
        let all = Relation::read_all(source, tables).await?;
        let mut selected = tables.select(&all)?;
        let (trackable, harmful) = std::mem::take(&mut selected.tables)
            .into_iter()
            .partition(|table| table.identity().is_some());
        selected.tables = trackable;
        let existing = publication.as_ref();
        let comment = existing.and_then(|publication| publication.comment.as_deref());
        let (former, recorded) = follow::read(comment).unwrap_or_default();
        let ddl = tables.ddl.unwrap_or(recorded);
        // For the tables to come a condition stays too, until another replaces it.
        let mut kept = tables.clone();
        if kept.conditions.is_empty() {
            kept.conditions = former.conditions;
        }
        let trigger = if follow::can_trigger(source, server).await? {
            Some(follow::missing_trigger(source, &kept, ddl, name).await?)
        } else {
            None
        };
        if tables.ddl == Some(true) && trigger.is_none() {
            let role = server.role.clone();
            return Err(Error::new(ErrorKind::EventTriggerPermission { role }));
        }
        let mut publishing = Self {
            keeps_comment: existing.is_none_or(|publication| publication.owned)
                && follow::is_replaceable(comment),
            comment: follow::comment(&kept, ddl),
            trigger,
            name: name.to_owned(),
            generated_columns: server.publishes_generated_columns(),
            via_partition_root: tables.publish_via_partition_root,
            publication,
            selected,
            harmful,
            apart: Vec::new(),
            units: Vec::new(),
        };
        publishing.units(&all);
        publishing.conditions(source, server).await?;
        Ok(publishing)
    }

    /// The publication as it was.
    pub(super) fn publication(&self) -> Option<&Publication> {
        self.publication.as_ref()
    }

    pub(super) fn is_new(&self) -> bool {
        self.publication.is_none()
    }

    /// Decides what is published for itself.
    fn units(&mut self, all: &[Relation]) {
        let via_root = self.via_partition_root.unwrap_or_else(|| {
            let publication = self.publication.as_ref();
            publication.is_some_and(|publication| publication.via_partition_root)
        });
        let (mut roots, mut apart) = (Vec::new(), Vec::new());
        let topmost = self.selected.roots.iter();
        for root in topmost.filter(|root| via_root && root.ancestors.is_empty()) {
            if self.is_whole(root, all) {
                roots.push(root.clone());
            } else {
                apart.push(root.clone());
            }
        }
        let published_by_root = |table: &Table| {
            let top = table.ancestors.last();
            roots.iter().any(|root| Some(&root.oid) == top)
        };
        let tables = self.selected.tables.iter();
        let alone = tables.filter(|table| !published_by_root(table)).cloned();
        let units: Vec<Table> = roots.iter().cloned().chain(alone).collect();
        self.units = units
            .into_iter()
            .map(|table| Unit {
                published: self.is_published(&table),
                table,
                condition: None,
            })
            .collect();
        self.apart = apart;
    }

    /// Whether publishing `root` publishes the same as publishing its partitions, and no partition that
    /// is made later can make the application's own UPDATE fail.
    fn is_whole(&self, root: &Table, all: &[Relation]) -> bool {
        let parts = all.iter().filter(|relation| {
            relation.kind != Kind::Partitioned && relation.table.ancestors.last() == Some(&root.oid)
        });
        let mut tracked = parts.map(|part| {
            let tables = self.selected.tables.iter();
            tables
                .filter(|table| table.oid == part.table.oid)
                .any(|table| table.condition == root.condition)
        });
        (root.has_primary_key || self.trigger.is_some()) && tracked.all(|tracked| tracked)
    }

    fn is_published(&self, table: &Table) -> bool {
        self.publication.as_ref().is_some_and(|publication| {
            let named = |oid: &u32| publication.tables.contains(oid);
            publication.all_tables || named(&table.oid) || table.ancestors.iter().any(named)
        })
    }

    /// Lets the server check the row conditions, and keeps those that are not set yet.
    async fn conditions(&mut self, source: &Connection, server: &Server) -> Result<(), Error> {
        if self.units.iter().all(|unit| unit.table.condition.is_none()) {
            return Ok(());
        }
        let refused = |table: &Table, problem: String| {
            Error::new(ErrorKind::RowCondition {
                table: table.quoted(),
                problem,
            })
        };
        let existing = if server.has_row_conditions() {
            existing_conditions(source, &self.name).await?
        } else {
            HashMap::new()
        };
        let publication = self.publication.as_ref();
        for unit in &mut self.units {
            let Some(condition) = &unit.table.condition else {
                continue;
            };
            if !server.has_row_conditions() {
                let problem = format!("the server is PostgreSQL {}", server.version());
                return Err(refused(&unit.table, problem));
            }
            if unit.table.identity() != Some(super::table::Identity::Full) {
                let problem =
                    "the table has virtual generated columns, and so not the replica identity FULL";
                return Err(refused(&unit.table, problem.to_owned()));
            }
            let named = publication.is_some_and(|publication| {
                !publication.all_tables && publication.tables.contains(&unit.table.oid)
            });
            if unit.published && !named {
                let problem = "the publication does not name the table itself";
                return Err(refused(&unit.table, problem.to_owned()));
            }
            let written = written(source, &unit.table, condition).await?;
            let written = written.map_err(|problem| refused(&unit.table, problem))?;
            if existing.get(&unit.table.oid) != Some(&written) {
                unit.condition = Some(written);
            }
        }
        Ok(())
    }

    /// The tables that need a replica identity. Of a partitioned table that is published for its partitions,
    /// its own tells what of the old row is sent.
    fn identified(&self) -> impl Iterator<Item = &Table> {
        let tables = self.selected.tables.iter();
        let units = self.units.iter().map(|unit| &unit.table);
        tables.chain(units.filter(|table| table.is_partitioned))
    }

    /// Whether the role owns what is to be altered.
    pub(super) fn check_ownership(&self, role: &str) -> Result<(), Error> {
        let unidentified = self.identified().filter(|table| !table.is_identified());
        let altered = self.units.iter().filter(|unit| unit.is_altered());
        let mut foreign: Vec<String> = unidentified
            .chain(altered.map(|unit| &unit.table))
            .filter(|table| !table.owned)
            .map(Table::quoted)
            .collect();
        foreign.sort();
        foreign.dedup();
        if foreign.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotOwner {
            role: role.to_owned(),
            tables: foreign,
        }))
    }

    /// Gives the tables their replica identity and publishes them.
    ///
    /// The replica identity comes in the same transaction, first: a published table without one would
    /// make the application's own UPDATE and DELETE fail.
    pub(super) async fn carry_out(
        &self,
        source: &Connection,
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut statements = vec![LOCK_TIMEOUT.to_owned()];
        for table in self.identified() {
            let Some(identity) = table.identity() else {
                continue;
            };
            let (identity, name) = (identity.sql(), table.full_name());
            let what = format!("replica identity {identity} on {name}");
            report.step(!table.is_identified(), what);
            if !table.is_identified() {
                let table = table.quoted();
                statements.push(format!("ALTER TABLE {table} REPLICA IDENTITY {identity}"));
            }
        }
        self.options(report, &mut statements);
        self.tables(report, &mut statements);
        self.following(report, &mut statements);
        source
            .batch("publishing the tables", &statements.join("; "))
            .await
    }

    /// Makes the publication, or what it publishes of its tables what it is to be.
    fn options(&self, report: &mut Report, statements: &mut Vec<String>) {
        let name = quote_identifier(&self.name);
        report.step(self.is_new(), format!("publication {:?}", self.name));
        let Some(publication) = &self.publication else {
            let mut options = Vec::new();
            if self.generated_columns {
                options.push("publish_generated_columns = stored");
            }
            if self.via_partition_root == Some(true) {
                options.push("publish_via_partition_root = true");
            }
            let options = match &*options.join(", ") {
                "" => String::new(),
                options => format!(" WITH ({options})"),
            };
            statements.push(format!("CREATE PUBLICATION {name}{options}"));
            return;
        };
        if let Some(whether) = self.via_partition_root
            && whether != publication.via_partition_root
        {
            let option = format!("publish_via_partition_root = {whether}");
            statements.push(format!("ALTER PUBLICATION {name} SET ({option})"));
            report.step(true, option);
        }
        // Before the tables: those with generated columns must not be published without.
        if self.generated_columns
            && !publication.generated_columns
            && self.selected.tables.iter().any(Table::stores_generated)
        {
            report.step(true, "stored generated columns published");
            statements.push(format!(
                "ALTER PUBLICATION {name} SET (publish_generated_columns = stored)"
            ));
        }
    }

    fn tables(&self, report: &mut Report, statements: &mut Vec<String>) {
        let name = quote_identifier(&self.name);
        let (mut outdated, mut missing) = (Vec::new(), Vec::new());
        for unit in &self.units {
            let (table, full_name) = (unit.table.quoted(), unit.table.full_name());
            report.step(!unit.published, format!("{full_name} published"));
            if unit.table.condition.is_some() {
                let what = format!("row condition on {full_name}");
                report.step(unit.condition.is_some(), what);
            }
            if !unit.is_altered() {
                continue;
            }
            if unit.published {
                outdated.push(table.clone());
            }
            // Without ONLY the tables that inherit from it would be published too, whatever their identity.
            missing.push(match &unit.condition {
                Some(condition) => format!("ONLY {table} WHERE ({condition})"),
                None => format!("ONLY {table}"),
            });
        }
        for (verb, tables) in [("DROP", outdated), ("ADD", missing)] {
            if !tables.is_empty() {
                let tables = tables.join(", ");
                statements.push(format!("ALTER PUBLICATION {name} {verb} TABLE {tables}"));
            }
        }
    }

    /// Keeps the selection for the tables to come.
    fn following(&self, report: &mut Report, statements: &mut Vec<String>) {
        let existing = self.publication.as_ref();
        let existing = existing.and_then(|publication| publication.comment.as_ref());
        if self.keeps_comment {
            let (name, comment) = (quote_identifier(&self.name), quote_literal(&self.comment));
            let changed = existing != Some(&self.comment);
            report.step(changed, "selection of the tables to come");
            if changed {
                statements.push(format!("COMMENT ON PUBLICATION {name} IS {comment}"));
            }
        }
        if let Some(missing) = &self.trigger {
            let name = follow::trigger(&self.name);
            report.step(!missing.is_empty(), format!("event trigger {name:?}"));
            statements.extend(missing.iter().cloned());
        }
    }

    /// The tables whose changes begin, or are others from now on.
    pub(super) fn altered(&self) -> impl Iterator<Item = &Table> {
        let existing = self.publication.as_ref();
        let existing = existing.map(|publication| publication.via_partition_root);
        let moved =
            matches!((existing, self.via_partition_root), (Some(is), Some(shall)) if is != shall);
        let units = self.units.iter().filter(|unit| unit.is_altered());
        let parts = self.selected.tables.iter();
        let parts = parts.filter(move |table| moved && !table.ancestors.is_empty());
        let roots = self.selected.roots.iter().filter(move |_| moved);
        units.map(|unit| &unit.table).chain(parts).chain(roots)
    }

    /// What the user should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for table in &self.selected.tables {
            if !table.has_primary_key {
                let name = table.full_name();
                notes.push(format!(
                    "table {name} has no primary key: its changes have no primary_key either"
                ));
            }
        }
        if self.selected.tables.is_empty() {
            notes.push("there is no table to track yet: run setup again when there is".to_owned());
        }
        for pattern in &self.selected.unmatched {
            notes.push(format!("no table matches {pattern} yet"));
        }
        if let Some(publication) = &self.publication
            && !publication.leaves_out.is_empty()
        {
            let left_out = publication.leaves_out.join(", ");
            notes.push(format!(
                "the publication {:?} leaves out {left_out}: they are not captured",
                self.name
            ));
        }
        if !self.keeps_comment {
            notes.push(format!(
                "the publication {:?} is another role's or has a comment of its own: new tables are not tracked until \
                 setup is run again",
                self.name
            ));
        }
        if let Some(publication) = &self.publication
            && publication.all_tables
            && self.trigger.is_none()
        {
            notes.push(format!(
                "the publication {:?} is FOR ALL TABLES: PostgreSQL refuses UPDATE and DELETE on a new table without \
                 primary key until it has a replica identity, which it gets within {} s while the capture runs; let a \
                 superuser run setup, so that it gets one at once",
                self.name,
                follow::SWEEP_INTERVAL.as_secs()
            ));
        }
        for root in &self.apart {
            notes.push(format!(
                "the partitions of {} are published one by one: some of them are not tracked, or it has no primary key",
                root.full_name()
            ));
        }
        for table in &self.harmful {
            let name = table.full_name();
            notes.push(format!(
                "table {name} is not tracked: it has virtual generated columns and no primary key, so that PostgreSQL \
                 would refuse its UPDATE and DELETE; give it a primary key and run setup again"
            ));
        }
        for kind in Kind::UNTRACKABLE {
            let of_kind = self.selected.untracked.iter();
            let names: Vec<String> = of_kind
                .filter(|relation| relation.kind == kind)
                .map(|relation| relation.table.full_name())
                .collect();
            if !names.is_empty() {
                let (reason, names) = (kind.reason(), names.join(", "));
                notes.push(format!("not tracked, as {reason}: {names}"));
            }
        }
        notes
    }
}

impl Unit {
    fn is_altered(&self) -> bool {
        !self.published || self.condition.is_some()
    }
}

/// The row conditions that the publication has, by table, as the server writes them.
async fn existing_conditions(
    source: &Connection,
    publication: &str,
) -> Result<HashMap<u32, String>, Error> {
    let binds: [&(dyn ToSql + Sync); 1] = [&publication];
    let reading = source.client.query(
        "SELECT r.prrelid, pg_get_expr(r.prqual, r.prrelid) FROM pg_publication_rel r \
         JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1 AND r.prqual IS NOT NULL",
        &binds,
    );
    let rows = source.answer("reading the publication", reading).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The condition as the server writes it; or why it is none.
async fn written(
    source: &Connection,
    table: &Table,
    condition: &str,
) -> Result<Result<String, String>, Error> {
    let doing = "checking the row conditions";
    source
        .batch(doing, &format!("BEGIN; {LOCK_TIMEOUT}"))
        .await?;
    // One statement alone, as the extended protocol has it: the condition cannot bring others along.
    let create = format!(
        "CREATE PUBLICATION {TRIAL} FOR TABLE ONLY {} WHERE ({condition}\n)",
        table.quoted()
    );
    let written = match source.client.execute(&create, &[]).await {
        Ok(_) => {
            let sql = "SELECT pg_get_expr(r.prqual, r.prrelid) FROM pg_publication_rel r \
                       JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = '_bemi_trial' AND r.prrelid = $1";
            let row = source.client.query_one(sql, &[&table.oid]).await;
            Ok(row.map_err(|error| source.error(doing, &error))?.get(0))
        }
        Err(error) => match error.as_db_error() {
            Some(problem) => Err(problem.message().to_owned()),
            None => return Err(source.error(doing, &error)),
        },
    };
    source.batch(doing, "ROLLBACK").await?;
    Ok(written)
}
