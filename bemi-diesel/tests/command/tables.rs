//! Which tables are tracked.

use bemi_diesel::Capture;
use serde_json::{Value, json};

use crate::support::Shop;

fn published(shop: &Shop) -> Vec<String> {
    let sql = "SELECT array_agg(name ORDER BY name) FROM pg_publication_tables, concat(schemaname, '.', tablename) name";
    shop.value::<Option<Vec<String>>>(sql).unwrap_or_default()
}

/// Sets up with `arguments`; the notes.
fn set_up(shop: &Shop, arguments: &[&str]) -> Vec<String> {
    let report = shop
        .bemi(&[&["setup", "--json"], arguments].concat())
        .json();
    let notes = report["notes"].as_array().unwrap().iter();
    notes
        .map(|note| note.as_str().unwrap().to_owned())
        .collect()
}

/// The first line of what a setup that fails says.
fn refused(shop: &Shop, arguments: &[&str]) -> String {
    let outcome = shop.bemi(&[&["setup"], arguments].concat());
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    outcome.stderr.lines().next().unwrap().to_owned()
}

/// The trail, change by change.
fn trail(shop: &Shop) -> Vec<String> {
    let sql = "SELECT array_agg(concat_ws(' ', operation, schema || '.' || \"table\", coalesce(after ->> 'id', before ->> 'id')) \
               ORDER BY commit_lsn, ordinal) FROM changes";
    shop.value::<Option<Vec<String>>>(sql).unwrap_or_default()
}

fn row_conditions(shop: &Shop) -> bool {
    shop.value::<i32>("SELECT current_setting('server_version_num')::int") >= 150_000
}

fn orders_and_sales() -> Shop {
    let shop = Shop::open();
    shop.sql(
        "CREATE TABLE order_items (id int PRIMARY KEY); CREATE TABLE order_notes (id int PRIMARY KEY); \
         CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE \"order%x\" (id int PRIMARY KEY); \
         CREATE SCHEMA sales; CREATE TABLE sales.orders (id int PRIMARY KEY); CREATE TABLE sales.totals (id int PRIMARY KEY); \
         CREATE SCHEMA order_archive; CREATE TABLE order_archive.kept (id int PRIMARY KEY)",
    );
    shop
}

#[test]
fn patterns_choose_tables_and_schemas() {
    let shop = orders_and_sales();
    set_up(&shop, &["--tables", "public.order_*"]);
    assert_eq!(
        published(&shop),
        ["public.order_items", "public.order_notes"]
    );
    // Neither does a pattern for a table reach into a schema's name, nor is _ or % more than itself.
    set_up(&shop, &["--tables", "order_*,order?x"]);
    assert_eq!(
        published(&shop),
        ["public.order%x", "public.order_items", "public.order_notes"]
    );
    set_up(&shop, &["--tables", "sales.*"]);
    assert!(published(&shop).ends_with(&["sales.orders".to_owned(), "sales.totals".to_owned()]));
    set_up(&shop, &["--tables", "?rders", "--tables", "*_archive.k??t"]);
    assert_eq!(
        published(&shop),
        [
            "order_archive.kept",
            "public.order%x",
            "public.order_items",
            "public.order_notes",
            "public.orders",
            "sales.orders",
            "sales.totals"
        ]
    );
}

#[test]
fn patterns_leave_tables_and_schemas_out() {
    let shop = orders_and_sales();
    set_up(
        &shop,
        &["--exclude", "sales.*,order_*", "--exclude", "*.kept"],
    );
    assert_eq!(published(&shop), ["public.order%x", "public.orders"]);
    let shop = orders_and_sales();
    set_up(
        &shop,
        &["--tables", "order*", "--exclude", "public.order?*"],
    );
    assert_eq!(published(&shop), ["sales.orders"]);
}

#[test]
fn the_builder_takes_the_same_patterns() {
    let shop = orders_and_sales();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let builder = || Capture::builder(shop.database.url()).slot(shop.slot());
    let start = |builder: bemi_diesel::CaptureBuilder| {
        runtime.block_on(async { builder.start().await?.shutdown().await })
    };
    let chosen = builder()
        .tables(["sales.*", "order?x"])
        .exclude(["*.totals"]);
    start(chosen).unwrap();
    assert_eq!(published(&shop), ["public.order%x", "sales.orders"]);
    let refused = start(builder().tables(["order."])).unwrap_err();
    assert!(refused.to_string().contains("names no table"), "{refused}");
    if row_conditions(&shop) {
        start(
            builder()
                .tables(["orders"])
                .rows_where("public.*", "id > 7"),
        )
        .unwrap();
        let left_out =
            "SELECT string_agg(pg_get_expr(prqual, prrelid), '; ') FROM pg_publication_rel";
        assert_eq!(shop.value::<String>(left_out), "(id > 7)");
    }
}

#[test]
fn what_a_pattern_or_a_name_does_not_find_is_said() {
    let shop = orders_and_sales();
    assert_eq!(
        set_up(&shop, &["--tables", "orders,bill*"]),
        ["no table matches bill* yet"]
    );
    assert_eq!(
        refused(&shop, &["--tables", "orders,bills"]),
        "error: unknown table: bills"
    );
    assert_eq!(
        refused(&shop, &["--exclude", "order_item"]),
        "error: unknown table: order_item"
    );
    assert!(refused(&shop, &["--tables", "orders,"]).contains("\"orders,\" names no table"));
}

#[test]
fn what_has_no_log_is_named() {
    let shop = Shop::open();
    shop.sql(
        "CREATE TABLE kept (id int PRIMARY KEY); CREATE UNLOGGED TABLE fast (id int); CREATE VIEW seen AS SELECT 1; \
         CREATE VIEW \"also seen\" AS SELECT 1; CREATE MATERIALIZED VIEW sums AS SELECT 1 AS id; \
         CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER far FOREIGN DATA WRAPPER nowhere; \
         CREATE FOREIGN TABLE elsewhere (id int) SERVER far",
    );
    let mut session = shop.client();
    session
        .batch_execute("CREATE TEMP TABLE passing (id int)")
        .unwrap();
    let temporary: String = session
        .query_one(
            "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'passing'::regclass",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(
        set_up(&shop, &[]),
        [
            "not tracked, as the rows of unlogged tables are in no log: public.fast".to_owned(),
            format!("not tracked, as the rows of temporary tables are in no log: {temporary}.passing"),
            "not tracked, as the rows of foreign tables are in another server's log: public.elsewhere".to_owned(),
            "not tracked, as views have no rows of their own: public.also seen, public.seen".to_owned(),
            "not tracked, as materialized views have only copies of other tables' rows: public.sums".to_owned(),
        ]
    );
    assert_eq!(published(&shop), ["public.kept"]);
    // What is left out needs no word, and what is asked for by name is an error.
    assert_eq!(set_up(&shop, &["--tables", "k*"]), [""; 0]);
    assert_eq!(
        refused(&shop, &["--tables", "kept,seen,public.sums,fast"]),
        "error: there is no log to track: public.seen is a view, public.sums is a materialized view, public.fast is a unlogged table"
    );
}

#[test]
fn names_of_63_bytes_with_spaces_and_dots_can_be_named() {
    let shop = Shop::open();
    let schema = format!(
        "{:<63}",
        "a. schema * with ? everything \"quoted\", and more"
    )
    .replace(' ', ".");
    let table = format!("{:_<63}", "a table. of = 63 bytes, 'and' 100% \\ of it");
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let name = format!("{}.{}", quote(&schema), quote(&table));
    shop.sql(&format!(
        "CREATE SCHEMA {}; CREATE TABLE {name} (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)",
        quote(&schema)
    ));
    set_up(&shop, &["--tables", &name]);
    assert_eq!(published(&shop), [format!("{schema}.{table}")]);
    set_up(&shop, &["--exclude", &name]);
    assert_eq!(
        published(&shop),
        [format!("{schema}.{table}"), "public.other".to_owned()]
    );
    let _capture = shop.capture();
    shop.sql(&format!("INSERT INTO {name} VALUES (1)"));
    shop.wait_until_stored(1);
    assert_eq!(trail(&shop), [format!("CREATE {schema}.{table} 1")]);
    if row_conditions(&shop) {
        set_up(&shop, &["--where", &format!("{name}=id > 1")]);
        shop.sql(&format!("INSERT INTO {name} VALUES (0), (2)"));
        shop.wait_until_stored(2);
        assert_eq!(trail(&shop)[1..], [format!("CREATE {schema}.{table} 2")]);
    }
}

#[test]
fn row_conditions_leave_rows_out() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE orders (id int PRIMARY KEY, state text, note text); CREATE TABLE other (id int)");
    let condition = "orders=state <> 'draft'";
    if !row_conditions(&shop) {
        let said = refused(&shop, &["--where", condition]);
        let start =
            "error: the row condition of \"public\".\"orders\": the server is PostgreSQL 14";
        assert!(said.starts_with(start), "{said}");
        assert_eq!(published(&shop), [""; 0]);
        return;
    }
    let first = shop.bemi(&["setup", "--where", condition, "--json"]).json();
    let changed = first["changed"].to_string();
    assert!(
        changed.contains("\"row condition on public.orders\""),
        "{first}"
    );
    let again = shop.bemi(&["setup", "--where", condition, "--json"]).json();
    assert_eq!(again["changed"], json!([]));
    // It stays until another replaces it, and is not forgotten.
    let without = shop.bemi(&["setup", "--json"]).json();
    assert_eq!(without["changed"], json!([]));
    assert!(
        without["notes"]
            .to_string()
            .contains("leaves out rows of public.orders"),
        "{without}"
    );

    let capture = shop.capture();
    shop.sql(
        "INSERT INTO orders VALUES (1, 'draft'), (2, 'sent'); UPDATE orders SET note = 'n'; \
         UPDATE orders SET state = 'sent' WHERE id = 1; UPDATE orders SET state = 'draft' WHERE id = 2; \
         DELETE FROM orders; TRUNCATE orders",
    );
    shop.wait_until_stored(6);
    assert_eq!(
        trail(&shop),
        [
            "CREATE public.orders 2",
            "UPDATE public.orders 2",
            "CREATE public.orders 1",
            "DELETE public.orders 2",
            "DELETE public.orders 1",
            "TRUNCATE public.orders"
        ]
    );
    let replaced = shop
        .bemi(&["setup", "--where", "orders=true", "--json"])
        .json();
    assert_eq!(
        replaced["changed"],
        json!([
            "row condition on public.orders",
            "selection of the tables to come",
            "event trigger \"_bemi_bemi\""
        ])
    );
    shop.sql("INSERT INTO orders VALUES (3, 'draft')");
    shop.wait_until_stored(7);
    capture.kill();
}

#[test]
fn a_row_condition_that_cannot_be_is_refused_before_anything_is_made() {
    let shop = Shop::open();
    if !row_conditions(&shop) {
        return;
    }
    shop.sql("CREATE TABLE orders (id int PRIMARY KEY, state text)");
    for (condition, problem) in [
        ("stat = 1", "column \"stat\" does not exist"),
        (
            "now() > '2020-01-01'",
            "invalid publication WHERE expression",
        ),
        (
            "true); DROP TABLE orders; SELECT (true",
            "cannot insert multiple commands into a prepared statement",
        ),
        ("", "syntax error at or near \")\""),
    ] {
        let said = refused(&shop, &["--where", &format!("orders={condition}")]);
        assert_eq!(
            said,
            format!("error: the row condition of \"public\".\"orders\": {problem}")
        );
    }
    assert_eq!(
        refused(&shop, &["--where", "order=true"]),
        "error: unknown table: order"
    );
    assert!(refused(&shop, &["--where", "orders"]).contains("TABLE=CONDITION"));
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM pg_publication"), 0);
    assert_eq!(
        shop.value::<i64>("SELECT count(*) FROM pg_class WHERE relname = 'changes'"),
        0
    );
}

fn partitioned() -> Shop {
    let shop = Shop::open();
    shop.sql(
        "CREATE TABLE parts (id int PRIMARY KEY, note text) PARTITION BY RANGE (id); \
         CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10); \
         CREATE TABLE high PARTITION OF parts FOR VALUES FROM (10) TO (20)",
    );
    shop
}

const MOVES: &str = "INSERT INTO parts VALUES (1), (11); UPDATE parts SET note = 'n' WHERE id = 1; \
                     UPDATE parts SET id = 12 WHERE id = 1; DELETE FROM parts WHERE id = 12; TRUNCATE parts";

#[test]
fn partitions_pass_for_themselves() {
    let shop = partitioned();
    set_up(&shop, &["--tables", "parts"]);
    assert_eq!(published(&shop), ["public.high", "public.low"]);
    let _capture = shop.capture();
    shop.sql(MOVES);
    shop.wait_until_stored(8);
    assert_eq!(
        trail(&shop)[..6],
        [
            "CREATE public.low 1",
            "CREATE public.high 11",
            "UPDATE public.low 1",
            "DELETE public.low 1",
            "CREATE public.high 12",
            "DELETE public.high 12"
        ]
    );
    let mut truncated = trail(&shop)[6..].to_vec();
    truncated.sort();
    assert_eq!(truncated, ["TRUNCATE public.high", "TRUNCATE public.low"]);
}

#[test]
fn partitions_pass_for_their_partitioned_table() {
    let shop = partitioned();
    set_up(&shop, &["--publish-via-partition-root"]);
    assert_eq!(published(&shop), ["public.parts"]);
    let again = shop.bemi(&["setup", "--json"]).json();
    assert_eq!(again["changed"], json!([]));
    let mut capture = shop.capture();
    shop.sql(MOVES);
    shop.wait_until_stored(7);
    assert_eq!(
        trail(&shop),
        [
            "CREATE public.parts 1",
            "CREATE public.parts 11",
            "UPDATE public.parts 1",
            // A move is two changes, whatever the rows pass for.
            "DELETE public.parts 1",
            "CREATE public.parts 12",
            "DELETE public.parts 12",
            "TRUNCATE public.parts"
        ]
    );
    let whole = "SELECT before FROM changes WHERE operation = 'DELETE' ORDER BY ordinal LIMIT 1";
    assert_eq!(shop.value::<Value>(whole), json!({"id": 1, "note": "n"}));
    // And back again.
    set_up(&shop, &["--publish-via-partition-root=false"]);
    shop.sql("INSERT INTO parts VALUES (5)");
    shop.wait_until_stored(8);
    assert_eq!(trail(&shop)[7..], ["CREATE public.low 5"]);
    capture.signal(rustix::process::Signal::TERM);
    assert!(capture.wait().success());
    let torn_down = shop.bemi(&["teardown", "--json"]).json()["notes"].to_string();
    assert!(torn_down.contains("FULL on public.low"), "{torn_down}");
}

#[test]
fn partitions_are_published_one_by_one_where_the_whole_would_be_wrong() {
    let shop = partitioned();
    shop.sql(
        "CREATE TABLE keyless (id int) PARTITION BY LIST (id); CREATE TABLE keyless_1 PARTITION OF keyless FOR VALUES IN (1)",
    );
    let notes = set_up(
        &shop,
        &["--publish-via-partition-root", "--exclude", "high"],
    );
    let apart = "the partitions of public.parts are published one by one: some of them are not tracked, or it has no primary key";
    assert!(notes.contains(&apart.to_owned()), "{notes:?}");
    // The event trigger gives its new partitions a replica identity, so that they can be updated.
    assert_eq!(published(&shop), ["public.keyless", "public.low"]);
    shop.sql(
        "CREATE TABLE keyless_2 PARTITION OF keyless FOR VALUES IN (2); INSERT INTO keyless VALUES (1), (2); \
         UPDATE keyless SET id = 3 - id",
    );
}

#[test]
fn partitions_come_and_go() {
    let shop = partitioned();
    shop.sql("CREATE TABLE apart (id int PRIMARY KEY, note text)");
    set_up(&shop, &[]);
    let _capture = shop.capture();
    shop.sql("ALTER TABLE parts ATTACH PARTITION apart FOR VALUES FROM (20) TO (30); INSERT INTO parts VALUES (21)");
    shop.sql("ALTER TABLE parts DETACH PARTITION apart; INSERT INTO apart VALUES (22); UPDATE apart SET note = 'n'");
    shop.sql("ALTER TABLE parts DETACH PARTITION low; INSERT INTO low VALUES (99)");
    shop.wait_until_stored(5);
    assert_eq!(
        trail(&shop),
        [
            "CREATE public.apart 21",
            "CREATE public.apart 22",
            "UPDATE public.apart 21",
            "UPDATE public.apart 22",
            "CREATE public.low 99"
        ]
    );
}

#[test]
fn tables_that_inherit_are_tables_of_their_own() {
    let shop = Shop::open();
    shop.sql(
        "CREATE TABLE parent (id int PRIMARY KEY, note text); CREATE TABLE child (extra int) INHERITS (parent)",
    );
    set_up(&shop, &["--tables", "parent"]);
    assert_eq!(published(&shop), ["public.parent"]);
    // Without a replica identity and unpublished, it can be updated.
    shop.sql("INSERT INTO child VALUES (1); UPDATE child SET note = 'n'; DELETE FROM parent");
    set_up(&shop, &[]);
    let _capture = shop.capture();
    shop.sql("INSERT INTO parent VALUES (2); INSERT INTO child VALUES (3); UPDATE parent SET note = 'n'; TRUNCATE parent");
    shop.wait_until_stored(6);
    let mut changes = trail(&shop);
    changes.sort();
    assert_eq!(
        changes,
        [
            "CREATE public.child 3",
            "CREATE public.parent 2",
            "TRUNCATE public.child",
            "TRUNCATE public.parent",
            "UPDATE public.child 3",
            "UPDATE public.parent 2"
        ]
    );
}
