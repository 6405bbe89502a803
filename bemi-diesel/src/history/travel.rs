//! A statement, as of an instant. Pure.
//!
//! A common table expression shadows the table of its name. So the statement stays as it is, and before
//! it comes `WITH "todos" AS (…)` with the rows of the past. A name with a schema is not shadowed: it is
//! replaced by the bare one.

use std::fmt::Write;

use super::error::TravelError;
use super::facts::{Fact, Moment, Relation};
use super::references::{Name, Opening, References};
use crate::sql::identifier;

/// An open journey.
#[derive(Clone, Debug)]
pub(crate) struct Travel {
    moment: Moment,
    facts: Vec<Fact>,
}

impl Travel {
    pub(crate) fn new(moment: Moment, facts: Vec<Fact>) -> Self {
        Self { moment, facts }
    }

    fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.facts.iter().filter_map(|fact| match fact {
            Fact::Relation(relation) => Some(relation),
            Fact::Function(_) => None,
        })
    }

    /// The relation that `name` means, if it is none of the system's.
    fn relation(&self, name: &Name) -> Option<&Relation> {
        self.relations().find(|relation| {
            relation.name == name.name
                && match &name.schema {
                    Some(schema) => relation.schema == *schema,
                    None => relation.visible,
                }
        })
    }

    /// `sql`, which must be one query, with the rows of the past in place of those of the present.
    pub(crate) fn rewrite(&self, sql: &str) -> Result<String, TravelError> {
        let references = References::of(sql)?;
        self.refuse_functions(&references)?;
        for name in &references.defined {
            // It would hide the rows of the past from itself.
            if self.relations().any(|relation| relation.name == *name) {
                return Err(TravelError::Present {
                    name: name.clone(),
                    why: "the statement defines a WITH query of the same name",
                });
            }
        }
        let mut shown: Vec<&Relation> = Vec::new();
        for name in &references.relations {
            let own = |defined: &String| name.schema.is_none() && *defined == name.name;
            if references.defined.iter().any(own) {
                continue;
            }
            let Some(relation) = self.relation(name) else {
                continue;
            };
            let same = |other: &&&Relation| other.name == relation.name;
            match shown.iter().find(same) {
                Some(other) if other.schema == relation.schema => {}
                Some(_) => {
                    return Err(TravelError::Present {
                        name: relation.name.clone(),
                        why: "two tables of this name, in two schemas, are in one statement",
                    });
                }
                None => shown.push(relation),
            }
        }
        if shown.is_empty() {
            return Ok(sql.to_owned());
        }
        let mut expressions = String::new();
        for relation in &shown {
            let separator = if expressions.is_empty() { "" } else { ", " };
            let (name, rows) = (identifier(&relation.name), relation.rows(&self.moment)?);
            // Writing to a string does not fail.
            let _written = write!(expressions, "{separator}{name} AS ({rows})");
        }
        let mut rewritten = String::with_capacity(sql.len() + expressions.len());
        let mut done = match references.opening {
            Opening::Plain => {
                rewritten.push_str("WITH ");
                rewritten.push_str(&expressions);
                rewritten.push(' ');
                0
            }
            Opening::With(end) => {
                rewritten.push_str(&sql[..end]);
                rewritten.push(' ');
                rewritten.push_str(&expressions);
                rewritten.push(',');
                end
            }
        };
        for (bytes, name) in &references.qualified {
            let is_shown = shown.iter().any(|relation| {
                name.schema.as_ref() == Some(&relation.schema) && name.name == relation.name
            });
            if is_shown && bytes.start >= done {
                rewritten.push_str(&sql[done..bytes.start]);
                rewritten.push_str(&identifier(&name.name));
                done = bytes.end;
            }
        }
        rewritten.push_str(&sql[done..]);
        Ok(rewritten)
    }

    fn refuse_functions(&self, references: &References) -> Result<(), TravelError> {
        let known = self.facts.iter().filter_map(|fact| match fact {
            Fact::Function(name) => Some(name),
            Fact::Relation(_) => None,
        });
        for name in known {
            if references.functions.contains(name) {
                return Err(TravelError::Present {
                    name: format!("{name}()"),
                    why: "a function that is not IMMUTABLE reads the tables as they are",
                });
            }
        }
        Ok(())
    }
}
