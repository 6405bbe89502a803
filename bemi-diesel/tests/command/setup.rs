use std::process::Command;

use bemi_tests::Cluster;
use serde_json::json;

use crate::support::{Shop, bemi};

#[test]
fn the_second_setup_changes_nothing() {
    let shop = Shop::open();
    shop.sql(
        "CREATE TABLE todos (id serial PRIMARY KEY, title text); CREATE TABLE notes (body text)",
    );
    let first = shop.bemi(&["setup", "--json"]).json();
    assert_eq!(
        first["changed"],
        json!([
            "table public.changes",
            "replica identity FULL on public.notes",
            "replica identity FULL on public.todos",
            "publication \"bemi\"",
            "public.notes published",
            "public.todos published",
            "selection of the tables to come",
            "event trigger \"_bemi_bemi\"",
            format!("replication slot \"{}\"", shop.slot()),
        ])
    );
    assert_eq!(first["unchanged"], json!([]));
    let note =
        json!(["table public.notes has no primary key: its changes have no primary_key either"]);
    assert_eq!(first["notes"], note);

    let second = shop.bemi(&["setup", "--json"]).json();
    assert_eq!(second["changed"], json!([]));
    assert_eq!(second["unchanged"], first["changed"]);
}

#[test]
fn setup_adds_tables_that_are_new_and_takes_the_chosen_ones() {
    let shop = Shop::open();
    shop.sql(
        "CREATE SCHEMA \"Wild West\"; CREATE TABLE a (); CREATE TABLE b (); CREATE TABLE \"Wild West\".\"b.c\" (); \
         CREATE UNLOGGED TABLE unlogged (); CREATE VIEW v AS SELECT 1; \
         CREATE TABLE parts (id int) PARTITION BY LIST (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)",
    );
    let published = || -> Vec<String> {
        let sql = "SELECT array_agg(name ORDER BY name) FROM pg_publication_tables, concat(schemaname, '.', tablename) name";
        shop.value::<Option<Vec<String>>>(sql).unwrap_or_default()
    };
    assert_eq!(shop.bemi(&["setup", "--tables", "a,parts"]).code, 0);
    assert_eq!(published(), ["public.a", "public.parts_1"]);
    assert_eq!(shop.bemi(&["setup", "--exclude", "public.b"]).code, 0);
    assert_eq!(published(), ["Wild West.b.c", "public.a", "public.parts_1"]);
    shop.sql("CREATE TABLE later ()");
    assert_eq!(shop.bemi(&["setup", "--all-tables"]).code, 0);
    assert_eq!(
        published(),
        [
            "Wild West.b.c",
            "public.a",
            "public.b",
            "public.later",
            "public.parts_1"
        ]
    );
}

#[test]
fn an_application_that_updates_while_setup_runs_never_fails() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE nokey (n int); INSERT INTO nokey VALUES (0)");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let url = shop.database.url().to_owned();
    let application = std::thread::spawn(move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        let mut updates = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            updates += client.execute("UPDATE nokey SET n = n + 1", &[]).unwrap();
        }
        updates
    });
    let outcome = shop.bemi(&["setup"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    drop(stop);
    assert!(application.join().unwrap() > 0);
}

#[test]
fn teardown_leaves_nothing_but_the_replica_identities_it_names() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    let before = schema(&shop);
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    assert_ne!(schema(&shop), before);

    let torn_down = shop.bemi(&["teardown", "--json"]).json();
    let slot = format!("replication slot \"{}\"", shop.slot());
    assert_eq!(
        torn_down["changed"],
        json!([
            "event trigger \"_bemi_bemi\"",
            slot,
            "publication \"bemi\"",
            "table public.changes"
        ])
    );
    assert_eq!(
        torn_down["notes"],
        json!(["stays: replica identity FULL on public.todos \
             (`ALTER TABLE \"public\".\"todos\" REPLICA IDENTITY DEFAULT` puts it back)"])
    );
    let left = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()) \
                + (SELECT count(*) FROM pg_publication) \
                + (SELECT count(*) FROM pg_class WHERE relname ~ 'bemi|changes')";
    assert_eq!(shop.value::<i64>(left), 0);
    let named = "ALTER TABLE ONLY public.todos REPLICA IDENTITY FULL;";
    let after: Vec<String> = schema(&shop)
        .into_iter()
        .filter(|line| line != named)
        .collect();
    assert_eq!(after, before);

    let again = shop.bemi(&["teardown", "--json"]).json();
    assert_eq!(again["changed"], json!([]));
}

/// What `pg_dump --schema-only` says, line by line, where there is one; else what the catalog says.
fn schema(shop: &Shop) -> Vec<String> {
    let Some(pg_dump) = Cluster::shared().unwrap().bin("pg_dump") else {
        let sql = "SELECT array_agg(line ORDER BY line) FROM ( \
                     SELECT concat_ws(' ', relkind, relname, relacl, obj_description(oid), attribute.list) \
                     FROM pg_class, LATERAL (SELECT string_agg(attname || atttypid::regtype, ',' ORDER BY attnum) AS list \
                                             FROM pg_attribute WHERE attrelid = pg_class.oid) attribute \
                     WHERE relnamespace = 'public'::regnamespace \
                     UNION ALL SELECT 'ALTER TABLE ONLY public.' || relname || ' REPLICA IDENTITY FULL;' \
                     FROM pg_class WHERE relreplident = 'f' AND relnamespace = 'public'::regnamespace \
                     UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace \
                     UNION ALL SELECT pubname FROM pg_publication \
                     UNION ALL SELECT evtname FROM pg_event_trigger) lines (line)";
        return shop.value(sql);
    };
    let output = Command::new(pg_dump)
        .args(["--schema-only", "--dbname", shop.database.url()])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    // `\restrict` carries a random key; blank lines and comments follow the objects around them.
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("--") && !line.starts_with('\\'));
    lines.map(ToOwned::to_owned).collect()
}

#[test]
fn teardown_keeps_the_changes_when_asked() {
    let shop = Shop::set_up();
    shop.sql("INSERT INTO changes SELECT gen_random_uuid(), 1, 'd', 's', 't', NULL, 'CREATE', '{}', '{}', '{}', now(), \
              now(), now(), 1, 1, 1, 1");
    assert_eq!(shop.bemi(&["teardown", "--keep-changes"]).code, 0);
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM changes"), 1);
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM changes"), 1);
}

#[test]
fn a_publication_that_leaves_something_out_is_named() {
    let shop = Shop::open();
    shop.sql(
        "CREATE TABLE todos (id serial PRIMARY KEY, title text); ALTER TABLE todos REPLICA IDENTITY FULL; \
         CREATE PUBLICATION bemi FOR TABLE todos WITH (publish = 'insert, update')",
    );
    let setup = shop.bemi(&["setup", "--json"]).json();
    assert_eq!(
        setup["notes"],
        json!(["the publication \"bemi\" leaves out deletes, truncates: they are not captured"])
    );
}

#[test]
fn help_teaches_every_call() {
    let help = bemi(&["--help"]);
    assert_eq!(help.code, 0);
    for call in [
        "setup",
        "run",
        "status",
        "changes",
        "teardown",
        "--database-url",
        "DATABASE_URL",
        "BEMI_SLOT",
    ] {
        assert!(
            help.stdout.contains(call),
            "{call} is not in\n{}",
            help.stdout
        );
    }
}
