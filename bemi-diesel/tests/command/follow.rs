//! New tables become tracked by themselves, and the application notices nothing.

use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use serde_json::json;

use crate::support::{Shop, wait_until};

/// Makes tables in every way there is, each without a key, and writes to each in the same transaction.
const NEW: [(&str, &str); 8] = [
    ("made", "CREATE TABLE made (id int, n int)"),
    (
        "made_as",
        "CREATE TABLE made_as AS SELECT 0 AS id, 0 AS n WHERE false",
    ),
    (
        "selected",
        "SELECT 0 AS id, 0 AS n INTO selected WHERE false",
    ),
    (
        "part",
        "CREATE TABLE part PARTITION OF parts FOR VALUES IN (1)",
    ),
    (
        "attached",
        "CREATE TABLE attached (id int, n int); ALTER TABLE parts ATTACH PARTITION attached FOR VALUES IN (2)",
    ),
    (
        "logged",
        "CREATE UNLOGGED TABLE logged (id int, n int); ALTER TABLE logged SET LOGGED",
    ),
    (
        "there.within",
        "CREATE SCHEMA there CREATE TABLE within (id int, n int)",
    ),
    (
        "there.moved",
        "CREATE TABLE moved (id int, n int); ALTER TABLE moved SET SCHEMA there",
    ),
];

fn write(table: &str) -> String {
    let id = if table == "attached" { 2 } else { 1 };
    format!("INSERT INTO {table} VALUES ({id}, 1); UPDATE {table} SET n = 2; DELETE FROM {table}")
}

/// Operation and rows of each change of `table`.
fn trail(shop: &Shop, table: &str) -> Vec<String> {
    let name = table.rsplit('.').next().unwrap();
    let sql = format!(
        "SELECT array_agg(concat_ws(' ', operation, before ->> 'n', after ->> 'n') ORDER BY commit_lsn, ordinal) \
         FROM changes WHERE \"table\" = '{name}'"
    );
    shop.value::<Option<Vec<String>>>(&sql).unwrap_or_default()
}

fn published(shop: &Shop) -> Vec<String> {
    let sql =
        "SELECT array_agg(tablename::text ORDER BY tablename::text) FROM pg_publication_tables";
    shop.value::<Option<Vec<String>>>(sql).unwrap_or_default()
}

/// The URL of a new role that owns the shop and may replicate, and the role.
fn owner(shop: &Shop) -> (String, String) {
    let role = format!("owner_{}", shop.slot());
    let public = "GRANT ALL ON SCHEMA public";
    shop.sql(&format!(
        "CREATE ROLE {role} LOGIN REPLICATION; ALTER DATABASE {} OWNER TO {role}; {public} TO {role}",
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
fn every_way_to_make_a_table_is_followed_in_its_own_transaction() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE parts (id int, n int) PARTITION BY LIST (id)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let _capture = shop.capture();
    for (table, sql) in NEW {
        shop.sql(&format!("BEGIN; {sql}; {}; COMMIT", write(table)));
    }
    shop.wait_until_stored(3 * 8);
    for (table, _) in NEW {
        assert_eq!(
            trail(&shop, table),
            ["CREATE 1", "UPDATE 1 2", "DELETE 2"],
            "{table}"
        );
    }
}

#[test]
fn a_capture_follows_where_there_is_no_right_to_a_trigger() {
    let shop = Shop::open();
    let (url, role) = owner(&shop);
    let as_owner = |sql: &str| {
        Client::connect(&url, NoTls)
            .unwrap()
            .batch_execute(sql)
            .unwrap()
    };
    as_owner("CREATE TABLE parts (id int, n int) PARTITION BY LIST (id)");
    let setup = shop.bemi_as(&url, &["setup", "--json"]).json();
    assert!(!setup.to_string().contains("event trigger"), "{setup}");
    let capture = shop.capture_as(&url);
    for (_, sql) in NEW {
        as_owner(sql);
    }
    // Not its to track: it says so, once, and goes on.
    shop.sql("CREATE TABLE foreign_to_it (id int)");
    // Until then the application writes as if bemi were not there.
    for (table, _) in NEW {
        as_owner(&write(table));
    }
    capture.says("a new table is not tracked");
    wait_until("the new tables are published", || {
        published(&shop).len() == 8
    });
    let before: i64 = shop.value("SELECT count(*) FROM changes");
    for (table, _) in NEW {
        as_owner(&write(table));
    }
    shop.wait_until_stored(before + 3 * 8);
    for (table, _) in NEW {
        let trail = trail(&shop, table);
        assert!(
            trail.ends_with(&["CREATE 1", "UPDATE 1 2", "DELETE 2"].map(String::from)),
            "{table}: {trail:?}"
        );
    }
    capture.kill();
    shop.sql(&format!(
        "REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}"
    ));
}

#[test]
fn the_next_setup_follows_as_well() {
    let shop = Shop::open();
    let (url, role) = owner(&shop);
    let setup = || {
        shop.bemi_as(&url, &["setup", "--json", "--tables", "new_*"])
            .json()
    };
    setup();
    let mut client = Client::connect(&url, NoTls).unwrap();
    client
        .batch_execute("CREATE TABLE new_one (id int); CREATE TABLE other (id int)")
        .unwrap();
    assert_eq!(
        setup()["changed"],
        json!([
            "replica identity FULL on public.new_one",
            "public.new_one published"
        ])
    );
    shop.sql(&format!(
        "REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}"
    ));
}

#[test]
fn what_is_left_out_and_what_is_ours_is_not_followed() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE changes_of_mine (id int)");
    let chosen = [
        "setup",
        "--tables",
        "new_*,changes*,_bemi*,part?",
        "--exclude",
        "*.new_secret*",
    ];
    assert_eq!(shop.bemi(&chosen).code, 0);
    let _capture = shop.capture();
    shop.sql(
        "CREATE TABLE other (id int); CREATE TABLE new_secrets (id int); CREATE TABLE new_one (id int); \
         CREATE TABLE parts (id int) PARTITION BY LIST (id); CREATE TABLE one PARTITION OF parts FOR VALUES IN (1); \
         CREATE TEMP TABLE new_temporary (id int); CREATE UNLOGGED TABLE new_unlogged (id int); \
         ALTER TABLE other RENAME TO new_two; \
         ALTER TABLE changes ADD COLUMN reviewed boolean; ALTER TABLE changes RENAME TO changes_old; \
         ALTER TABLE changes_old RENAME TO changes; \
         CREATE TABLE changes_mine PARTITION OF parts FOR VALUES IN (2)",
    );
    let expected = [
        "changes_mine",
        "changes_of_mine",
        "new_one",
        "new_two",
        "one",
    ];
    assert_eq!(published(&shop), expected);
    shop.sql("INSERT INTO new_one VALUES (1)");
    shop.wait_until_stored(1);
}

#[test]
fn a_new_table_gets_its_row_condition() {
    let shop = Shop::open();
    if shop.value::<i32>("SELECT current_setting('server_version_num')::int") < 150_000 {
        return;
    }
    shop.sql("CREATE TABLE orders_1 (id int, state text)");
    assert_eq!(
        shop.bemi(&["setup", "--where", "orders_*=state <> 'it''s a \\ draft'"])
            .code,
        0
    );
    // One that cannot have it is not tracked, and the command does not fail.
    shop.sql("CREATE TABLE orders_2 (id int, state text); CREATE TABLE orders_3 (id int)");
    assert_eq!(published(&shop), ["orders_1", "orders_2"]);
    let conditions = "SELECT count(DISTINCT pg_get_expr(prqual, prrelid)) FROM pg_publication_rel";
    assert_eq!(shop.value::<i64>(conditions), 1);
}

#[test]
fn a_command_neither_fails_nor_waits_for_long_when_it_cannot_be_followed() {
    let shop = Shop::open();
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let mut migration = shop.client();
    migration
        .batch_execute(
            "BEGIN; CREATE TABLE first (id int); LOCK pg_publication_rel IN EXCLUSIVE MODE",
        )
        .unwrap();
    // From PostgreSQL 15 on the migration alone would hold the publication until it ends.
    let started = Instant::now();
    shop.sql(
        "CREATE TABLE second (id int); INSERT INTO second VALUES (1); UPDATE second SET id = 2",
    );
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    migration.batch_execute("COMMIT").unwrap();
    let capture = shop.capture();
    capture.says("a new table is tracked");
    assert_eq!(published(&shop), ["first", "second"]);
    // Nor when the publication is gone, or the function is not what it was.
    shop.sql("DROP PUBLICATION bemi; CREATE TABLE third (id int); UPDATE third SET id = 2");
    shop.sql("CREATE PUBLICATION bemi");
    shop.sql("CREATE TABLE fourth (id int); UPDATE fourth SET id = 2");
}

#[test]
fn a_publication_of_all_tables_harms_no_new_table() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE old (id int); CREATE PUBLICATION bemi FOR ALL TABLES");
    let (_, role) = owner(&shop);
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    shop.sql(&format!(
        "SET ROLE {role}; CREATE TABLE new (id int); INSERT INTO new VALUES (1); UPDATE new SET id = 2; \
         CREATE TABLE new_as AS SELECT 1 AS id; UPDATE new_as SET id = 2"
    ));
    shop.sql(&format!(
        "REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}"
    ));
}

#[test]
fn a_function_that_was_there_first_is_not_ours() {
    let shop = Shop::open();
    let (url, role) = owner(&shop);
    let trap =
        "CREATE FUNCTION public._bemi_bemi() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'";
    Client::connect(&url, NoTls)
        .unwrap()
        .batch_execute(trap)
        .unwrap();
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let owner = "SELECT proowner::regrole::text FROM pg_proc WHERE proname = '_bemi_bemi'";
    assert_eq!(shop.value::<String>(owner), "postgres");
    shop.sql(&format!(
        "REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}"
    ));
}

#[test]
fn a_setup_and_the_trigger_do_not_meet() {
    let shop = Shop::set_up();
    shop.sql("SET bemi.tracking = 'on'; CREATE TABLE missed (id int)");
    assert_eq!(
        shop.bemi(&["setup", "--json"]).json()["changed"],
        json!([
            "replica identity FULL on public.missed",
            "public.missed published"
        ])
    );
}

#[test]
fn a_trigger_that_somebody_removed_or_altered_is_made_again() {
    let shop = Shop::set_up();
    let made_again = || shop.bemi(&["setup", "--json"]).json()["changed"].clone();
    let trigger = json!(["event trigger \"_bemi_bemi\""]);
    assert_eq!(made_again(), json!([]));
    shop.sql("ALTER EVENT TRIGGER _bemi_bemi DISABLE");
    assert_eq!(made_again(), trigger);
    shop.sql("DROP EVENT TRIGGER _bemi_bemi");
    assert_eq!(made_again(), trigger);
    shop.sql("CREATE OR REPLACE FUNCTION _bemi_bemi() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'");
    assert_eq!(made_again(), trigger);
    shop.sql("COMMENT ON PUBLICATION bemi IS NULL");
    assert_eq!(made_again(), json!(["selection of the tables to come"]));
    shop.sql("COMMENT ON PUBLICATION bemi IS 'mine'");
    let report = shop.bemi(&["setup", "--json"]).json();
    assert_eq!(report["changed"], json!([]));
    assert!(
        report["notes"].to_string().contains("a comment of its own"),
        "{report}"
    );
}

#[test]
fn a_virtual_column_that_is_added_harms_no_update() {
    let shop = Shop::open();
    if shop.value::<i32>("SELECT current_setting('server_version_num')::int") < 180_000 {
        return;
    }
    shop.sql(
        "CREATE TABLE priced (id int PRIMARY KEY, price int); INSERT INTO priced VALUES (1, 2)",
    );
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    shop.sql("ALTER TABLE priced ADD COLUMN gross int GENERATED ALWAYS AS (price * 2) VIRTUAL; UPDATE priced SET price = 3");
}
