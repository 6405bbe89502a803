//! Ask an audit trail, travel back in it, and undo: each question is a line or two.
//!
//! It needs nothing: the PostgreSQL server is a throw-away one.

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "diesel's macros write items without"
)]

use bemi_diesel::history::{Instant, current_lsn, history};
use bemi_diesel::{BemiConnection, Capture, Change, Context, Lsn, Revert, Tracked, sync_scope};
use bemi_tests::Cluster;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use serde_json::json;

diesel::table! {
    lists { id -> Integer, name -> Text }
}

diesel::table! {
    todos { id -> Integer, list_id -> Integer, title -> Text, done -> Bool }
}

#[derive(Queryable, Selectable, Tracked)]
struct Todo {
    id: i32,
    title: String,
    done: bool,
}

diesel::joinable!(todos -> lists (list_id));
diesel::allow_tables_to_appear_in_same_query!(lists, todos);

const TABLES: &str = "\
    CREATE TABLE lists (id int PRIMARY KEY, name text NOT NULL); \
    CREATE TABLE todos (id int PRIMARY KEY, list_id int NOT NULL REFERENCES lists ON DELETE CASCADE, \
        title text NOT NULL, done bool NOT NULL DEFAULT false)";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let server = Cluster::start()?;
    server.create_database("todo")?;
    let url = server.url("todo");
    let connection = &mut BemiConnection::establish(&url)?;
    connection.batch_execute(TABLES)?;
    let capture = Capture::builder(&url).start().await?;

    live(connection)?;
    ask(connection)?;
    capture.shutdown().await?;
    Ok(())
}

/// Three people use the application.
fn live(c: &mut BemiConnection) -> QueryResult<()> {
    user("anna", || {
        let home = (lists::id.eq(1), lists::name.eq("Home"));
        diesel::insert_into(lists::table).values(home).execute(c)?;
        let todo = |id, title| {
            (
                todos::id.eq(id),
                todos::list_id.eq(1),
                todos::title.eq(title),
            )
        };
        diesel::insert_into(todos::table)
            .values([todo(1, "Sleep"), todo(2, "Eat")])
            .execute(c)
    })?;
    user("ben", || {
        diesel::update(todos::table.find(1))
            .set((todos::title.eq("Sleep well"), todos::done.eq(true)))
            .execute(c)
    })?;
    // She meant another list. Its to-dos go with it.
    user("eve", || diesel::delete(lists::table.find(1)).execute(c))?;
    Ok(())
}

fn ask(c: &mut BemiConnection) -> anyhow::Result<()> {
    println!("What happened to to-do 1? All of it, up to now.");
    let now: Lsn = diesel::select(current_lsn()).get_result(c)?;
    let changes = Todo::history_of(1).at_least(now).load(c)?;
    for change in &changes {
        println!("  {} by {}", change.operation, by(change)?);
        change
            .diff()
            .iter()
            .for_each(|difference| println!("    {difference}"));
    }

    println!("Who completed it?");
    let completed: Change = Todo::history_of(1).after(json!({"done": true})).first(c)?;
    println!("  {}", by(&completed)?);

    println!("What was it like after each change?");
    for version in Todo::versions(1).load(c)? {
        match version.row()? {
            Some(todo) => println!("  {} (done: {})", todo.title, todo.done),
            None => println!("  gone"),
        }
    }

    println!("What did eve do?");
    let hers: Vec<Change> = history().context(json!({"user": "eve"})).load(c)?;
    for change in &hers {
        println!(
            "  {} {} {}",
            change.operation,
            change.table,
            change.before.as_str()
        );
    }

    println!("What was to-do 2 like before that?");
    let todo = Todo::as_of(Instant::before(&hers[0])).record(2).first(c)?;
    println!("  {} (done: {})", todo.title, todo.done);

    println!("What was there on the list?");
    let before =
        lists::table
            .inner_join(todos::table)
            .select((lists::name, todos::title, todos::done));
    let rows: Vec<(String, String, bool)> = c.as_of(Instant::before(&hers[0]), |c| {
        before.order(todos::id).load(c)
    })?;
    rows.iter().for_each(|row| println!("  {row:?}"));

    println!("What would it take to undo it?");
    let undo = Revert::new().context(Context::new().with("user", "eve"));
    for row in undo.plan(c)?.rows {
        println!("  {} {} {}", row.action, row.table, row.after.as_str());
    }

    println!("Undone:");
    undo.apply(c)?;
    let rows: Vec<(String, String, bool)> = before.order(todos::id).load(c)?;
    rows.iter().for_each(|row| println!("  {row:?}"));
    Ok(())
}

/// As the middleware of bemi-actix does for a request.
fn user<R>(name: &str, work: impl FnOnce() -> R) -> R {
    sync_scope(Context::new().with("user", name), work)
}

/// Who made a change.
fn by(change: &Change) -> anyhow::Result<String> {
    Ok(change.context.get("user")?.unwrap_or_default())
}
