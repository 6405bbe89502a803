//! A capture's life: started, asked, stopped, killed.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use bemi_tests::{Cluster, Shutdown};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{Capture, Shop, wait_until};

#[test]
fn a_signal_stops_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let shop = Shop::set_up();
        let mut capture = shop.capture();
        shop.sql("INSERT INTO todos (title) VALUES ('Sleep')");
        shop.wait_until_stored(1);
        capture.signal(signal);
        assert_eq!(capture.wait().code(), Some(0));
    }
}

#[test]
fn once_it_has_stopped_its_slot_is_free() {
    let shop = Shop::set_up();
    let slot = format!(
        "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{}'",
        shop.slot()
    );
    let mut capture = shop.capture();
    // A server that takes its time: the process that serves the slot is held up for a moment.
    let walsender = Pid::from_raw(shop.value(&slot)).unwrap();
    kill_process(walsender, Signal::STOP).unwrap();
    capture.signal(Signal::TERM);
    // It asks for its slot, and asks again.
    let asks = format!(
        "SELECT max(query_start)::text FROM pg_stat_activity WHERE query_start > '{}' \
         AND query LIKE '%JOIN pg_stat_activity a ON a.pid = s.active_pid%' AND pid <> pg_backend_pid()",
        shop.value::<String>("SELECT clock_timestamp()::text")
    );
    let mut asked = std::collections::BTreeSet::new();
    wait_until("it waits for its slot", || {
        asked.extend(shop.value::<Option<String>>(&asks));
        asked.len() > 5
    });
    let ended = capture.has_ended();
    kill_process(walsender, Signal::CONT).unwrap();
    assert!(!ended, "it ended while its slot was held");
    assert_eq!(capture.wait().code(), Some(0));
    assert_eq!(shop.value::<Option<i32>>(&slot), None);
    assert_eq!(shop.bemi(&["teardown"]).code, 0);
}

#[test]
fn status_tells_how_it_is_doing() {
    let shop = Shop::set_up();
    let idle = shop.bemi(&["status", "--json"]).json();
    assert_eq!(idle["health"], "not_running");
    assert_eq!(
        (&idle["changes"], &idle["last_committed_at"]),
        (&json!(0), &json!(null))
    );

    let _capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('Sleep'), ('Eat')");
    shop.wait_until_stored(2);
    let busy = shop.bemi(&["status", "--json"]).json();
    assert_eq!(busy["health"], "capturing");
    assert_eq!(
        (&busy["changes"], &busy["transactions"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        (&busy["database"], &busy["slot"]),
        (&json!(shop.slot()), &json!(shop.slot()))
    );
    let is_last = format!(
        "SELECT max(committed_at) = '{}' FROM changes",
        busy["last_committed_at"].as_str().unwrap()
    );
    assert!(shop.value::<bool>(&is_last), "{busy}");

    let text = shop.bemi(&["status"]);
    assert!(
        text.stdout.contains("2 changes in 1 transactions"),
        "{}",
        text.stdout
    );
}

/// The keys in the order of the trail.
fn keys(shop: &Shop) -> Vec<String> {
    let rows = shop
        .client()
        .query(
            "SELECT primary_key FROM changes ORDER BY commit_lsn, ordinal",
            &[],
        )
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn killed_in_the_middle_of_a_thousand_writes_it_stores_each_once() {
    let shop = Shop::set_up();
    let capture = shop.capture();
    let url = shop.database.url().to_owned();
    let writer = std::thread::spawn(move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        for _ in 0..1000 {
            client
                .execute("INSERT INTO todos (title) VALUES ('x')", &[])
                .unwrap();
        }
    });
    shop.wait_until_stored(200);
    capture.kill();
    let _capture = shop.capture();
    writer.join().unwrap();
    shop.wait_until_stored(1000);
    assert_eq!(
        keys(&shop),
        (1..=1000).map(|key| key.to_string()).collect::<Vec<_>>()
    );
}

#[test]
fn a_server_that_is_shut_down_stops_in_time_and_is_captured_again() {
    let mut cluster = Cluster::start().unwrap();
    let shop = Shop::open_in(&cluster);
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let _capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('before')");
    shop.wait_until_stored(1);
    for round in 1..=3 {
        let took = cluster.stop(Shutdown::Fast).unwrap();
        assert!(took.as_secs() < 5, "the server took {took:?} to stop");
        cluster.start_again().unwrap();
        shop.sql("INSERT INTO todos (title) VALUES ('after')");
        shop.wait_until_stored(1 + round);
    }
    assert_eq!(keys(&shop), ["1", "2", "3", "4"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let shop = Shop::set_up();
    let mut child = shop
        .command(&["changes", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn changes_made_with_psql_have_the_context_that_psql_gave() {
    let shop = Shop::set_up();
    let _capture = shop.capture();
    let mut psql = Command::new("psql")
        .args([
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            shop.database.url(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("psql, on Debian in the package postgresql-client");
    let script = "INSERT INTO todos (title) VALUES ('Sleep');\n\
                  BEGIN;\n\
                  SELECT pg_logical_emit_message(true, '_bemi', '{\"user_id\": 7}');\n\
                  UPDATE todos SET title = 'Dream';\n\
                  COMMIT;\n";
    psql.stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    assert!(psql.wait().unwrap().success());
    shop.wait_until_stored(2);
    let changes = shop.bemi(&["changes", "--json"]).json();
    assert_eq!(changes[0]["context"], json!({}));
    assert_eq!(changes[1]["context"], json!({"user_id": 7}));
}

#[test]
fn a_standby_takes_over_from_one_that_is_killed() {
    let kills = match std::env::var_os("BEMI_TESTS_LONG") {
        Some(_) => 50,
        None => 5,
    };
    let shop = Shop::set_up();
    let mut active = shop.capture();
    let mut times = Vec::new();
    for n in 1..=kills {
        let standby = Capture::start(&mut shop.command(&["run"]));
        standby.says("capture stands by: another one reads from the slot");
        shop.sql("INSERT INTO todos (title) VALUES ('Sleep')");
        let killed = Instant::now();
        active.kill();
        standby.says("capture reads the log");
        times.push(killed.elapsed());
        active = standby;
        shop.wait_until_stored(n);
    }
    active.kill();
    times.sort();
    println!(
        "takeover: median {:?}, worst {:?} of {kills}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    let all: Vec<String> = (1..=kills).map(|n| n.to_string()).collect();
    assert_eq!(keys(&shop), all);
}
