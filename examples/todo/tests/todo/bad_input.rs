//! Each of these ends at once with what to do about it, exit status 1, and nothing half-done.

use std::net::TcpListener;

use bemi_tests::Cluster;

use crate::support::{Outcome, Scratch, Trail};

const CHECK: &str =
    "help: check that the server runs, and what --database-url or DATABASE_URL says";

/// The whole of standard error, and nothing left.
fn fails(scratch: &Scratch, outcome: &Outcome, message: &str) {
    assert_eq!(outcome.stderr, format!("{message}\n"));
    assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""));
    assert_eq!(scratch.left(), [""; 0]);
}

/// Neither slot, publication nor table of bemi's.
fn untouched(trail: &Trail) {
    let sql = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()) \
               + (SELECT count(*) FROM pg_publication) \
               + (SELECT count(*) FROM pg_class WHERE obj_description(oid, 'pg_class') LIKE 'bemi:%')";
    assert_eq!(trail.value::<i64>(sql), 0);
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (scratch, trail) = (Scratch::new(), Trail::new());
    let message = format!(
        "Error: cannot listen on port {port}: Address already in use (os error 98)\n\
         help: choose another with --port"
    );
    let arguments = ["--port", &port.to_string()];
    fails(&scratch, &scratch.todo(&arguments), &message);
    fails(
        &scratch,
        &Outcome::of(&mut trail.command(&scratch, &arguments)),
        &message,
    );
    untouched(&trail);
}

#[test]
fn a_server_that_is_down() {
    // A port that was free a moment ago has no server.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let scratch = Scratch::new();
    let url = format!("postgres://app:hunter2@127.0.0.1:{port}/shop");
    fails(
        &scratch,
        &scratch.todo(&["--port", "0", "--database-url", &url]),
        &format!(
            "Error: connection to server at \"127.0.0.1\", port {port} failed: Connection refused\n{CHECK}"
        ),
    );
}

#[test]
fn a_database_or_role_that_is_not_there() {
    let port = Cluster::shared().unwrap().port();
    let scratch = Scratch::new();
    for (role, database, reason) in [
        ("postgres", "nowhere", "database \"nowhere\" does not exist"),
        ("nobody", "postgres", "role \"nobody\" does not exist"),
    ] {
        let url = format!("postgres://{role}:hunter2@127.0.0.1:{port}/{database}");
        fails(
            &scratch,
            &scratch.todo(&["--port", "0", "--database-url", &url]),
            &format!(
                "Error: connection to server at \"127.0.0.1\", port {port} failed: FATAL:  {reason}\n{CHECK}"
            ),
        );
    }
}

#[test]
fn a_url_that_is_none_shows_no_password() {
    let scratch = Scratch::new();
    for url in [
        "mysql://app:hunter2@db/shop",
        "postgres://app:%hunter2@db/shop",
        "postgres://app:hunter2@db/shop?hunter2",
        "hunter2",
    ] {
        fails(
            &scratch,
            &scratch.todo(&["--port", "0", "--database-url", url]),
            &format!(
                "Error: the database URL is not valid: expected postgres://role:password@host:port/database\n{CHECK}"
            ),
        );
    }
    // A longer name than any host has, for which nobody asks the network.
    let url = format!("postgres://app:hunter2@{}/shop", "x".repeat(64));
    fails(
        &scratch,
        &scratch.todo(&["--port", "0", "--database-url", &url]),
        &format!("Error: the host in the database URL is not known\n{CHECK}"),
    );
}

#[test]
fn wal_level_is_not_logical() {
    let cluster = Cluster::builder()
        .setting("wal_level", "replica")
        .start()
        .unwrap();
    let (scratch, trail) = (Scratch::new(), Trail::new_in(&cluster));
    fails(
        &scratch,
        &Outcome::of(&mut trail.command(&scratch, &["--port", "0"])),
        "Error: the server's wal_level is 'replica', and must be 'logical'\n\
         help: run `ALTER SYSTEM SET wal_level = 'logical'` as a superuser and restart the server",
    );
    untouched(&trail);
}

#[test]
fn no_server_to_be_had() {
    let scratch = Scratch::new();
    let mut command = scratch.command(&["--port", "0"]);
    fails(
        &scratch,
        &Outcome::of(command.env("PG_BIN", "/nowhere")),
        "Error: PG_BIN must be the folder that holds initdb, pg_ctl and postgres, 14 or newer, but \
         /nowhere has no initdb",
    );
}

#[test]
fn wrong_usage() {
    let scratch = Scratch::new();
    for arguments in [["--port", "http"], ["--nonsense", "1"]] {
        assert_eq!(scratch.todo(&arguments).code, Some(2));
    }
}
