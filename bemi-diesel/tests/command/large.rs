//! Transactions that are not held whole: their parts become durable together.

use std::time::{Duration, Instant};

use crate::support::{Shop, wait_until};

fn emit(context: &str) -> String {
    format!("SELECT pg_logical_emit_message(true, '_bemi', '{context}')")
}

/// Inserts the rows `from` to `to`.
fn rows(from: i32, to: i32) -> String {
    format!("INSERT INTO todos SELECT n, 'todo ' || n FROM generate_series({from}, {to}) n")
}

/// Contexts with the keys and ordinals that they go from and to, and how many that are, in order.
const BY_CONTEXT: &str = "SELECT string_agg(concat_ws(' ', context, a, b, c, d, n), E'\\n' ORDER BY c, a, b) FROM ( \
     SELECT context, min(primary_key::int) a, max(primary_key::int) b, min(ordinal) c, max(ordinal) d, count(*) n \
     FROM changes GROUP BY commit_lsn, context) by_context";

#[test]
fn each_row_of_a_large_transaction_has_the_context_of_its_time() {
    let shop = Shop::set_up();
    let capture = shop.capture();
    let work = [
        "BEGIN".to_owned(),
        rows(1, 25_000),
        "SAVEPOINT s".to_owned(),
        emit(r#"{"user": 666}"#),
        rows(100_001, 100_003),
        "ROLLBACK TO s".to_owned(),
        emit("no context"),
        emit(r#"{"user": 1}"#),
        rows(25_001, 45_000),
        emit(r#"{"user": 2}"#),
        rows(45_001, 65_000),
        emit("{}"),
        rows(65_001, 65_002),
        "COMMIT".to_owned(),
    ];
    shop.sql(&work.join("; "));
    // Nothing is known of its context until the end.
    let late = emit(r#"{"late": true}"#);
    shop.sql(&format!("BEGIN; {}; {late}; COMMIT", rows(70_001, 95_000)));
    shop.sql("DELETE FROM todos WHERE id = 1");
    shop.wait_until_stored(65_002 + 25_000 + 1);
    assert_eq!(
        shop.value::<String>(BY_CONTEXT),
        "{} 1 1 0 0 1\n\
         {\"user\": 1} 1 45000 0 44999 45000\n\
         {\"late\": true} 70001 95000 0 24999 25000\n\
         {\"user\": 2} 45001 65000 45000 64999 20000\n\
         {} 65001 65002 65000 65001 2"
    );
    let status = shop.bemi(&["status", "--json"]).json();
    assert_eq!(status["changes"], 65_002 + 25_000 + 1);
    assert_eq!(status["transactions"], 3);
    capture.kill();
}

#[test]
fn killed_in_the_middle_of_a_large_transaction_nothing_is_lost_or_doubled() {
    let shop = Shop::set_up();
    let mut capture = shop.capture();
    let context = emit(r#"{"user": 1}"#);
    shop.sql(&format!("BEGIN; {}; {context}; COMMIT", rows(1, 120_000)));
    // Of a dozen parts, so that the last one is far away whenever this looks.
    for _ in 0..3 {
        // A part is stored, and the next one is being read.
        wait_until("a part is stored", || {
            shop.value(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                 AND state = 'idle in transaction' AND query = 'RELEASE SAVEPOINT part')",
            )
        });
        capture.kill();
        assert_eq!(shop.value::<i64>("SELECT count(*) FROM changes"), 0);
        wait_until("its sessions have ended", || {
            shop.value(
                "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()",
            )
        });
        capture = shop.capture();
    }
    shop.wait_until_stored(120_000);
    assert_eq!(
        shop.value::<String>(BY_CONTEXT),
        "{\"user\": 1} 1 120000 0 119999 120000"
    );
}

#[test]
fn a_large_transaction_that_is_stored_already_is_not_doubled() {
    let shop = Shop::set_up();
    let early = format!("{}_early", shop.slot());
    shop.sql(&format!(
        "SELECT pg_copy_logical_replication_slot('{}', '{early}')",
        shop.slot()
    ));
    let capture = shop.capture();
    let context = emit(r#"{"user": 1}"#);
    shop.sql(&format!("BEGIN; {}; {context}; COMMIT", rows(1, 30_000)));
    shop.wait_until_stored(30_000);
    capture.kill();
    shop.sql(&format!(
        "DELETE FROM changes WHERE ordinal % 10000 = 7; \
         UPDATE _bemi_progress SET slot = '{early}', flush_lsn = \
             (SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{early}')"
    ));
    let _capture = shop.capture_with(&["--slot", &early]);
    shop.wait_until_stored(30_000);
    assert_eq!(
        shop.value::<String>(BY_CONTEXT),
        "{\"user\": 1} 1 30000 0 29999 30000"
    );
}

#[test]
fn a_large_transaction_gets_into_any_encoding() {
    let (_cluster, shop) = Shop::stored_in_latin1();
    let _capture = shop.capture();
    let context = emit(r#"{"Ω": "é"}"#);
    let emoji = "UPDATE todos SET title = '😀 é' WHERE id = 15000";
    shop.sql(&format!(
        "BEGIN; {}; {emoji}; {}; {context}; COMMIT",
        rows(1, 15_000),
        rows(15_001, 30_000)
    ));
    shop.wait_until_stored(30_001);
    let found: String = shop.stored(
        "SELECT string_agg(concat_ws(' ', context, n), E'\\n') FROM (SELECT context, count(*) n FROM changes GROUP BY context) c",
    );
    assert_eq!(found, r#"{"\\u03a9": "é"} 30001"#);
    let title: String =
        shop.stored("SELECT after ->> 'title' FROM changes WHERE operation = 'UPDATE'");
    assert_eq!(title, r"\ud83d\ude00 é");
}

/// The largest resident memory of the process so far, in KiB.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse().unwrap()
}

#[test]
fn a_transaction_and_a_backlog_larger_than_memory_are_stored_in_little() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let long = std::env::var_os("BEMI_TESTS_LONG").is_some();
    let (rows, patience) = if long {
        (5_000_000, Duration::from_secs(3600))
    } else {
        (60_000, Duration::from_secs(120))
    };
    let shop = Shop::set_up();
    // The transaction is larger than the memory that is allowed, and so is what follows it.
    let title = "repeat(md5(n::text), 60)";
    let insert = |from: i32, to: i32| {
        format!("INSERT INTO todos SELECT n, {title} FROM generate_series({from}, {to}) n")
    };
    shop.sql(&insert(1, rows));
    let mut client = shop.client();
    for n in 1..=100 {
        let (step, from) = (rows / 100, rows * 2);
        client
            .batch_execute(&insert(from + (n - 1) * step + 1, from + n * step))
            .unwrap();
    }
    let capture = shop.capture();
    let started = Instant::now();
    let expected = i64::from(rows + rows / 100 * 100);
    while client
        .query_one("SELECT sum(changes)::bigint FROM _bemi_progress", &[])
        .unwrap()
        .get::<_, i64>(0)
        < expected
    {
        assert!(started.elapsed() < patience, "it takes too long");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let peak = peak_memory(capture.pid());
    println!(
        "{expected} changes: {} MiB, {:?}",
        peak >> 10,
        started.elapsed()
    );
    assert!(peak < 100 << 10, "{peak} KiB");
}
