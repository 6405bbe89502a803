//! Reading one's own writes, which other processes capture.

use std::time::Duration;

use bemi_diesel::history::{at_least, current_lsn, history};
use bemi_diesel::{BemiConnection, Change, Lsn};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::support::{Capture, Shop};

/// Writes, and reads what was written.
fn written(connection: &mut BemiConnection, title: &str) -> Vec<Change> {
    let insert = format!("INSERT INTO todos (title) VALUES ('{title}')");
    connection.batch_execute(&insert).unwrap();
    let lsn: Lsn = diesel::select(current_lsn())
        .get_result(connection)
        .unwrap();
    let patience = at_least(lsn).timeout(Duration::from_secs(30));
    let question = history()
        .table("todos")
        .after(serde_json::json!({"title": title}));
    question.at_least(patience).load(connection).unwrap()
}

#[test]
fn whichever_process_captures_them() {
    let shop = Shop::set_up();
    let reading = shop.capture();
    let standby = Capture::start(&mut shop.command(&["run"]));
    standby.says("capture stands by: another one reads from the slot");
    let connection = &mut BemiConnection::establish(shop.database.url()).unwrap();
    assert_eq!(written(connection, "Sleep").len(), 1);
    reading.kill();
    assert_eq!(written(connection, "Dream").len(), 1);
}
