//! What is known of the tables at an instant, and whether it covers it. Pure.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::error::TravelError;
use super::fold::{From, Part, State, Target};
use crate::sql::literal;
use crate::{JsonObject, Lsn};

/// The instant that was asked for, once it is known which state that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) state: State,
    /// The time, if one was asked for.
    pub(crate) time: Option<DateTime<Utc>>,
    /// The identifier of the publication that the changes were read through.
    pub(crate) publication: i64,
}

/// What the catalog and the trail say of a relation, or of a function.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fact {
    Relation(Relation),
    /// One that may read tables.
    Function(String),
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Relation {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// Whether the bare name means it.
    pub(crate) visible: bool,
    /// `pg_class.relkind`.
    kind: String,
    keyed: bool,
    /// The tables that hold its rows.
    parts: Vec<Stored>,
    generated: Option<Vec<(String, Option<String>)>>,
    partitioned: Option<Partitioned>,
}

/// What is known of a partitioned table's partitions.
#[derive(Clone, Debug, Deserialize)]
struct Partitioned {
    /// It is published for them.
    whole: bool,
    /// What they were at the moment is known.
    known: bool,
    /// What was noted last is what they are now.
    settled: bool,
    /// Since when they are known.
    first: Option<DateTime<Utc>>,
    /// When they became others after the moment at the latest, and perhaps before it.
    blurred: Option<DateTime<Utc>>,
}

/// A table that holds rows, and what the trail has of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stored {
    schema: String,
    name: String,
    /// Which table of the name the trail is about.
    #[serde(default)]
    oid: Option<i64>,
    from_lsn: Option<i64>,
    from_ordinal: Option<i64>,
    since_lsn: Option<i64>,
    since: Option<DateTime<Utc>>,
    truncated: Option<(i64, i64)>,
    /// The last change that tells no key.
    keyless: Option<(i64, i64)>,
    /// The last change that could not be stored.
    aside: Option<(i64, i64)>,
    missing: Option<JsonObject>,
    /// Not all of its rows are published under its name.
    #[serde(default)]
    partial: bool,
    /// A server before PostgreSQL 15 goes on sending an attached or detached table under its former name.
    strays: bool,
    /// Where rows came or went with a partition: of a partitioned table that is published for its partitions.
    moved: Option<(i64, i64, DateTime<Utc>)>,
    /// When they did at the latest, and perhaps before the moment.
    blurred: Option<DateTime<Utc>>,
    /// Of a table that is not there any more, whether it has changes at the moment or later.
    changed: Option<bool>,
}

/// What the captured database says of the tables of a name now; nothing if it is not the one that was asked.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Live {
    tables: Option<Vec<Table>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Table {
    schema: String,
    name: String,
    oid: i64,
    /// Not all of its rows are published under its name.
    partial: bool,
}

impl Live {
    /// SQL that tells whether the table of the name that the SQL `schema` and `name` give is known not to be there.
    pub(crate) fn lacks(&self, schema: &str, name: &str) -> String {
        let Some(tables) = &self.tables else {
            return "false".to_owned();
        };
        let tables = tables.iter().map(|table| {
            let (other, table) = (literal(&table.schema), literal(&table.name));
            format!("({schema} = {other} AND {name} = {table})")
        });
        let tables: Vec<String> = std::iter::once("false".to_owned()).chain(tables).collect();
        format!("NOT ({})", tables.join(" OR "))
    }

    /// Whether the trail of `stored` is about the table that is there, or was there at the moment.
    fn check(&self, stored: &Stored) -> Result<(), TravelError> {
        let Some(tables) = &self.tables else {
            return Ok(());
        };
        let table = || format!("{}.{}", stored.schema, stored.name);
        let mut there = tables.iter();
        match there.find(|there| there.schema == stored.schema && there.name == stored.name) {
            Some(there) if Some(there.oid) == stored.oid && !there.partial => Ok(()),
            Some(_) => Err(TravelError::Incomplete { table: table() }),
            None if stored.changed == Some(true) => Ok(()),
            None => Err(TravelError::Gone { table: table() }),
        }
    }
}

impl Stored {
    /// The changes that make its rows at the moment.
    fn part(&self, moment: &Moment, keyed: bool) -> Result<Part, TravelError> {
        let table = || format!("{}.{}", self.schema, self.name);
        let last = moment.state.last;
        let from = self.from_lsn.filter(|_| !self.partial);
        let Some(from) = from.map(Lsn::from_i64) else {
            return Err(TravelError::Incomplete { table: table() });
        };
        let first = (from, self.from_ordinal.unwrap_or_default());
        let truncated = self.truncated.map(|(lsn, n)| (Lsn::from_i64(lsn), n));
        let from = match (truncated, self.since_lsn, self.since) {
            (Some((lsn, ordinal)), ..) if (lsn, ordinal) >= first => From::Behind(lsn, ordinal),
            (_, Some(since_lsn), Some(since)) => {
                let covered = match moment.time {
                    Some(time) => time >= since,
                    None => last.as_u64() + 1 >= Lsn::from_i64(since_lsn).as_u64(),
                };
                if !covered {
                    return Err(TravelError::TooEarly {
                        table: table(),
                        since,
                    });
                }
                match first {
                    (from, 0) => From::Commit(from),
                    (from, ordinal) => From::Behind(from, ordinal - 1),
                }
            }
            _ => return Err(TravelError::Incomplete { table: table() }),
        };
        if let Some((since_lsn, ordinal, until)) = self.moved {
            let before = Lsn::new(Lsn::from_i64(since_lsn).as_u64().saturating_sub(1));
            let anew = match from {
                From::Commit(begin) => begin > before,
                From::Behind(begin, other) => (begin, other) >= (before, ordinal),
            };
            if self.strays || !anew {
                return Err(TravelError::Partitions {
                    table: table(),
                    until,
                });
            }
        }
        if let Some(since) = self.blurred {
            return Err(TravelError::TooEarly {
                table: table(),
                since,
            });
        }
        let part = Part {
            schema: self.schema.clone(),
            name: self.name.clone(),
            from,
        };
        if part.counts(self.aside) {
            return Err(TravelError::PutAside { table: table() });
        }
        if keyed && part.counts(self.keyless) {
            return Err(TravelError::NoKey { table: table() });
        }
        Ok(part)
    }
}

impl Stored {
    /// Whether some of the changes that count tell no key.
    fn tells_no_key(&self, parts: &[Part]) -> bool {
        let part = parts
            .iter()
            .find(|part| part.schema == self.schema && part.name == self.name);
        part.is_some_and(|part| part.counts(self.keyless))
    }
}

impl Relation {
    /// Whether it is known which partitions it had at the moment.
    fn check_partitions(&self) -> Result<(), TravelError> {
        let Some(partitioned) = &self.partitioned else {
            return Ok(());
        };
        let table = format!("{}.{}", self.schema, self.name);
        if !partitioned.settled {
            return Err(TravelError::Unsettled { table });
        }
        let since = if partitioned.known {
            partitioned.blurred
        } else {
            partitioned.first
        };
        match since {
            // The changes tell, whatever the partitions.
            _ if partitioned.whole => Ok(()),
            Some(since) => Err(TravelError::TooEarly { table, since }),
            None => Ok(()),
        }
    }

    /// A query of its rows at the moment.
    pub(crate) fn rows(&self, moment: &Moment) -> Result<String, TravelError> {
        let why = match self.kind.as_str() {
            "r" | "p" => None,
            "v" => Some("it is a view; name its tables in its place"),
            "m" => Some("it is a materialized view; name its tables in its place"),
            _ => Some("its rows live elsewhere"),
        };
        if let Some(why) = why {
            return Err(TravelError::Present {
                name: format!("{}.{}", self.schema, self.name),
                why,
            });
        }
        self.check_partitions()?;
        let parts: Vec<Part> = self
            .parts
            .iter()
            .map(|part| part.part(moment, self.keyed))
            .collect::<Result<_, _>>()?;
        let target = Target {
            schema: &self.schema,
            name: &self.name,
            keyed: self.keyed,
            parts: &parts,
            missing: self.parts.iter().find_map(|part| part.missing.as_ref()),
            generated: self.generated.as_deref().unwrap_or_default(),
        };
        Ok(target.rows(&moment.state))
    }
}

/// A query of the images, as `image`, of the rows at the moment of the table `name`, which the trail knows
/// as `stored` and the captured database as `live`; with a `key`, of that record alone.
pub(crate) fn images(
    moment: &Moment,
    name: &str,
    (stored, live): (&[Stored], &Live),
    key: Option<&str>,
) -> Result<String, TravelError> {
    if stored.is_empty() {
        return Err(TravelError::Incomplete {
            table: name.to_owned(),
        });
    }
    let parts: Vec<Part> = stored
        .iter()
        .map(|stored| {
            live.check(stored)?;
            stored.part(moment, key.is_some())
        })
        .collect::<Result<_, _>>()?;
    let keyed = !stored.iter().any(|stored| stored.tells_no_key(&parts));
    Ok(match key {
        Some(key) => format!(
            "SELECT after AS image FROM ({}) rows",
            moment.state.record(&parts, &literal(key))
        ),
        None if keyed => format!(
            "SELECT after AS image FROM ({}) rows ORDER BY length(primary_key), primary_key",
            moment.state.keyed(&parts)
        ),
        None => format!(
            "SELECT rows.row::jsonb AS image FROM ({}) rows, LATERAL pg_catalog.generate_series(1, rows.n)",
            moment.state.keyless(&parts, "image::text")
        ),
    })
}
