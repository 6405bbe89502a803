//! The guard of a test's own database.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bemi_tests::{Cluster, Database};
use postgres::{Client, NoTls};

use crate::sql::value;

const SLOTS: &str = "SELECT count(*)::text FROM pg_replication_slots";
const DATABASES: &str = "SELECT count(*)::text FROM pg_database WHERE datname LIKE 'test%'";

#[test]
fn each_is_its_own() {
    let (one, other) = (
        Database::create().expect("a database"),
        Database::create().expect("a database"),
    );
    assert_ne!(one.name(), other.name());
    for database in [&one, &other] {
        assert_eq!(
            value(database.url(), "SELECT current_database()::text"),
            database.name()
        );
    }
}

#[test]
fn goes_with_its_slots_and_sessions() {
    let cluster = Cluster::start().expect("a cluster");
    let admin = cluster.url("postgres");
    let database = Database::create_in(&cluster).expect("a database");
    let kept = Database::create_in(&cluster).expect("a database");
    for (database, slot) in [
        (&database, "gone"),
        (&database, "gone_too"),
        (&kept, "kept"),
    ] {
        value(
            database.url(),
            &format!(
                "SELECT slot_name::text FROM pg_create_logical_replication_slot('{slot}', 'pgoutput')"
            ),
        );
    }
    let mut session = Client::connect(database.url(), NoTls).expect("a session");
    assert_eq!(value(&admin, SLOTS), "3");
    assert_eq!(value(&admin, DATABASES), "2");

    drop(database);

    assert!(session.batch_execute("SELECT 1").is_err());
    assert_eq!(value(&admin, SLOTS), "1");
    assert_eq!(value(&admin, DATABASES), "1");
    drop(kept);
    assert_eq!(value(&admin, SLOTS), "0");
    assert_eq!(value(&admin, DATABASES), "0");
}

/// A connection to a walsender that streams the slot: the
/// [protocol](https://www.postgresql.org/docs/current/protocol-replication.html) by hand.
fn stream_from(slot: &str, database: &Database, port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server is reachable");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let name = database.name();
    let mut startup = 0x0003_0000_u32.to_be_bytes().to_vec();
    startup.extend(
        format!("user\0postgres\0database\0{name}\0replication\0database\0\0").into_bytes(),
    );
    send(&mut stream, &startup);
    read_until(&mut stream, b'Z');
    stream.write_all(b"Q").expect("it is open");
    send(
        &mut stream,
        format!(
            "START_REPLICATION SLOT {slot} LOGICAL 0/0 \
             (proto_version '1', publication_names 'none')\0"
        )
        .as_bytes(),
    );
    read_until(&mut stream, b'W');
    stream
}

/// Sends the length of `body`, which counts itself, and `body`.
fn send(stream: &mut TcpStream, body: &[u8]) {
    let length = u32::try_from(body.len() + 4).expect("it is short");
    stream
        .write_all(&[&length.to_be_bytes(), body].concat())
        .expect("it is open");
}

/// Reads messages up to the first of the type `tag`.
fn read_until(stream: &mut TcpStream, tag: u8) {
    let mut head = [0; 5];
    while head[0] != tag {
        stream.read_exact(&mut head).expect("a message");
        assert_ne!(head[0], b'E', "the server refuses");
        let [_, length @ ..] = head;
        let rest = u64::from(u32::from_be_bytes(length)) - 4;
        std::io::copy(&mut Read::by_ref(stream).take(rest), &mut std::io::sink())
            .expect("its body");
    }
}

#[test]
fn goes_with_a_slot_in_use() {
    let cluster = Cluster::start().expect("a cluster");
    let admin = cluster.url("postgres");
    let database = Database::create_in(&cluster).expect("a database");
    value(
        database.url(),
        "SELECT slot_name::text FROM pg_create_logical_replication_slot('busy', 'pgoutput')",
    );
    let mut walsender = stream_from("busy", &database, cluster.port());

    drop(database);

    // Whatever the server said before it hung up, it has hung up.
    walsender
        .read_to_end(&mut Vec::new())
        .expect("the server has ended it");
    assert_eq!(value(&admin, SLOTS), "0");
    assert_eq!(value(&admin, DATABASES), "0");
}

#[test]
fn goes_when_the_test_panics() {
    let cluster = Cluster::start().expect("a cluster");
    let admin = cluster.url("postgres");
    let database = Database::create_in(&cluster).expect("a database");
    let panicked = std::thread::spawn(move || {
        let _held = database;
        std::panic::resume_unwind(Box::new("without a message"));
    })
    .join();
    assert!(panicked.is_err());
    assert_eq!(value(&admin, DATABASES), "0");
}
