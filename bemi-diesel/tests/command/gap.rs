//! Changes that are missing are recorded, and the capture goes on, where that was asked for.

use std::time::Instant;

use bemi_tests::{Cluster, Database};
use rustix::process::Signal;

use crate::proxy::Proxy;
use crate::support::{Capture, Shop, wait_until};

/// The entries of gaps, and the titles, in the order of the trail.
const TRAIL: &str = "SELECT string_agg(coalesce(after ->> 'title', after ->> 'reason'), ', ' ORDER BY commit_lsn, ordinal) \
                     FROM changes";

fn insert(shop: &Shop, title: &str) {
    shop.sql(&format!("INSERT INTO todos (title) VALUES ('{title}')"));
}

fn drop_slot(shop: &Shop) {
    wait_until("nobody reads from the slot", || {
        shop.value("SELECT bool_and(active_pid IS NULL) FROM pg_replication_slots WHERE database = current_database()")
    });
    let slot = shop.slot();
    shop.sql(&format!("SELECT pg_drop_replication_slot('{slot}')"));
}

fn recording(shop: &Shop) -> Capture {
    let capture = Capture::start(&mut shop.command(&["run", "--on-gap", "record"]));
    capture.says("capture reads the log");
    capture
}

#[test]
fn a_slot_that_is_gone_is_made_anew_and_the_gap_is_an_entry() {
    let shop = Shop::set_up();
    let capture = shop.capture();
    insert(&shop, "before");
    shop.wait_until_stored(1);
    drop(capture);
    drop_slot(&shop);
    let stored: String = shop.value("SELECT flush_lsn::text FROM _bemi_progress");
    let last: String =
        shop.value("SELECT to_jsonb(last_committed_at) #>> '{}' FROM _bemi_progress");
    insert(&shop, "lost");
    let capture = Capture::start(&mut shop.command(&["run", "--on-gap", "record"]));
    let told = capture.says("changes are missing");
    capture.says("capture reads the log");
    insert(&shop, "after");
    shop.wait_until_stored(3);
    assert_eq!(
        shop.value::<String>(TRAIL),
        "before, the replication slot was lost, after"
    );
    let gap: String = shop.value(
        "SELECT concat_ws('|', schema, \"table\", primary_key, before, context, transaction_id, \
                          position = ((after ->> 'from')::pg_lsn - '0/0')::bigint, \
                          commit_lsn = ((after ->> 'to')::pg_lsn - '0/0')::bigint - 1, ordinal, \
                          committed_at BETWEEN now() - interval '1 minute' AND now(), after ->> 'from', after ->> 'since') \
         FROM changes WHERE operation = 'GAP'",
    );
    assert_eq!(gap, format!("||{{}}|{{}}|0|t|t|0|t|{stored}|{last}"));
    assert!(
        told.last().unwrap().contains(&format!("from={stored}")),
        "{told:?}"
    );
    let listed = shop.bemi(&["changes", "--operation", "gap", "--json"]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    assert!(listed.stdout.contains("the replication slot was lost"));
}

#[test]
fn setup_records_the_gap_that_it_is_told_to_accept() {
    let shop = Shop::set_up();
    drop(shop.capture());
    drop_slot(&shop);
    assert_eq!(shop.bemi(&["setup"]).code, 1);
    for _ in 0..2 {
        let accepted = shop.bemi(&["setup", "--accept-gap"]);
        assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    }
    // What is accepted twice is missing once.
    assert_eq!(shop.value::<String>(TRAIL), "the replication slot was lost");
}

#[test]
fn a_slot_that_somebody_has_moved_on_is_read_from_there() {
    let shop = Shop::set_up();
    insert(&shop, "lost");
    shop.sql(&format!(
        "SELECT pg_replication_slot_advance('{}', pg_current_wal_lsn())",
        shop.slot()
    ));
    let _capture = recording(&shop);
    insert(&shop, "after");
    shop.wait_until_stored(2);
    assert_eq!(
        shop.value::<String>(TRAIL),
        "the replication slot was moved on, after"
    );
}

#[test]
fn a_publication_that_is_made_anew_under_a_capture_is_a_recorded_gap() {
    let shop = Shop::set_up();
    let capture = recording(&shop);
    insert(&shop, "before");
    shop.wait_until_stored(1);
    // Nothing is published in between.
    shop.sql("DROP PUBLICATION bemi; CREATE PUBLICATION bemi FOR TABLE todos");
    capture.says("changes are missing");
    capture.says("capture reads the log");
    insert(&shop, "after");
    wait_until("what came last is stored", || {
        shop.value::<String>(TRAIL) == "before, the publication was dropped, after"
    });
}

#[test]
fn an_older_copy_of_the_database_is_for_a_person_to_look_at() {
    let shop = Shop::set_up();
    shop.sql("UPDATE _bemi_progress SET flush_lsn = pg_current_wal_lsn() + 1000000000");
    let outcome = shop.bemi(&["run", "--on-gap", "record"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome
            .stderr
            .contains("but the log of the database ends at"),
        "{}",
        outcome.stderr
    );
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM changes"), 0);
}

#[test]
fn rows_of_a_time_before_the_gap_are_not_guessed() {
    let shop = Shop::set_up();
    let capture = recording(&shop);
    insert(&shop, "before");
    shop.wait_until_stored(1);
    let before: String = shop.value("SELECT clock_timestamp()::text");
    insert(&shop, "then");
    shop.wait_until_stored(2);
    let outcome = shop.bemi(&["as-of", &before, "todos", "--json"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    drop(capture);
    drop_slot(&shop);
    shop.sql("UPDATE todos SET title = 'lost'");
    let _capture = recording(&shop);
    insert(&shop, "after");
    shop.wait_until_stored(4);
    let outcome = shop.bemi(&["as-of", &before, "todos", "--json"]);
    assert_eq!(outcome.code, 1, "{}", outcome.stdout);
}

#[test]
fn a_stop_does_not_wait_for_a_new_slot() {
    let shop = Shop::set_up();
    let mut capture = recording(&shop);
    let mut client = shop.client();
    let mut running = client.transaction().unwrap();
    running
        .batch_execute("INSERT INTO todos (title) VALUES ('running')")
        .unwrap();
    let slot = shop.slot();
    // It reads again in a moment.
    let dropped = format!(
        "DO $$ BEGIN \
             PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}'; \
             PERFORM pg_drop_replication_slot('{slot}'); \
         EXCEPTION WHEN object_in_use THEN END $$"
    );
    wait_until("the slot is dropped", || {
        shop.sql(&dropped);
        shop.value(&format!(
            "SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}' AND active_pid IS NULL) \
             AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}' AND confirmed_flush_lsn IS NOT NULL)"
        ))
    });
    capture.says("the replication slot waits for the transactions that are running to end");
    let told = Instant::now();
    capture.signal(Signal::TERM);
    let (code, said) = capture.last_words();
    let took = told.elapsed();
    assert!(code == 0 && took.as_secs() < 12, "{code} {took:?} {said}");
    running.rollback().unwrap();
}

#[test]
fn a_slot_that_keeps_too_much_log_is_given_up_while_the_destination_is_down() {
    let cluster = Cluster::start().unwrap();
    let mut shop = Shop::open_in(&cluster);
    shop.destination = Some(Database::create().unwrap());
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let network = Proxy::start(Cluster::shared().unwrap().port());
    let capture = Capture::start(&mut shop.command(&[
        "run",
        "--on-gap",
        "record",
        "--give-up-at",
        "40MiB",
        "--destination-url",
        &network.through(shop.trail().url()),
    ]));
    capture.says("capture reads the log");
    insert(&shop, "before");
    shop.wait_until_stored(1);
    network.go_down();
    insert(&shop, "lost");
    // Log is kept in files of 16 MiB.
    for _ in 0..5 {
        shop.sql("SELECT pg_switch_wal()");
        insert(&shop, "lost");
    }
    let told = capture.says("the replication slot is given up");
    assert!(told.last().unwrap().contains("limit=41943040"), "{told:?}");
    assert_eq!(
        shop.value::<i64>("SELECT count(*) FROM pg_replication_slots"),
        0
    );
    network.restore();
    capture.says("changes are missing");
    capture.says("capture reads the log");
    insert(&shop, "after");
    shop.wait_until_stored(3);
    assert_eq!(
        shop.stored::<String>(TRAIL),
        "before, the replication slot was lost, after"
    );
    drop(capture);
    drop(shop);
}

#[test]
fn a_slot_that_is_given_up_ends_a_capture_that_is_to_stop() {
    let cluster = Cluster::start().unwrap();
    let shop = Shop::open_in(&cluster);
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let mut capture = Capture::start(&mut shop.command(&["run", "--give-up-at", "1"]));
    let (code, said) = capture.last_words();
    assert_eq!(code, 1, "{said}");
    for words in [
        "capture reconnects error=the source keeps ",
        "the replication slot is given up",
        "is gone or has lost its log",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
