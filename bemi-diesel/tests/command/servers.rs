//! What can become of the servers of source and destination, and what the operator is told.

use std::fs;
use std::thread;

use bemi_tests::{Cluster, Database, Shutdown};
use postgres::{Client, NoTls};
use rustix::process::Signal;

use crate::support::{Capture, Shop, wait_until};

/// A shop of a server of its own, whose changes are stored in another one.
fn apart() -> (Cluster, Shop) {
    let destination = Cluster::start().unwrap();
    let shop = Shop::stored_in(Database::create_in(&destination).unwrap());
    (destination, shop)
}

fn insert(shop: &Shop, title: &str) {
    shop.sql(&format!("INSERT INTO todos (title) VALUES ('{title}')"));
}

fn titles(shop: &Shop) -> String {
    shop.stored(
        "SELECT string_agg(after ->> 'title', ' ' ORDER BY commit_lsn, ordinal) FROM changes",
    )
}

/// Does `sql` where the changes are stored.
fn at_destination(shop: &Shop, sql: &str) {
    let mut client = Client::connect(shop.trail().url(), NoTls).unwrap();
    client.batch_execute(sql).unwrap();
}

/// Waits until it says why it reconnects.
fn says(capture: &Capture, words: &str) {
    capture.says(&format!("capture reconnects error={words}"));
}

/// Stops the server, and starts it as a standby that nobody sends any log.
fn become_standby(cluster: &mut Cluster) {
    cluster.stop(Shutdown::Fast).unwrap();
    fs::write(cluster.data_folder().join("standby.signal"), "").unwrap();
    cluster.start_again().unwrap();
}

/// Makes the standby the primary, on a new timeline.
fn promote(cluster: &Cluster) {
    let mut admin = Client::connect(&cluster.url("postgres"), NoTls).unwrap();
    admin.batch_execute("SELECT pg_promote()").unwrap();
}

#[test]
fn a_destination_that_is_down_is_waited_for() {
    let (mut destination, shop) = apart();
    let capture = shop.capture();
    insert(&shop, "before");
    shop.wait_until_stored(1);
    destination.stop(Shutdown::Fast).unwrap();
    insert(&shop, "meanwhile");
    says(&capture, "lost the connection to ");
    says(&capture, "cannot connect to ");
    destination.start_again().unwrap();
    shop.wait_until_stored(2);
    assert_eq!(titles(&shop), "before meanwhile");
}

#[test]
fn a_destination_that_takes_no_writes_is_waited_for() {
    let (mut destination, shop) = apart();
    let capture = shop.capture();
    become_standby(&mut destination);
    insert(&shop, "meanwhile");
    let said = capture.says("(SQLSTATE 25006)");
    let help = "the database takes no writes: it is a standby, or another one is the primary now";
    assert!(said.last().unwrap().contains(help), "{said:?}");
    promote(&destination);
    shop.wait_until_stored(1);
    assert_eq!(titles(&shop), "meanwhile");
}

#[test]
fn a_destination_whose_disk_is_full_is_waited_for() {
    let (_destination, shop) = apart();
    let capture = shop.capture();
    insert(&shop, "before");
    shop.wait_until_stored(1);
    at_destination(
        &shop,
        "CREATE FUNCTION full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION USING ERRCODE = 'disk_full', MESSAGE = 'could not extend file'; END $$; \
         CREATE TRIGGER full_disk BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION full()",
    );
    insert(&shop, "meanwhile");
    let said = capture.says("storing changes: could not extend file (SQLSTATE 53100)");
    assert!(
        said.last()
            .unwrap()
            .contains("the server's disk is full: make room"),
        "{said:?}"
    );
    at_destination(&shop, "DROP TRIGGER full_disk ON changes");
    shop.wait_until_stored(2);
    assert_eq!(titles(&shop), "before meanwhile");
}

#[test]
fn a_slow_destination_does_not_cost_the_stream() {
    let source = Cluster::builder()
        .setting("wal_sender_timeout", "1s")
        .start()
        .unwrap();
    let mut shop = Shop::open_in(&source);
    let destination = Cluster::start().unwrap();
    shop.destination = Some(Database::create_in(&destination).unwrap());
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let mut capture = shop.capture();
    // It takes more than twice as long as the server waits for a sign of life.
    at_destination(
        &shop,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_sleep(0.025); RETURN NEW; END $$; \
         CREATE TRIGGER slow BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    shop.sql("INSERT INTO todos (title) SELECT 'x' FROM generate_series(1, 100)");
    shop.wait_until_stored(100);
    capture.signal(Signal::TERM);
    let (code, said) = capture.last_words();
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("capture reconnects"), "{said}");
}

#[test]
fn a_destination_that_was_restored_from_a_backup_is_a_gap() {
    let (_destination, shop) = apart();
    let backup: String = shop.stored("SELECT flush_lsn::text FROM _bemi_progress");
    let mut capture = shop.capture();
    insert(&shop, "since");
    shop.wait_until_stored(1);
    let acknowledged = "SELECT confirmed_flush_lsn > $1::text::pg_lsn FROM pg_replication_slots \
                        WHERE slot_name = current_database()";
    wait_until("the slot moves on", || {
        shop.client()
            .query_one(acknowledged, &[&backup])
            .unwrap()
            .get(0)
    });
    capture.signal(Signal::TERM);
    assert_eq!(capture.wait().code(), Some(0));
    at_destination(
        &shop,
        &format!(
            "DELETE FROM changes; UPDATE _bemi_progress SET flush_lsn = '{backup}', changes = 0"
        ),
    );
    let outcome = shop.bemi(&["run"]);
    assert_eq!(outcome.code, 1);
    let (told, help) = outcome.stderr.trim_end().split_once('\n').unwrap();
    assert!(told.starts_with("error: the slot begins at "), "{told}");
    assert!(
        told.ends_with(&format!(", but only changes up to {backup} are stored")),
        "{told}"
    );
    assert_eq!(
        help,
        "help: `bemi setup --accept-gap` goes on from where the slot is; what lies between stays missing"
    );
}

#[test]
fn a_source_on_a_new_timeline_is_captured_on() {
    let mut source = Cluster::start().unwrap();
    let shop = Shop {
        destination: Some(Database::create().unwrap()),
        ..Shop::open_in(&source)
    };
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let capture = shop.capture();
    insert(&shop, "before");
    shop.wait_until_stored(1);
    become_standby(&mut source);
    promote(&source);
    insert(&shop, "after");
    shop.wait_until_stored(2);
    assert_eq!(titles(&shop), "before after");
    let timeline = "SELECT timeline_id FROM pg_control_checkpoint()";
    shop.sql("CHECKPOINT");
    assert_eq!(shop.value::<i32>(timeline), 2);
    capture.kill();
}

#[test]
fn a_smart_shutdown_waits_for_the_capture_as_for_every_client() {
    let mut cluster = Cluster::start().unwrap();
    let shop = Shop {
        destination: Some(Database::create().unwrap()),
        ..Shop::open_in(&cluster)
    };
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let mut capture = shop.capture();
    let mut client = shop.client();
    let url = shop.database.url().to_owned();
    thread::scope(|scope| {
        let stopping = scope.spawn(|| cluster.stop(Shutdown::Smart).unwrap());
        wait_until("the server takes no more clients", || {
            Client::connect(&url, NoTls).is_err()
        });
        client
            .batch_execute("INSERT INTO todos (title) VALUES ('last')")
            .unwrap();
        drop(client);
        shop.wait_until_stored(1);
        assert!(!capture.has_ended() && !stopping.is_finished());
        capture.signal(Signal::TERM);
        let (code, said) = capture.last_words();
        assert_eq!(code, 0, "{said}");
        stopping.join().unwrap();
    });
    assert_eq!(titles(&shop), "last");
}
