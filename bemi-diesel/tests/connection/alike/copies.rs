//! `COPY`, in and out.

use std::io::Read;

use bemi_diesel::BemiConnection;
use diesel::pg::{CopyFormat, CopyHeader};
use diesel::prelude::*;
use diesel::result::Error;

use super::{alike, insert, shown};
use crate::{todo, todos};

/// What carries out a `COPY … TO`, which diesel leaves to its own connection.
trait CopiesOut {
    fn copies_out(&mut self) -> &mut PgConnection;
}

impl CopiesOut for PgConnection {
    fn copies_out(&mut self) -> &mut PgConnection {
        self
    }
}

impl CopiesOut for BemiConnection {
    fn copies_out(&mut self) -> &mut PgConnection {
        self.inner_mut()
    }
}

#[test]
fn copy_from() {
    let log = alike!([PgConnection, BemiConnection], |database, c, seen| {
        let rows = |ids: std::ops::Range<i32>| ids.map(todo).collect::<Vec<_>>();
        // Of structs, which go in the binary format.
        let binary = |ids| diesel::copy_from(todos::table).from_insertable(rows(ids));
        seen.push(shown(&binary(1..4).execute(c)));
        seen.push(shown(&binary(3..6).execute(c)));
        seen.push(shown(&binary(0..0).execute(c)));
        // Of text.
        let raw = |text: &'static str| {
            diesel::copy_from(todos::table)
                .from_raw_data(todos::table, move |to| {
                    to.write_all(text.as_bytes())
                        .map_err(|error| Error::SerializationError(Box::new(error)))
                })
                .with_format(CopyFormat::Csv)
                .with_header(CopyHeader::Set(true))
        };
        seen.push(shown(&raw("id,title\n10,ten\n11,eleven\n").execute(c)));
        seen.push(shown(&raw("id,title\n12\n").execute(c)));
        seen.push(shown(&raw("id,title\n12,\"\"\n").execute(c)));
        // That the application gives up itself.
        let given_up = |c: &mut Own| {
            diesel::copy_from(todos::table)
                .from_raw_data(todos::table, |to| {
                    to.write_all(b"13\tthirteen\n")
                        .map_err(|error| Error::SerializationError(Box::new(error)))?;
                    Err(Error::RollbackTransaction)
                })
                .execute(c)
        };
        seen.push(shown(&given_up(c)));
        seen.push(shown(&c.transaction(|c| {
            binary(20..22).execute(c)?;
            c.transaction(|c| binary(20..22).execute(c))
                .expect_err("they are there");
            raw("id,title\n22,a\n").execute(c)
        })));
        seen.push(shown(&c.transaction(|c| {
            binary(30..32).execute(c)?;
            given_up(c)
        })));
        seen.push(shown(&binary(40..41).execute(c)));
    });
    assert_eq!(
        log,
        [
            "context 1 - -, INSERT 1, INSERT 2, INSERT 3",
            "context 1 - -",
            "context 1 - -, INSERT 10, INSERT 11",
            "INSERT 20, INSERT 21, INSERT 22, context 1 - -",
            "context 1 - -, INSERT 40",
        ]
    );
}

#[test]
fn copy_to() {
    #[derive(Debug, Queryable, Selectable)]
    #[diesel(table_name = todos)]
    struct Todo {
        id: i32,
        title: String,
    }
    let log = alike!([PgConnection, BemiConnection], |database, c, seen| {
        insert!(c, 1).expect("a row");
        insert!(c, 2).expect("a row");
        // On a connection of its own, as diesel does not read this one to its end.
        let other = &mut Own::establish(database.url()).expect("a connection");
        let loaded: Vec<Todo> = diesel::copy_to(todos::table)
            .load(other.copies_out())
            .expect("a copy")
            .collect::<QueryResult<_>>()
            .expect("rows");
        for Todo { id, title } in loaded {
            seen.push(format!("{id} {title}"));
        }
        let csv = |c: &mut Own| {
            let mut text = String::new();
            diesel::copy_to(todos::table)
                .with_format(CopyFormat::Csv)
                .with_header(true)
                .load_raw(c.copies_out())
                .expect("a copy")
                .read_to_string(&mut text)
                .expect("text");
            text
        };
        seen.push(csv(c));
        let inside = c.transaction(|c| {
            insert!(c, 3).expect("a row");
            Ok::<_, Error>(csv(c))
        });
        seen.push(shown(&inside));
        insert!(c, 4).expect("a row");
    });
    assert_eq!(
        log,
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 2, context 1 lead INSERT",
            "INSERT 3, context 1 - INSERT",
            "INSERT 4, context 1 lead INSERT",
        ]
    );
}
