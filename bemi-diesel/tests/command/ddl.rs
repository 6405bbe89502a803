//! Commands that make, alter or drop a table, as changes of their own.

use bemi_diesel::Capture;
use serde_json::{Value, json};

use crate::support::Shop;

/// Sets up with commands recorded, and captures.
fn recorded() -> (Shop, crate::support::Capture) {
    let shop = Shop::set_up();
    assert_eq!(shop.bemi(&["setup", "--ddl"]).code, 0);
    let capture = shop.capture();
    (shop, capture)
}

/// Each change as `[operation, table, tag and object or title, context]`.
fn trail(shop: &Shop) -> Value {
    shop.value(
        "SELECT jsonb_agg(jsonb_build_array(operation, schema || '.' || \"table\", \
             coalesce((after ->> 'tag') || ' ' || (after ->> 'object'), after ->> 'title'), context) \
         ORDER BY commit_lsn, ordinal) FROM changes",
    )
}

#[test]
fn a_command_is_a_change_in_order_with_the_rows_and_with_their_context() {
    let (shop, _capture) = recorded();
    let context = r#"SELECT pg_logical_emit_message(true, '_bemi', '{"user": "Ann"}')"#;
    shop.sql(&format!(
        "BEGIN; {context}; INSERT INTO todos (title) VALUES ('before'); ALTER TABLE todos ADD COLUMN done boolean; \
         INSERT INTO todos (title) VALUES ('between'); ALTER TABLE todos RENAME COLUMN done TO completed; \
         INSERT INTO todos (title) VALUES ('after'); COMMIT"
    ));
    shop.wait_until_stored(5);
    let who = json!({"user": "Ann"});
    assert_eq!(
        trail(&shop),
        json!([
            ["CREATE", "public.todos", "before", who],
            ["DDL", "public.todos", "ALTER TABLE public.todos", who],
            ["CREATE", "public.todos", "between", who],
            ["DDL", "public.todos", "ALTER TABLE public.todos", who],
            ["CREATE", "public.todos", "after", who]
        ])
    );
    let ordinals = "SELECT array_agg(ordinal ORDER BY ordinal) = '{0,1,2,3,4}' FROM changes";
    assert!(shop.value::<bool>(ordinals));
}

#[test]
fn every_command_on_a_table_is_recorded_once_with_its_text() {
    let (shop, _capture) = recorded();
    let mut client = shop.client();
    let commands = [
        (
            "CREATE TABLE",
            "other",
            "CREATE TABLE other (id serial PRIMARY KEY, \"Größe\" int UNIQUE)",
        ),
        (
            "CREATE TABLE AS",
            "copy",
            "CREATE TABLE copy AS SELECT * FROM other",
        ),
        ("SELECT INTO", "copy2", "SELECT * INTO copy2 FROM other"),
        ("ALTER TABLE", "third", "ALTER TABLE copy2 RENAME TO third"),
        (
            "ALTER TABLE",
            "third",
            "ALTER TABLE third ADD COLUMN a int, ADD COLUMN b text DEFAULT 'it''s \\'",
        ),
        ("DROP TABLE", "third", "DROP TABLE third"),
        (
            "CREATE SCHEMA",
            "within",
            "CREATE SCHEMA s CREATE TABLE within (id int)",
        ),
        ("DROP SCHEMA", "within", "DROP SCHEMA s CASCADE"),
    ];
    for (_, _, command) in commands {
        client.batch_execute(command).unwrap();
    }
    // Not of a table, or of one that nobody else sees.
    client
        .batch_execute(
            "CREATE VIEW seen AS SELECT 1; CREATE TEMP TABLE passing (id int); ALTER TABLE passing ADD COLUMN x int; \
             DROP TABLE passing; DROP VIEW seen; CREATE INDEX ON other (id); ALTER TABLE changes ADD COLUMN reviewed boolean",
        )
        .unwrap();
    client
        .batch_execute("INSERT INTO todos (title) VALUES ('the end')")
        .unwrap();
    shop.wait_until_stored(9);
    let recorded: Value = shop.value(
        "SELECT jsonb_agg(jsonb_build_array(after ->> 'tag', \"table\", after ->> 'command') ORDER BY commit_lsn, ordinal) \
         FROM changes WHERE operation = 'DDL'",
    );
    assert_eq!(recorded, json!(commands));
}

#[test]
fn what_rolls_back_leaves_nothing() {
    let (shop, _capture) = recorded();
    shop.sql(
        "BEGIN; ALTER TABLE todos ADD COLUMN a int; ROLLBACK; \
         BEGIN; SAVEPOINT s; ALTER TABLE todos ADD COLUMN b int; ROLLBACK TO s; ALTER TABLE todos ADD COLUMN c int; COMMIT",
    );
    shop.sql("INSERT INTO todos (title) VALUES ('the end')");
    shop.wait_until_stored(2);
    assert_eq!(
        shop.value::<i64>("SELECT count(*) FROM changes WHERE operation = 'DDL'"),
        1
    );
    let listed = shop
        .bemi(&[
            "changes",
            "--json",
            "--operation",
            "DDL",
            "--table",
            "todos",
        ])
        .json();
    assert_eq!(listed[0]["after"]["tag"], "ALTER TABLE");
    assert_eq!(listed[0]["before"], json!({}));
    assert_eq!(listed[0]["primary_key"], Value::Null);
}

#[test]
fn commands_are_recorded_only_when_asked_for_and_until_told_otherwise() {
    let shop = Shop::set_up();
    let records = "SELECT prosrc LIKE '%IF true THEN%' FROM pg_event_trigger \
                   JOIN pg_proc ON pg_proc.oid = evtfoid WHERE evtname = '_bemi_bemi'";
    assert!(!shop.value::<bool>(records));
    assert_eq!(shop.bemi(&["setup", "--ddl"]).code, 0);
    assert!(shop.value::<bool>(records));
    // Another setup leaves it as it is, and so does a capture that sets up.
    assert_eq!(shop.bemi(&["setup", "--json"]).json()["changed"], json!([]));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let start = |builder: bemi_diesel::CaptureBuilder| {
        let builder = builder.slot(shop.slot());
        runtime
            .block_on(async { builder.start().await?.shutdown().await })
            .unwrap();
    };
    start(Capture::builder(shop.database.url()));
    assert!(shop.value::<bool>(records));
    start(Capture::builder(shop.database.url()).ddl(false));
    assert!(!shop.value::<bool>(records));
    shop.sql(
        "ALTER TABLE todos ADD COLUMN done boolean; INSERT INTO todos (title) VALUES ('the end')",
    );
    let _capture = shop.capture();
    shop.wait_until_stored(1);
    assert_eq!(
        shop.value::<String>("SELECT operation FROM changes"),
        "CREATE"
    );
}

#[test]
fn recording_commands_takes_a_superuser() {
    let shop = Shop::open();
    let role = format!("plain_{}", shop.slot());
    shop.sql(&format!(
        "CREATE ROLE {role} LOGIN REPLICATION; ALTER DATABASE {} OWNER TO {role}; GRANT ALL ON SCHEMA public TO {role}",
        shop.slot()
    ));
    let url = shop
        .database
        .url()
        .replacen("postgres@", &format!("{role}@"), 1);
    let outcome = shop.bemi_as(&url, &["setup", "--ddl"]);
    let said = format!(
        "error: the role \"{role}\" may not create event triggers\n\
         help: let a superuser run this setup: recording commands takes an event trigger\n"
    );
    assert_eq!((outcome.code, outcome.stderr), (1, said));
    shop.sql(&format!(
        "REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}"
    ));
}

#[test]
fn a_database_in_another_encoding_records_its_commands_too() {
    let shop = Shop::open();
    let name = format!("{}_latin1", shop.slot());
    shop.sql(&format!(
        "CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    ));
    let url = shop.database.url().replace(shop.slot(), &name);
    let slot = name.as_str();
    let call = |arguments: &[&str]| {
        let connection = ["--database-url", &url, "--slot", slot];
        let outcome = crate::support::bemi(&[arguments, &connection[..]].concat());
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        outcome
    };
    call(&["setup", "--ddl"]);
    let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
    client.batch_execute("CREATE TABLE größe (id int)").unwrap();
    let arguments = ["run", "--database-url", &url, "--slot", slot];
    let capture = crate::support::Capture::start(&mut crate::support::command(&arguments));
    crate::support::wait_until("the command is stored", || {
        let row = client.query_one("SELECT count(*) FROM changes", &[]);
        row.unwrap().get::<_, i64>(0) == 1
    });
    let changes = call(&["changes", "--json"]).json();
    assert_eq!(
        changes[0]["after"]["command"],
        "CREATE TABLE größe (id int)"
    );
    capture.kill();
    client.batch_execute("SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = current_database() AND active").unwrap();
    call(&["teardown", "--yes"]);
    drop(client);
    shop.sql(&format!("DROP DATABASE {name} WITH (FORCE)"));
}
