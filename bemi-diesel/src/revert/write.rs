//! Writing a revert, and looking back at what became of it.

use std::collections::{BTreeMap, HashSet};

use super::catalog::{Catalog, ForeignKey, quoted};
use super::client::Client;
use super::facts::{Question, Questions};
use super::judge::Write;
use super::plan::{Action, Conflict, ConflictKind, OnConflict, Resolution};
use super::run::{Failure, Outcome, Prepared, ask, lines};
use super::statement::{self, Statement};

impl Prepared {
    pub(super) async fn write<C: Client>(&mut self, client: &mut C) -> Outcome<(), C> {
        let deferrable = Deferrable::of(&self.catalog);
        deferrable.set(client, &deferrable.all, "DEFERRED").await?;
        for statement in std::mem::take(&mut self.statements) {
            let written = lines(client, &statement.sql, &statement.binds).await?;
            let written = written.first().and_then(|count| count.parse().ok());
            if written != Some(statement.rows) {
                self.miscounted(&statement);
            }
        }
        deferrable.set(client, &deferrable.all, "IMMEDIATE").await?;
        deferrable
            .set(client, &deferrable.initially, "DEFERRED")
            .await
    }

    /// Rows with a key are looked for when all is written. Of others only the number tells.
    fn miscounted(&mut self, statement: &Statement) {
        let tables = statement.tables.iter();
        let keyless = tables
            .filter_map(|place| self.catalog.tables.get(*place))
            .find(|table| !table.is_keyed());
        if let Some(table) = keyless {
            self.plan.conflicts.push(Conflict {
                schema: table.relation.schema.clone(),
                table: table.relation.name.clone(),
                primary_key: None,
                kind: ConflictKind::Rewritten {
                    columns: Vec::new(),
                },
                resolution: Resolution::Abort,
            });
        }
    }

    /// Looks whether the rows are as they should be. A trigger that keeps sums may have added to one that
    /// had its earlier value already: that is written once more.
    pub(super) async fn look_back<C: Client>(
        &mut self,
        client: &mut C,
        policy: OnConflict,
    ) -> Outcome<(), C> {
        let rewritten = self.rewritten(client).await?;
        if rewritten.is_empty() {
            return Ok(());
        }
        let writes: Vec<&Write> = rewritten
            .keys()
            .filter_map(|place| self.writes.get(*place))
            .collect();
        for Statement { sql, binds, .. } in statement::again(&writes, &self.catalog) {
            lines(client, &sql, &binds).await?;
        }
        for (place, columns) in self.rewritten(client).await? {
            let Some((write, thread)) = self
                .writes
                .get(place)
                .and_then(|write| Some((write, self.threads.get(write.thread)?)))
            else {
                continue;
            };
            let Some(table) = self.catalog.tables.get(write.table) else {
                continue;
            };
            let kind = ConflictKind::Rewritten { columns };
            self.plan.conflicts.push(Conflict {
                schema: table.relation.schema.clone(),
                table: table.relation.name.clone(),
                primary_key: thread.primary_key.clone(),
                // It has been written, so there is no leaving it alone.
                resolution: match policy {
                    OnConflict::Force => Resolution::Force,
                    OnConflict::Abort | OnConflict::Skip => Resolution::Abort,
                },
                kind,
            });
        }
        Ok(())
    }

    /// The rows that are not as they should be, with the columns that differ.
    async fn rewritten<C: Client>(
        &self,
        client: &mut C,
    ) -> Outcome<BTreeMap<usize, Vec<String>>, C> {
        let mut questions = Questions::new();
        let mut asked = Vec::new();
        for (place, write) in self.writes.iter().enumerate() {
            let Some(table) = self.catalog.tables.get(write.table) else {
                continue;
            };
            let image = write.target.as_ref().or(write.before());
            let question = image.and_then(|image| Question::of_row(table, image));
            if let Some((question, key)) = question.filter(|_| table.is_keyed()) {
                let keys = questions.entry(question.clone()).or_default();
                keys.insert(key.clone());
                asked.push((place, table, write, question, key));
            }
        }
        let facts = ask(client, questions, false).await?;
        let targets: HashSet<_> = asked
            .iter()
            .filter(|(_, _, write, ..)| write.action != Action::Delete)
            .map(|(_, _, write, _, key)| (write.table, key.clone()))
            .collect();
        let mut rewritten = BTreeMap::new();
        for (place, table, write, question, key) in asked {
            let row = facts.find(&question, &key).first();
            let columns = match (&write.target, row) {
                (Some(target), Some(row)) => {
                    let columns = table.own(target).differing(&row.image);
                    if columns.is_empty() {
                        continue;
                    }
                    columns.into_iter().collect()
                }
                (None, Some(_)) if !targets.contains(&(write.table, key)) => Vec::new(),
                (Some(_), None) => Vec::new(),
                (None, _) => continue,
            };
            rewritten.insert(place, columns);
        }
        Ok(rewritten)
    }
}

/// The constraints that can wait until all is written, as `SET CONSTRAINTS` names them.
struct Deferrable {
    all: Vec<String>,
    /// Those that wait by themselves.
    initially: Vec<String>,
}

impl Deferrable {
    fn of(catalog: &Catalog) -> Self {
        let of_fk = |fk: &ForeignKey| {
            let schema = &fk.child.relation.schema;
            format!("{}.{}", quoted(schema), quoted(&fk.name))
        };
        let fks = catalog.foreign_keys.iter().filter(|fk| fk.deferrable);
        let mut all: Vec<String> = fks.clone().map(of_fk).collect();
        for table in &catalog.tables {
            let uniques = table.uniques.iter();
            all.extend(
                uniques
                    .filter(|unique| unique.constraint && unique.deferrable)
                    .map(|unique| {
                        format!(
                            "{}.{}",
                            quoted(&table.relation.schema),
                            quoted(&unique.name)
                        )
                    }),
            );
        }
        Self {
            all,
            initially: fks.filter(|fk| fk.initially_deferred).map(of_fk).collect(),
        }
    }

    async fn set<C: Client>(&self, client: &mut C, names: &[String], mode: &str) -> Outcome<(), C> {
        if names.is_empty() {
            return Ok(());
        }
        let sql = format!("SET CONSTRAINTS {} {mode}", names.join(", "));
        client.batch(&sql).await.map_err(Failure::Client)
    }
}
