//! Carrying a revert out. No decision is made here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::catalog::{self, Catalog};
use super::client::Client;
use super::facts::{Facts, LiveRow, Question, Questions, questions};
use super::fold::{Thread, fold};
use super::image::{Image, Key};
use super::judge::{Judged, Write, judge};
use super::order::{Stage, order};
use super::park::park;
use super::plan::{Conflict, ConflictKind, OnConflict, Plan, PlannedRow};
use super::selection::{ORIGIN, Origin, Selection};
use super::statement::{self, Statement};
use super::trail::{Entry, Trail};
use super::{Refusal, Reverted};
use crate::{Context, JsonObject, Operation, Xid};

/// Why a revert did not come about.
pub(crate) enum Failure<E> {
    Refused(Refusal),
    Conflicts(Plan),
    Client(E),
}

impl<E> From<Refusal> for Failure<E> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

pub(super) type Outcome<T, C> = Result<T, Failure<<C as Client>::Error>>;

/// Which database this is.
pub(crate) async fn origin<C: Client>(client: &mut C) -> Outcome<Origin, C> {
    let mut found = documents(client, ORIGIN, &[]).await?;
    found.pop().ok_or(Refusal::Unreadable.into())
}

/// Reads the changes of `origin` that are selected.
pub(crate) async fn load<C: Client>(
    client: &mut C,
    selection: &Selection,
    origin: &Origin,
) -> Outcome<Trail, C> {
    let (sql, binds) = selection.query(origin);
    let entries: Vec<Entry> = documents(client, &sql, &binds).await?;
    if selection.transaction.is_some() && selection.change.is_none() {
        // Their numbers come round again.
        let mut commits = entries.iter().map(|entry| entry.commit_lsn);
        let first = commits.next();
        if commits.any(|commit| Some(commit) != first) {
            return Err(Refusal::Ambiguous.into());
        }
    }
    load_earlier(client, entries, origin).await
}

/// Adds what the tables that were truncated held before. Refuses where the trail does not hold all that the
/// transactions did.
pub(super) async fn load_earlier<C: Client>(
    client: &mut C,
    entries: Vec<Entry>,
    origin: &Origin,
) -> Outcome<Trail, C> {
    let (sql, binds) = origin.put_aside(&entries);
    if !lines(client, &sql, &binds).await?.is_empty() {
        return Err(Refusal::PutAside.into());
    }
    let truncates = entries
        .iter()
        .filter(|entry| entry.operation == Operation::Truncate);
    let last: BTreeMap<_, _> = truncates
        .map(|entry| {
            (
                (entry.schema.clone(), entry.table.clone()),
                entry.position(),
            )
        })
        .collect();
    let mut earlier = Vec::new();
    for ((schema, table), position) in last {
        let (sql, binds) = origin.put_aside_before((&schema, &table), position);
        if !lines(client, &sql, &binds).await?.is_empty() {
            return Err(Refusal::PutAside.into());
        }
        let (sql, binds) = origin.earlier((&schema, &table), position);
        earlier.extend(documents::<Entry, C>(client, &sql, &binds).await?);
    }
    Ok(Trail { entries, earlier })
}

/// What reverting `trail` would do. Changes nothing, and locks nothing.
pub(crate) async fn plan<C: Client>(
    client: &mut C,
    trail: Trail,
    policy: OnConflict,
) -> Outcome<Plan, C> {
    client
        .begin(&Context::new())
        .await
        .map_err(Failure::Client)?;
    let planned = match settle_session(client).await {
        Ok(_) => prepare(client, trail, policy, false).await,
        Err(error) => Err(error),
    };
    // What went wrong first tells more.
    let ended = client.roll_back().await.map_err(Failure::Client);
    let prepared = planned?;
    ended?;
    Ok(prepared.plan)
}

/// Reverts `trail` in a transaction, or in a savepoint of the one that is open.
pub(crate) async fn apply<C: Client>(
    client: &mut C,
    trail: Trail,
    policy: OnConflict,
    context: &Context,
) -> Outcome<Reverted, C> {
    client.begin(context).await.map_err(Failure::Client)?;
    match in_transaction(client, trail, policy).await {
        Ok(reverted) => {
            client.commit().await.map_err(Failure::Client)?;
            Ok(reverted)
        }
        Err(error) => {
            // If it fails the connection is gone, and the transaction with it.
            let _gone = client.roll_back().await;
            Err(error)
        }
    }
}

async fn in_transaction<C: Client>(
    client: &mut C,
    trail: Trail,
    policy: OnConflict,
) -> Outcome<Reverted, C> {
    let settings = settle_session(client).await?;
    let mut prepared = prepare(client, trail, policy, true).await?;
    if !prepared.plan.is_applicable() {
        return Err(Failure::Conflicts(prepared.plan));
    }
    prepared.write(client).await?;
    prepared.look_back(client, policy).await?;
    if !prepared.plan.is_applicable() {
        return Err(Failure::Conflicts(prepared.plan));
    }
    // Looking under lock alone has a number too.
    let transaction = if prepared.writes.is_empty() {
        None
    } else {
        let number = lines(client, NUMBER, &[]).await?;
        number.first().and_then(|number| number.parse().ok())
    };
    lines(client, RESTORE, &settings).await?;
    Ok(Reverted {
        plan: prepared.plan,
        transaction: transaction.map(Xid::new),
    })
}

const NUMBER: &str = "SELECT pg_catalog.pg_current_xact_id()::xid::text AS line";

/// Settings under which `to_jsonb` gives what the trail holds, and the session's own ones.
async fn settle_session<C: Client>(client: &mut C) -> Outcome<Vec<String>, C> {
    let own = lines(client, SETTINGS, &[]).await?;
    let ours = "[[\"datestyle\",\"ISO\"],[\"intervalstyle\",\"postgres\"],[\"timezone\",\"UTC\"],\
                [\"extra_float_digits\",\"3\"],[\"bytea_output\",\"hex\"]]";
    lines(client, RESTORE, &[ours.to_owned()]).await?;
    Ok(own)
}

const SETTINGS: &str = "SELECT pg_catalog.json_agg(pg_catalog.json_build_array(n, pg_catalog.current_setting(n)))::text AS line \
                        FROM (VALUES ('datestyle'), ('intervalstyle'), ('timezone'), ('extra_float_digits'), ('bytea_output')) s (n)";

const RESTORE: &str = "SELECT pg_catalog.set_config(s->>0, s->>1, true) AS line FROM pg_catalog.json_array_elements($1::text::json) s";

/// A revert that is ready to be written.
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) catalog: Catalog,
    pub(super) threads: Vec<Thread>,
    pub(super) writes: Vec<Write>,
    pub(super) statements: Vec<Statement>,
}

async fn prepare<C: Client>(
    client: &mut C,
    trail: Trail,
    policy: OnConflict,
    lock: bool,
) -> Outcome<Prepared, C> {
    let changes = trail.entries.len();
    let catalog = read_catalog(client, &trail.entries).await?;
    let (mut entries, uncovered) = trail.expand(&catalog, policy == OnConflict::Force);
    let mut conflicts = Vec::new();
    let mut about_table = |schema: &str, table: &str, kind: ConflictKind| {
        let conflict = Conflict {
            schema: schema.to_owned(),
            table: table.to_owned(),
            primary_key: None,
            resolution: policy.resolve(&kind),
            kind,
        };
        if !conflicts.contains(&conflict) {
            conflicts.push(conflict);
        }
    };
    for table in uncovered {
        about_table(&table.schema, &table.table, ConflictKind::NotCovered);
    }
    entries.retain(|entry| {
        let there = catalog.find(&entry.schema, &entry.table).is_some();
        if !there {
            about_table(&entry.schema, &entry.table, ConflictKind::TableDropped);
        }
        there
    });
    let threads = fold(&entries, &catalog);
    let facts = ask(client, questions(&threads, &catalog), lock).await?;
    let Judged {
        writes,
        conflicts: of_rows,
        unchanged,
    } = judge(&threads, &catalog, &facts, policy);
    conflicts.extend(of_rows);
    let planned: Vec<_> = writes
        .iter()
        .map(|write| planned(write, &threads, &catalog))
        .collect();
    let mut writes = writes;
    let parked = park(&mut writes, &threads, &catalog, &facts);
    let stages = order(&writes, &catalog);
    let mut statements = Vec::new();
    for place in 0..parked.len() {
        let aside = Stage::Batch(vec![place]);
        statements.extend(statement::statements(&aside, &parked, &threads, &catalog));
    }
    for stage in &stages {
        statements.extend(statement::statements(stage, &writes, &threads, &catalog));
    }
    let places = stages.iter().flat_map(Stage::writes);
    let rows = places
        .filter_map(|place| planned.get(*place)?.clone())
        .collect();
    Ok(Prepared {
        plan: Plan {
            changes,
            rows,
            conflicts,
            unchanged,
        },
        catalog,
        threads,
        writes,
        statements,
    })
}

fn planned(write: &Write, threads: &[Thread], catalog: &Catalog) -> Option<PlannedRow> {
    let relation = &catalog.tables.get(write.table)?.relation;
    let json = |image: Option<&Image>| image.map_or_else(JsonObject::empty, Image::to_json);
    Some(PlannedRow {
        schema: relation.schema.clone(),
        table: relation.name.clone(),
        primary_key: threads.get(write.thread)?.primary_key.clone(),
        action: write.action,
        before: json(write.before()),
        after: json(write.target.as_ref()),
    })
}

async fn read_catalog<C: Client>(client: &mut C, entries: &[Entry]) -> Outcome<Catalog, C> {
    let mut names: Vec<_> = entries
        .iter()
        .map(|entry| (&entry.schema, &entry.table))
        .collect();
    names.sort_unstable();
    names.dedup();
    let names = serde_json::to_string(&names).unwrap_or_default();
    let tables: Vec<catalog::Table> = documents(client, catalog::TABLES, &[names]).await?;
    let oids: Vec<u32> = tables.iter().map(|table| table.relation.oid).collect();
    let oids = serde_json::to_string(&oids).unwrap_or_default();
    Ok(Catalog {
        foreign_keys: documents(client, catalog::FOREIGN_KEYS, &[oids]).await?,
        tables,
    })
}

/// Asks for rows, so many keys at once.
const ASKED_AT_ONCE: usize = 5_000;

pub(super) async fn ask<C: Client>(
    client: &mut C,
    questions: Questions,
    lock: bool,
) -> Outcome<Facts, C> {
    let mut facts = Facts::default();
    for (question, keys) in questions {
        let keys: Vec<Key> = keys.into_iter().collect();
        let asked = Question {
            lock: question.lock && lock,
            ..question.clone()
        };
        let mut found: HashMap<Key, Vec<Arc<LiveRow>>> = HashMap::new();
        for keys in keys.chunks(ASKED_AT_ONCE) {
            let Statement { sql, binds, .. } = statement::lookup(&asked, keys);
            let rows: Vec<(usize, u32, String, Image)> = documents(client, &sql, &binds).await?;
            for (place, table, ctid, image) in rows {
                if let Some(key) = keys.get(place) {
                    let row = Arc::new(LiveRow { table, ctid, image });
                    found.entry(key.clone()).or_default().push(row);
                }
            }
        }
        facts.rows.insert(question, found);
    }
    Ok(facts)
}

pub(super) async fn lines<C: Client>(
    client: &mut C,
    sql: &str,
    binds: &[String],
) -> Outcome<Vec<String>, C> {
    client.lines(sql, binds).await.map_err(Failure::Client)
}

/// The JSON documents that `sql` gives.
async fn documents<T: DeserializeOwned, C: Client>(
    client: &mut C,
    sql: &str,
    binds: &[String],
) -> Outcome<Vec<T>, C> {
    let lines = lines(client, sql, binds).await?;
    let parsed = lines.iter().map(|line| serde_json::from_str(line));
    let parsed: Result<_, _> = parsed.collect();
    parsed.map_err(|_| Refusal::Unreadable.into())
}
