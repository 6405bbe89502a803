//! The query builder: which changes each question gives.

use bemi_diesel::history::{Cursor, Document, GroupBy, History, history};
use bemi_diesel::{Change, Operation, Xid};
use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;
use futures_util::TryStreamExt;
use serde_json::json;

use crate::support::Shop;

const SCHEMA: &str = "CREATE TABLE todos (id int PRIMARY KEY, title text, price numeric, done bool DEFAULT false, meta jsonb);
                      CREATE SCHEMA sales; CREATE TABLE sales.todos (a int, b text, PRIMARY KEY (a, b))";

/// Nine changes of five transactions.
fn shop() -> Shop {
    let mut shop = Shop::open(SCHEMA);
    let ann = json!({"user": {"id": 7}, "request_id": "r1"});
    let bob = json!({"user": {"id": 8}, "request_id": "r2"});
    shop.sql(
        &ann,
        "INSERT INTO todos VALUES (1, 'Sleep', 1.10), (2, 'Eat', 20)",
    );
    shop.sql(&ann, "INSERT INTO sales.todos VALUES (1, 'x')");
    shop.sql(
        &bob,
        "UPDATE todos SET done = true, price = 1.1 WHERE id = 1; UPDATE todos SET title = 'Drink', meta = '{\"a\": [1]}' WHERE id = 2",
    );
    shop.sql(&json!(null), "UPDATE todos SET id = 3 WHERE id = 2");
    shop.sql(&bob, "DELETE FROM todos WHERE id = 1; TRUNCATE sales.todos; INSERT INTO todos VALUES (1, 'Wake')");
    shop
}

fn told(changes: &[Change]) -> Vec<String> {
    let key = |change: &Change| change.primary_key.clone().unwrap_or_default();
    changes
        .iter()
        .map(|change| {
            format!(
                "{} {} {}",
                change.operation.as_str(),
                change.table,
                key(change)
            )
        })
        .collect()
}

#[test]
fn each_condition_gives_its_changes_in_the_order_of_the_commits() {
    let mut shop = shop();
    let all: Vec<Change> = history().load(&mut shop.connection).expect("changes");
    assert_eq!(
        told(&all),
        [
            "CREATE todos 1",
            "CREATE todos 2",
            r#"CREATE todos ["1","x"]"#,
            "UPDATE todos 1",
            "UPDATE todos 2",
            "UPDATE todos 3",
            "DELETE todos 1",
            "TRUNCATE todos ",
            "CREATE todos 1",
        ]
    );
    let (update, rekey) = (&all[3], &all[5]);
    assert_eq!(rekey.previous_key.as_deref(), Some("2"));
    let xid = Xid::new(update.transaction_id.as_u32());
    type Case = (&'static str, Box<dyn Fn() -> History>, &'static [usize]);
    let (at, lsn) = (rekey.committed_at, rekey.commit_lsn);
    let commit = update.commit_lsn;
    let cases: [Case; 22] = [
        (
            "table",
            Box::new(|| history().table("todos")),
            &[0, 1, 2, 3, 4, 5, 6, 7, 8],
        ),
        (
            "of a schema",
            Box::new(|| history().table("sales.todos")),
            &[2, 7],
        ),
        (
            "record",
            Box::new(|| history().record("public.todos", 1)),
            &[0, 3, 6, 8],
        ),
        (
            "former key",
            Box::new(|| history().record("todos", 2)),
            &[1, 4, 5],
        ),
        ("later key", Box::new(|| history().record("todos", 3)), &[5]),
        (
            "composite",
            Box::new(|| history().record("sales.todos", r#"["1","x"]"#)),
            &[2],
        ),
        (
            "operations",
            Box::new(|| history().operations([Operation::Delete, Operation::Truncate])),
            &[6, 7],
        ),
        (
            "before",
            Box::new(|| history().before(json!({"id": 1}))),
            &[3, 6],
        ),
        (
            "after",
            Box::new(|| history().after(json!({"title": "Drink", "meta": {"a": [1]}}))),
            &[4, 5],
        ),
        (
            "context",
            Box::new(|| history().context(json!({"user": {"id": 7}}))),
            &[0, 1, 2],
        ),
        (
            "lacking",
            Box::new(|| history().lacking(Document::Context, json!({"user": {"id": 7}}))),
            &[3, 4, 5, 6, 7, 8],
        ),
        (
            "matching",
            Box::new(|| history().matching(Document::After, "$.price ? (@ > 10)")),
            &[1, 4, 5],
        ),
        ("changed", Box::new(|| history().changed("price")), &[3]),
        ("text", Box::new(|| history().text("dRINK")), &[4, 5]),
        (
            "transaction",
            Box::new(move || history().transaction(xid)),
            &[3, 4],
        ),
        (
            "commit",
            Box::new(move || history().commit(commit)),
            &[3, 4],
        ),
        (
            "since",
            Box::new(move || history().since(at)),
            &[5, 6, 7, 8],
        ),
        (
            "until",
            Box::new(move || history().until(at)),
            &[0, 1, 2, 3, 4],
        ),
        (
            "since an LSN",
            Box::new(move || history().since_lsn(lsn)),
            &[5, 6, 7, 8],
        ),
        (
            "until an LSN",
            Box::new(move || history().until_lsn(lsn)),
            &[0, 1, 2, 3, 4],
        ),
        ("database", Box::new(|| history().database("another")), &[]),
        (
            "all of them",
            Box::new(|| {
                history()
                    .table("todos")
                    .changed("done")
                    .before(json!({"id": 1}))
                    .latest_first()
            }),
            &[3],
        ),
    ];
    for (name, question, expected) in &cases {
        let expected: Vec<Change> = expected.iter().map(|at| all[*at].clone()).collect();
        assert_eq!(
            question().load(&mut shop.connection),
            Ok(expected.clone()),
            "{name}"
        );
        let count: usize = question()
            .into_query()
            .filter(bemi_diesel::schema::changes::id.is_not_null())
            .load::<Change>(&mut shop.connection)
            .expect("changes")
            .len();
        assert_eq!(count, expected.len(), "{name}: composed");
    }
    shop.asynchronously(async |connection| {
        for (name, question, expected) in &cases {
            let expected: Vec<Change> = expected.iter().map(|at| all[*at].clone()).collect();
            let found = diesel_async::RunQueryDsl::load(question(), connection).await;
            assert_eq!(found, Ok(expected), "{name}");
        }
        let streamed = diesel_async::RunQueryDsl::load_stream::<Change>(history(), connection)
            .await
            .expect("a stream");
        assert_eq!(
            streamed.try_collect::<Vec<_>>().await.expect("changes"),
            all
        );
    });
    let streamed = history()
        .load_iter::<Change, PgRowByRowLoadingMode>(&mut shop.connection)
        .expect("rows");
    assert_eq!(streamed.collect::<QueryResult<Vec<_>>>(), Ok(all));
}

#[test]
fn pages_hold_everything_once_in_both_directions() {
    let mut shop = shop();
    let mut all: Vec<Change> = history().load(&mut shop.connection).expect("changes");
    for latest_first in [false, true] {
        let question = || {
            let question = history().limit(2);
            if latest_first {
                question.latest_first()
            } else {
                question
            }
        };
        let mut pages: Vec<Change> = question().load(&mut shop.connection).expect("a page");
        while let Some(last) = pages.last() {
            let cursor: Cursor = Cursor::from(last).to_string().parse().expect("a cursor");
            let page = question()
                .continue_after(cursor)
                .load(&mut shop.connection)
                .expect("a page");
            if page.is_empty() {
                break;
            }
            pages.extend(page);
        }
        assert_eq!(told(&pages), told(&all));
        all.reverse();
    }
}

#[test]
fn groups_by_transaction_request_and_member() {
    let mut shop = shop();
    let mut groups = |by: GroupBy| {
        let groups = history().table("todos").grouped_by(by);
        let groups: Vec<bemi_diesel::history::Group> =
            groups.load(&mut shop.connection).expect("groups");
        groups
            .into_iter()
            .map(|group| {
                (
                    group.key,
                    group.transactions,
                    group.changes,
                    group.tables.join(" "),
                )
            })
            .collect::<Vec<_>>()
    };
    let key = |key: &str| Some(key.to_owned());
    let both = || "public.todos sales.todos".to_owned();
    let one = || "public.todos".to_owned();
    assert_eq!(
        groups(GroupBy::Request),
        [
            (key("r2"), 2, 5, both()),
            (None, 1, 1, one()),
            (key("r1"), 2, 3, both())
        ]
    );
    assert_eq!(
        groups(GroupBy::Context(vec!["user".into(), "id".into()])),
        [
            (key("8"), 2, 5, both()),
            (None, 1, 1, one()),
            (key("7"), 2, 3, both())
        ]
    );
    let transactions = groups(GroupBy::Transaction);
    assert_eq!(
        transactions.iter().map(|group| group.2).collect::<Vec<_>>(),
        [3, 1, 2, 1, 2]
    );
}
