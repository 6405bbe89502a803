//! Each of these ends with what to do about it, exit status 1, and nothing half-done.

use std::net::TcpListener;

use bemi_tests::Cluster;

use crate::support::{Shop, bemi};

/// The whole of standard error.
fn fails(outcome: &crate::support::Outcome, message: &str) {
    assert_eq!(outcome.stderr.trim_end(), message);
    assert_eq!(outcome.code, 1);
    assert_eq!(outcome.stdout, "");
}

/// Neither slot, publication nor table of ours.
fn untouched(shop: &Shop) {
    let sql = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()) \
               + (SELECT count(*) FROM pg_publication) \
               + (SELECT count(*) FROM pg_class WHERE obj_description(oid, 'pg_class') LIKE 'bemi:%')";
    assert_eq!(shop.value::<i64>(sql), 0);
}

#[test]
fn no_database_is_wrong_usage() {
    let outcome = bemi(&["status"]);
    assert_eq!(outcome.code, 2);
    assert!(
        outcome.stderr.starts_with(
            "error: no database to work on: give --database-url <URL>, or set DATABASE_URL"
        ),
        "{}",
        outcome.stderr
    );
    assert_eq!(bemi(&["setup", "--nonsense"]).code, 2);
    assert_eq!(bemi(&["changes", "--operation", "INSERT"]).code, 2);
    assert_eq!(bemi(&["changes", "--context", "no-equals-sign"]).code, 2);
}

#[test]
fn a_url_that_is_none() {
    fails(
        &bemi(&["setup", "--database-url", "mysql://app:hunter2@db/shop"]),
        "error: the database URL is not valid: expected postgres://role:password@host:port/database",
    );
}

#[test]
fn a_slot_name_that_is_none() {
    fails(
        &bemi(&[
            "setup",
            "--database-url",
            "postgres://app@db/shop",
            "--slot",
            "My-Slot",
        ]),
        "error: the slot name \"My-Slot\" is not valid: PostgreSQL allows 1 to 63 lower-case letters, digits and underscores",
    );
}

#[test]
fn a_server_that_is_down() {
    // A port that was free a moment ago has no server.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("postgres://app:hunter2@127.0.0.1:{port}/shop");
    for call in ["setup", "run", "status", "changes", "teardown"] {
        fails(
            &bemi(&[call, "--database-url", &url]),
            &format!(
                "error: cannot connect to 127.0.0.1:{port}/shop: Connection refused (os error 111)\n\
                 help: check that the server runs and that the host and port of the URL are right; `pg_isready` tells"
            ),
        );
    }
}

#[test]
fn a_database_or_role_that_is_not_there() {
    let port = Cluster::shared().unwrap().port();
    let outcome = bemi(&[
        "setup",
        "--database-url",
        &format!("postgres://postgres@127.0.0.1:{port}/nowhere"),
    ]);
    fails(
        &outcome,
        &format!(
            "error: 127.0.0.1:{port}/nowhere refused the connection: database \"nowhere\" does not exist (SQLSTATE 3D000)\n\
             help: check the role, the password and the database of the URL, and the server's pg_hba.conf"
        ),
    );
    let outcome = bemi(&[
        "run",
        "--database-url",
        &format!("postgres://nobody:hunter2@127.0.0.1:{port}/postgres"),
    ]);
    fails(
        &outcome,
        &format!(
            "error: 127.0.0.1:{port}/postgres refused the connection: role \"nobody\" does not exist (SQLSTATE 28000)\n\
             help: check the role, the password and the database of the URL, and the server's pg_hba.conf"
        ),
    );
}

#[test]
fn wal_level_is_not_logical() {
    let cluster = Cluster::builder()
        .setting("wal_level", "replica")
        .start()
        .unwrap();
    let shop = Shop::open_in(&cluster);
    for call in ["setup", "run"] {
        fails(
            &shop.bemi(&[call]),
            "error: the server's wal_level is 'replica', and must be 'logical'\n\
             help: run `ALTER SYSTEM SET wal_level = 'logical'` as a superuser and restart the server",
        );
    }
    untouched(&shop);
}

/// The shop's URL for a role of its own, which the test drops by dropping what it owns.
fn role(shop: &Shop, attributes: &str) -> (String, String) {
    let role = format!("role_{}", shop.database.name());
    shop.sql(&format!(
        "CREATE ROLE {role} LOGIN {attributes}; GRANT CREATE ON DATABASE {} TO {role}",
        shop.slot()
    ));
    (
        shop.database
            .url()
            .replacen("postgres@", &format!("{role}@"), 1),
        role,
    )
}

#[test]
fn a_role_that_may_not_replicate() {
    let shop = Shop::open();
    let (url, role) = role(&shop, "");
    fails(
        &bemi(&["setup", "--database-url", &url, "--slot", shop.slot()]),
        &format!(
            "error: the role \"{role}\" may not read the log: it lacks the attribute REPLICATION\n\
             help: run `ALTER ROLE \"{role}\" REPLICATION` as a superuser"
        ),
    );
    untouched(&shop);
    shop.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_role_that_does_not_own_the_table() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE theirs (id int PRIMARY KEY)");
    let (url, role) = role(&shop, "REPLICATION");
    fails(
        &bemi(&["setup", "--database-url", &url, "--slot", shop.slot()]),
        &format!(
            "error: the role \"{role}\" does not own the table \"public\".\"theirs\"\n\
             help: let the owner run setup, leave them out with --exclude, or run \
             `ALTER TABLE \"public\".\"theirs\" OWNER TO \"{role}\"` as a superuser"
        ),
    );
    untouched(&shop);
    shop.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_role_with_just_enough_rights_sets_up_and_captures() {
    let shop = Shop::open();
    let (url, role) = role(&shop, "REPLICATION");
    shop.sql(&format!(
        "GRANT CREATE ON SCHEMA public TO {role}; CREATE TABLE ours (id int PRIMARY KEY); ALTER TABLE ours OWNER TO {role}"
    ));
    let outcome = bemi(&["setup", "--database-url", &url, "--slot", shop.slot()]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let capture = shop.capture_as(&url);
    shop.sql("INSERT INTO ours VALUES (1)");
    shop.wait_until_stored(1);
    capture.kill();
    assert_eq!(
        bemi(&["teardown", "--database-url", &url, "--slot", shop.slot()]).code,
        0
    );
    shop.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_table_that_does_not_exist() {
    let shop = Shop::open();
    fails(
        &shop.bemi(&["setup", "--tables", "todos"]),
        "error: unknown table: todos\nhelp: this database has no table yet",
    );
    shop.sql("CREATE TABLE todos (id int PRIMARY KEY); CREATE TABLE notes ()");
    fails(
        &shop.bemi(&[
            "setup",
            "--tables",
            "todos,public.todo",
            "--exclude",
            "note",
        ]),
        "error: unknown tables: public.todo, note\nhelp: this database has public.notes, public.todos",
    );
    untouched(&shop);
}

#[test]
fn a_table_that_has_our_name() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE changes (id int PRIMARY KEY)");
    fails(
        &shop.bemi(&["setup"]),
        "error: there is a table public.changes that is not bemi's\n\
         help: rename it (`ALTER TABLE public.changes RENAME TO …`), or store the changes in another database",
    );
    untouched(&shop);
}

#[test]
fn a_database_that_is_not_set_up() {
    let shop = Shop::open();
    let help = "help: run `bemi setup`";
    let progress = format!(
        "error: the progress of the database \"{}\" does not exist",
        shop.slot()
    );
    fails(&shop.bemi(&["run"]), &format!("{progress}\n{help}"));
    fails(&shop.bemi(&["status"]), &format!("{progress}\n{help}"));
    fails(
        &shop.bemi(&["changes"]),
        &format!("error: the table public.changes does not exist\n{help}"),
    );
}

#[test]
fn no_slot_is_free() {
    let cluster = Cluster::builder()
        .setting("max_replication_slots", "1")
        .start()
        .unwrap();
    let shop = Shop::open_in(&cluster);
    shop.sql("SELECT pg_create_logical_replication_slot('theirs', 'pgoutput')");
    fails(
        &shop.bemi(&["setup"]),
        "error: all 1 replication slots of the server are taken\n\
         help: drop a slot that nobody needs (`SELECT slot_name, active FROM pg_replication_slots`), or run \
         `ALTER SYSTEM SET max_replication_slots = 5` and restart the server",
    );
    let ours = "SELECT (SELECT count(*) FROM pg_publication) + \
                (SELECT count(*) FROM pg_class WHERE obj_description(oid, 'pg_class') LIKE 'bemi:%')";
    assert_eq!(shop.value::<i64>(ours), 0);
}

#[test]
fn a_slot_of_another_kind_or_database() {
    let shop = Shop::open();
    shop.sql(&format!(
        "SELECT pg_create_logical_replication_slot('{}', 'test_decoding')",
        shop.slot()
    ));
    fails(
        &shop.bemi(&["setup"]),
        &format!(
            "error: the replication slot \"{}\" uses the plugin test_decoding, and must use pgoutput\n\
             help: choose another slot with --slot",
            shop.slot()
        ),
    );
    let other = Shop::open();
    other.sql(&format!(
        "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')",
        other.slot()
    ));
    let outcome = bemi(&[
        "setup",
        "--database-url",
        shop.database.url(),
        "--slot",
        other.slot(),
    ]);
    fails(
        &outcome,
        &format!(
            "error: the replication slot \"{0}\" belongs to the database \"{0}\"\n\
             help: choose another slot with --slot",
            other.slot()
        ),
    );
}

#[test]
fn a_setup_that_fails_at_the_slot_takes_everything_back() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE todos (id int PRIMARY KEY)");
    // Creating a slot waits for running transactions; a cancelled wait is an error at the last step.
    let mut running = shop.client();
    let mut transaction = running.transaction().unwrap();
    transaction
        .query("SELECT pg_current_xact_id()", &[])
        .unwrap();
    let url = shop.database.url().to_owned();
    let cancel = std::thread::spawn(move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        let sql = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND query ~ 'pg_create_logical' AND wait_event = 'transactionid'";
        while client.query(sql, &[]).unwrap().is_empty() {
            std::thread::yield_now();
        }
    });
    fails(
        &shop.bemi(&["setup"]),
        "error: creating the replication slot: canceling statement due to user request (SQLSTATE 57014)",
    );
    cancel.join().unwrap();
    transaction.rollback().unwrap();
    untouched(&shop);
}

#[test]
fn a_slot_in_use() {
    let shop = Shop::set_up();
    let capture = shop.capture();
    let pid: i32 = shop.value(&format!(
        "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{}'",
        shop.slot()
    ));
    let help = format!(
        "help: stop the other capture (`SELECT * FROM pg_stat_replication WHERE pid = {pid}` tells who it is), or choose \
         another slot with --slot"
    );
    let message = format!(
        "error: the replication slot \"{}\" is in use by the server process {pid}\n{help}",
        shop.slot()
    );
    fails(&shop.bemi(&["teardown"]), &message);
    capture.kill();
}

#[test]
fn a_time_that_is_none() {
    let shop = Shop::set_up();
    fails(
        &shop.bemi(&["changes", "--since", "half past"]),
        "error: cannot read the time: write it like 2026-01-31 or 2026-01-31T12:00:00Z",
    );
}
