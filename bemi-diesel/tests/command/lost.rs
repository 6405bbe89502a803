//! What the capture reads from is gone, or is another one than it was.

use bemi_tests::Cluster;

use crate::support::{Outcome, Shop, wait_until};

fn fails(outcome: &Outcome, message: &str) {
    assert_eq!(outcome.stderr.trim_end(), message);
    assert_eq!(outcome.code, 1);
}

fn titles(shop: &Shop) -> String {
    shop.value(
        "SELECT string_agg(after ->> 'title', ' ' ORDER BY commit_lsn, ordinal) FROM changes",
    )
}

fn insert(shop: &Shop, title: &str) {
    shop.sql(&format!("INSERT INTO todos (title) VALUES ('{title}')"));
}

#[test]
fn a_publication_that_was_dropped_for_a_while_is_a_gap() {
    let shop = Shop::set_up();
    let mut capture = shop.capture();
    insert(&shop, "before");
    shop.wait_until_stored(1);
    shop.sql("DROP PUBLICATION bemi");
    insert(&shop, "lost");
    let (code, said) = capture.last_words();
    assert_eq!(code, 1);
    let end = "error: the publication \"bemi\" does not exist\nhelp: run `bemi setup`";
    assert!(said.ends_with(end), "{said}");
    let lost = "error: the publication \"bemi\" was dropped: changes made while there was none cannot be read\n\
                help: `bemi setup --accept-gap` makes it anew where need be and goes on from here; what was committed \
                in between stays missing";
    fails(&shop.bemi(&["setup"]), lost);
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM pg_publication"), 0);
    // Somebody makes it by hand, which does not bring back what was not published.
    shop.sql("CREATE PUBLICATION bemi FOR TABLE todos");
    fails(&shop.bemi(&["setup"]), lost);
    let accepted = shop.bemi(&["setup", "--accept-gap"]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    let _capture = shop.capture();
    insert(&shop, "after");
    shop.wait_until_stored(3);
    assert_eq!(titles(&shop), "before after");
}

#[test]
fn a_publication_that_was_made_anew_at_once_is_a_gap() {
    let shop = Shop::set_up();
    let mut capture = shop.capture();
    insert(&shop, "before");
    shop.wait_until_stored(1);
    shop.sql("DROP PUBLICATION bemi");
    insert(&shop, "lost");
    shop.sql("CREATE PUBLICATION bemi FOR TABLE todos");
    insert(&shop, "after");
    let (code, said) = capture.last_words();
    assert_eq!(code, 1, "{said}");
    let lost = "error: the publication \"bemi\" was dropped: changes made while there was none cannot be read\n\
                help: `bemi setup --accept-gap` makes it anew where need be and goes on from here; what was committed \
                in between stays missing";
    for call in ["setup", "run"] {
        fails(&shop.bemi(&[call]), lost);
    }
    assert_eq!(shop.bemi(&["setup", "--accept-gap"]).code, 0);
    let _capture = shop.capture();
    insert(&shop, "last");
    wait_until("what came last is stored", || {
        titles(&shop).ends_with(" last")
    });
    assert!(!titles(&shop).contains("lost"));
}

#[test]
fn a_slot_that_is_older_than_the_publication_can_be_read() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    shop.sql(&format!(
        "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')",
        shop.slot()
    ));
    insert(&shop, "before");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let _capture = shop.capture();
    insert(&shop, "after");
    shop.wait_until_stored(1);
    assert_eq!(titles(&shop), "after");
}

#[test]
fn a_slot_that_lost_its_log_is_made_anew_when_asked() {
    let cluster = Cluster::builder()
        .setting("max_slot_wal_keep_size", "1MB")
        .setting("min_wal_size", "32MB")
        .setting("max_wal_size", "32MB")
        .start()
        .unwrap();
    let shop = Shop::open_in(&cluster);
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    insert(&shop, "lost");
    for _ in 0..4 {
        shop.sql("SELECT pg_switch_wal()");
        shop.sql("CREATE TABLE filler (); DROP TABLE filler; CHECKPOINT");
    }
    assert_eq!(
        shop.value::<String>("SELECT wal_status FROM pg_replication_slots"),
        "lost"
    );
    let help = "help: `bemi setup --accept-gap` makes a new slot; what was committed in between stays missing";
    for call in ["run", "setup", "status"] {
        let outcome = shop.bemi(&[call]);
        assert_eq!(outcome.code, 1);
        let start = format!(
            "error: the replication slot \"{}\" is gone or has lost its log, and changes after ",
            shop.slot()
        );
        assert!(outcome.stderr.starts_with(&start), "{}", outcome.stderr);
        assert!(
            outcome.stderr.trim_end().ends_with(help),
            "{}",
            outcome.stderr
        );
    }
    let accepted = shop.bemi(&["setup", "--accept-gap"]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    let _capture = shop.capture();
    insert(&shop, "after");
    shop.wait_until_stored(2);
    assert_eq!(titles(&shop), "after");
}

#[test]
fn an_older_copy_of_the_database_is_not_taken_for_it() {
    let shop = Shop::set_up();
    // The trail is ahead of the log, as it is when the source has been restored from a backup.
    shop.sql("UPDATE _bemi_progress SET flush_lsn = pg_current_wal_lsn() + 1000000000");
    let end: String = shop.value("SELECT pg_current_wal_lsn()::text");
    let outcome = shop.bemi(&["run"]);
    assert_eq!(outcome.code, 1);
    let (told, help) = outcome.stderr.split_once('\n').unwrap();
    assert!(told.starts_with("error: changes up to "), "{told}");
    assert!(
        told.contains(" are stored, but the log of the database ends at "),
        "{told}"
    );
    assert!(
        help.starts_with("help: the database was restored from a backup"),
        "{help}"
    );
    assert!(!end.is_empty());
    assert_eq!(shop.bemi(&["setup", "--accept-gap"]).code, 0);
    let _capture = shop.capture();
    insert(&shop, "after");
    shop.wait_until_stored(2);
    assert_eq!(titles(&shop), "after");
}

#[test]
fn another_slot_never_takes_over_the_trail_in_silence() {
    let shop = Shop::set_up();
    let second = format!("{}_b", shop.slot());
    shop.sql(&format!(
        "SELECT pg_copy_logical_replication_slot('{}', '{second}')",
        shop.slot()
    ));
    let help = format!(
        "error: the changes of this database are stored through the replication slot {0:?}\n\
         help: go on with --slot {0}; `bemi setup --accept-gap` changes over to the new one, and what was committed \
         since the last stored change stays missing",
        shop.slot()
    );
    for call in ["run", "setup"] {
        let url = ["--database-url", shop.database.url(), "--slot", &second];
        fails(&crate::support::bemi(&[&[call], &url[..]].concat()), &help);
    }
    let capture = shop.capture();
    insert(&shop, "one");
    shop.wait_until_stored(1);
    // Somebody insists while the first one runs: that one ends.
    let url = ["--database-url", shop.database.url(), "--slot", &second];
    let insisted = crate::support::bemi(&[&["setup", "--accept-gap"], &url[..]].concat());
    assert_eq!(insisted.code, 0, "{}", insisted.stderr);
    let former = format!(
        "note: stays, and keeps the log from now on: replication slot {:?}, unless you drop it",
        shop.slot()
    );
    assert!(insisted.stderr.contains(&former), "{}", insisted.stderr);
    let _second = shop.capture_with(&["--slot", &second]);
    insert(&shop, "two");
    shop.wait_until_stored(2);
    let mut capture = capture;
    let (code, said) = capture.last_words();
    assert_eq!(code, 1, "{said}");
    insert(&shop, "three");
    shop.wait_until_stored(3);
    assert_eq!(titles(&shop), "one two three");
}
