//! Settings of the database or the server that suit its other users and not us.

use bemi_tests::Cluster;
use serde_json::json;

use crate::support::{Shop, wait_until};

#[test]
fn settings_of_the_database_change_nothing() {
    let shop = Shop::open();
    let settings = [
        "default_transaction_read_only = on",
        "default_transaction_isolation = serializable",
        "default_transaction_deferrable = on",
        "search_path = nowhere",
        "datestyle = 'SQL, DMY'",
        "intervalstyle = iso_8601",
        "timezone = 'Asia/Kathmandu'",
        "bytea_output = escape",
        "extra_float_digits = -5",
        "standard_conforming_strings = off",
        "statement_timeout = 150",
        "lock_timeout = 1",
        "idle_session_timeout = 150",
        "idle_in_transaction_session_timeout = 1",
        "synchronous_commit = off",
        "client_encoding = LATIN1",
        "quote_all_identifiers = on",
        "row_security = off",
        "session_replication_role = replica",
        "check_function_bodies = off",
        "escape_string_warning = on",
    ];
    for setting in settings {
        shop.sql(&format!(
            "BEGIN READ WRITE; ALTER DATABASE {} SET {setting}; COMMIT",
            shop.slot()
        ));
    }
    let mut client = shop.client();
    client
        .batch_execute(
            "SET search_path = public; SET default_transaction_read_only = off; SET statement_timeout = 0; \
             SET standard_conforming_strings = on; SET lock_timeout = 0; SET idle_session_timeout = 0",
        )
        .unwrap();
    let mut sql = |sql: &str| client.batch_execute(sql).unwrap();
    sql(
        "CREATE TABLE kinds (id int PRIMARY KEY, at timestamptz, day date, span interval, raw bytea, real float8, \
         back text, kind regclass)",
    );
    let outcome = shop.bemi(&["setup"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let mut capture = shop.capture();
    let insert = |id: i32| {
        format!(
            "INSERT INTO kinds VALUES ({id}, '2001-02-03 04:05:06+00', '2001-02-03', '1 day 02:00', '\\x00ff', \
             0.1::float8 + 0.2, 'a\\\\b''é', 'kinds')"
        )
    };
    sql(&insert(1));
    shop.wait_until_stored(1);
    // Longer than a session may be idle: what ends it starts another stream.
    sql("SELECT pg_sleep(0.5)");
    sql(&insert(2));
    shop.wait_until_stored(2);
    let after = |id: i32| {
        json!({"id": id, "at": "2001-02-03T04:05:06+00:00", "day": "2001-02-03", "span": "1 day 02:00:00",
               "raw": "\\x00ff", "real": 0.1 + 0.2, "back": "a\\\\b'é", "kind": r#""public"."kinds""#})
    };
    let changes = shop.bemi(&["changes", "--json"]).json();
    for (index, id) in [1, 2].into_iter().enumerate() {
        assert_eq!(changes[index]["after"], after(id));
    }
    capture.signal(rustix::process::Signal::TERM);
    let (code, said) = capture.last_words();
    assert_eq!(code, 0);
    assert!(!said.contains("reconnects"), "{said}");
    assert_eq!(shop.bemi(&["teardown"]).code, 0);
}

#[test]
fn a_server_that_gives_up_on_silent_clients_after_a_second() {
    let cluster = Cluster::builder()
        .setting("wal_sender_timeout", "1s")
        .start()
        .unwrap();
    let shop = Shop::open_in(&cluster);
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let mut capture = shop.capture();
    // Each image takes longer than that to decode, here where nothing is optimized. A server that is busy
    // itself may give up all the same: then it is read again, and comes further.
    shop.sql("INSERT INTO todos (title) SELECT repeat('x', 60000000)");
    shop.sql("UPDATE todos SET title = title || 'y'");
    shop.wait_until_stored(2);
    capture.signal(rustix::process::Signal::TERM);
    let (code, said) = capture.last_words();
    assert_eq!(code, 0, "{said}");
    let lengths = "SELECT string_agg(concat(length(before ->> 'title'), '→', length(after ->> 'title')), ' ' \
                   ORDER BY commit_lsn) FROM changes";
    assert_eq!(shop.value::<String>(lengths), "→60000000 60000000→60000001");
}

#[test]
fn the_catalog_is_read_without_compiling_each_query() {
    let shop = Shop::set_up();
    shop.sql(&format!(
        "ALTER DATABASE {} SET jit = on; CREATE TABLE seen (jit text); \
         CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO public.seen VALUES (current_setting('jit')); END $$; \
         CREATE EVENT TRIGGER see ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION see()",
        shop.database.name()
    ));
    let _capture = shop.capture();
    // The event trigger of bemi's own lets it pass: the capture finds it.
    shop.sql("SET bemi.tracking = 'on'; CREATE TABLE late (id int PRIMARY KEY)");
    wait_until("the capture has tracked it", || {
        shop.value::<i64>("SELECT count(*) FROM seen") > 0
    });
    assert_eq!(shop.value::<String>("SELECT jit FROM seen"), "off");
}
