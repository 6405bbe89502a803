use serde_json::json;

use crate::support::Shop;

/// A shop with a table that was captured from its beginning, and places in the log before and after its
/// changes.
fn shop() -> (Shop, Vec<String>) {
    let shop = Shop::open();
    shop.sql("CREATE TABLE todos (id int PRIMARY KEY, title text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let capture = shop.capture();
    let place = || shop.value("SELECT pg_current_wal_insert_lsn()::text");
    let mut places: Vec<String> = vec![place()];
    for sql in [
        "INSERT INTO todos VALUES (1, 'Sleep'), (2, E'a\\x1b[2Jb\\nc')",
        "DELETE FROM todos WHERE id = 1; ALTER TABLE todos ADD done bool; UPDATE todos SET done = true",
    ] {
        shop.sql(sql);
        places.push(place());
    }
    // So that the trail reaches the last place.
    shop.sql("UPDATE todos SET title = 'last'");
    shop.wait_until_stored(5);
    capture.kill();
    (shop, places)
}

#[test]
fn rows_as_people_and_programs_read_them() {
    let (shop, places) = shop();
    let outcome = shop.bemi(&["as-of", &places[1], "todos"]);
    assert_eq!((&*outcome.stderr, outcome.code), ("", 0));
    let table = "\
┌────┬────────────────┐
│ id ┆ title          │
╞════╪════════════════╡
│ 1  ┆ Sleep          │
│ 2  ┆ a\\u{1b}[2Jb\\nc │
└────┴────────────────┘
";
    assert_eq!(outcome.stdout, table);

    let rows = |arguments: &[&str]| {
        shop.bemi(&[&["as-of", "--json"], arguments].concat())
            .json()
    };
    let (one, two) = (
        json!({"id": 1, "title": "Sleep"}),
        json!({"id": 2, "title": "a\u{1b}[2Jb\nc"}),
    );
    assert_eq!(rows(&[&places[1], "public.todos"]), json!([one, two]));
    assert_eq!(rows(&[&places[1], "todos", "1"]), json!([one]));
    assert_eq!(rows(&[&places[2], "todos", "1"]), json!([]));
    let changed = json!({"id": 2, "title": "a\u{1b}[2Jb\nc", "done": true});
    assert_eq!(rows(&[&places[2], "todos"]), json!([changed]));
    let at: String =
        shop.value("SELECT max(committed_at)::text FROM changes WHERE operation = 'CREATE'");
    assert_eq!(rows(&[&at, "todos"]), json!([one, two]));

    let outcome = shop.bemi(&["as-of", &places[2], "todos", "1"]);
    assert_eq!(
        (&*outcome.stdout, &*outcome.stderr, outcome.code),
        ("", "no row was there then\n", 0)
    );
}

#[test]
fn what_cannot_be_shown_is_told_with_the_reason() {
    let (shop, places) = shop();
    let told = |arguments: &[&str]| {
        let outcome = shop.bemi(&[&["as-of"], arguments].concat());
        assert_eq!((&*outcome.stdout, outcome.code), ("", 1));
        outcome.stderr
    };
    let tracks_nothing = "error: the trail does not tell all rows of nothing: it is not tracked, or for some rows alone, \
                          or had rows when that began and no snapshot of them was taken\n";
    assert_eq!(told(&[&places[1], "nothing"]), tracks_nothing);
    assert_eq!(
        told(&["the day before", "todos"]),
        "error: cannot read the time: write it like 2026-01-31 or 2026-01-31T12:00:00Z\n"
    );
    let early = told(&["2001-01-01", "todos"]);
    let since = "error: the trail of public.todos covers no instant before 2";
    assert!(early.starts_with(since), "{early}");
    let late = told(&["FFFFFF/0", "todos"]);
    let reach = "error: the trail does not reach this instant yet: it covers ";
    assert!(late.starts_with(reach), "{late}");

    let bare = Shop::open();
    let outcome = bare.bemi(&["as-of", "yesterday", "todos"]);
    assert_eq!(outcome.code, 1);
    assert_eq!(
        outcome.stderr,
        "error: the table public.changes does not exist\nhelp: run `bemi setup`\n"
    );
    assert_eq!(bare.bemi(&["as-of", "yesterday"]).code, 2);
}
