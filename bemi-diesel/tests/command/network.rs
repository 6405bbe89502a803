//! A network that cuts, and one that falls silent.

use std::thread;
use std::time::Instant;

use bemi_tests::{Cluster, Database, Shutdown};
use postgres::{Client, NoTls};
use rustix::process::Signal;

use crate::proxy::Proxy;
use crate::support::{Capture, PATIENCE, Shop, wait_until};

/// Whether a capture waits for a lock in this database.
const WAITING: &str = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid IN \
                       (SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'bemi'))";

/// A shop whose changes are stored in another database, and a network on the way to either.
struct Apart {
    shop: Shop,
    source: Proxy,
    destination: Proxy,
}

impl Apart {
    fn set_up() -> Self {
        let port = Cluster::shared().unwrap().port();
        Self {
            shop: Shop::stored_in(Database::create().unwrap()),
            source: Proxy::start(port),
            destination: Proxy::start(port),
        }
    }

    /// A capture through both networks, which waits for an answer for as many milliseconds.
    fn start(&self, patience: u32) -> Capture {
        let patient = |url: String| format!("{url}?tcp_user_timeout={patience}");
        Capture::start(&mut self.shop.command(&[
            "run",
            "--database-url",
            &patient(self.source.through(self.shop.database.url())),
            "--destination-url",
            &patient(self.destination.through(self.shop.trail().url())),
        ]))
    }

    /// [Starts](Self::start) it, and waits until it reads the log.
    fn capture(&self, patience: u32) -> Capture {
        let capture = self.start(patience);
        capture.says("capture reads the log");
        capture
    }

    fn insert(&self, title: &str) {
        self.shop
            .sql(&format!("INSERT INTO todos (title) VALUES ('{title}')"));
    }

    fn keys(&self) -> Vec<i32> {
        self.shop
            .stored("SELECT array_agg(primary_key::int ORDER BY commit_lsn, ordinal) FROM changes")
    }
}

#[test]
fn cuts_at_any_byte_lose_and_double_nothing() {
    const ROUNDS: i32 = 16;
    const WRITES: i32 = 25;
    let apart = Apart::set_up();
    let mut capture = apart.capture(10_000);
    let mut client = apart.shop.client();
    for round in 0..ROUNDS {
        let network = if round % 2 == 0 {
            &apart.source
        } else {
            &apart.destination
        };
        // Within a commit's few hundred bytes, and within the handshakes of the next connections.
        network.cut_after(usize::try_from(round * round * 3 % 1511).unwrap());
        for _ in 0..WRITES {
            client
                .execute("INSERT INTO todos (title) VALUES ('x')", &[])
                .unwrap();
        }
        if round % 8 == 7 {
            apart
                .shop
                .wait_until_stored(i64::from((round + 1) * WRITES));
        }
    }
    apart.shop.wait_until_stored(i64::from(ROUNDS * WRITES));
    assert_eq!(apart.keys(), (1..=ROUNDS * WRITES).collect::<Vec<_>>());
    apart.source.restore();
    apart.destination.restore();
    capture.signal(Signal::TERM);
    let (code, said) = capture.last_words();
    assert_eq!(code, 0, "{said}");
    assert!(said.matches("capture reconnects").count() >= 5, "{said}");
}

#[test]
fn a_destination_that_falls_silent_is_given_up() {
    let apart = Apart::set_up();
    let capture = apart.capture(1500);
    apart.insert("one");
    apart.shop.wait_until_stored(1);
    apart.destination.fall_silent();
    apart.insert("two");
    let said = capture.says("capture reconnects");
    assert!(
        said.last().unwrap().contains("no answer for 1.5s"),
        "{said:?}"
    );
    apart.destination.restore();
    apart.shop.wait_until_stored(2);
    apart.insert("three");
    apart.shop.wait_until_stored(3);
    assert_eq!(apart.keys(), [1, 2, 3]);
}

#[test]
fn a_standby_watches_the_slot_whatever_becomes_of_the_destination() {
    let apart = Apart::set_up();
    let active = apart.shop.capture_with(&[]);
    apart.destination.fall_silent();
    let url = apart.destination.through(apart.shop.trail().url());
    let impatient = format!("{url}?connect_timeout=1");
    let standby =
        Capture::start(
            &mut apart
                .shop
                .command(&["run", "--destination-url", &impatient]),
        );
    standby.says("capture stands by");
    wait_until("it has tried thrice", || {
        apart.destination.connections() >= 3
    });
    assert_eq!(standby.heard(), [""; 0]);
    active.kill();
    let said = standby.says("capture reconnects");
    assert!(said.last().unwrap().contains("timed out"), "{said:?}");
    apart.insert("one");
    apart.destination.restore();
    standby.says("capture reads the log");
    apart.shop.wait_until_stored(1);
}

#[test]
fn a_standby_tells_of_a_source_that_falls_silent() {
    let apart = Apart::set_up();
    let active = apart.shop.capture_with(&[]);
    let standby = apart.start(1500);
    standby.says("capture stands by");
    wait_until("it watches", || apart.destination.connections() > 0);
    apart.source.fall_silent();
    let said = standby.says("capture reconnects");
    assert!(
        said.last().unwrap().contains("no answer for 1.5s"),
        "{said:?}"
    );
    active.kill();
    apart.insert("one");
    apart.source.restore();
    standby.says("capture reads the log");
    apart.shop.wait_until_stored(1);
}

#[test]
fn a_source_that_falls_silent_is_given_up() {
    let apart = Apart::set_up();
    let capture = apart.capture(1500);
    apart.source.fall_silent();
    apart.insert("one");
    let said = capture.says("capture reconnects");
    assert!(
        said.last().unwrap().contains("no answer for 1.5s"),
        "{said:?}"
    );
    apart.source.restore();
    apart.shop.wait_until_stored(1);
    assert_eq!(apart.keys(), [1]);
}

#[test]
fn a_stream_that_falls_silent_while_the_server_answers_is_given_up() {
    let apart = Apart::set_up();
    let capture = apart.capture(1500);
    apart.insert("one");
    apart.shop.wait_until_stored(1);
    // The catalog's connection came before the stream's.
    apart.source.fall_silent_on(1..usize::MAX);
    apart.insert("two");
    let said = capture.says("capture reconnects");
    assert!(
        said.last().unwrap().contains("no answer for 1.5s"),
        "{said:?}"
    );
    apart.source.restore();
    apart.shop.wait_until_stored(2);
    assert_eq!(apart.keys(), [1, 2]);
}

#[test]
fn an_idle_source_is_not_taken_for_a_silent_one() {
    let apart = Apart::set_up();
    let mut capture = apart.capture(400);
    // A transaction that writes and writes is silence to us, and so is a session that does nothing.
    apart.shop.sql(
        "CREATE TEMPORARY TABLE filler (n int); \
         DO $$ BEGIN FOR i IN 1..20 LOOP INSERT INTO todos (title) VALUES ('x'); INSERT INTO filler VALUES (i); \
         PERFORM pg_sleep(0.05); END LOOP; END $$; SELECT pg_sleep(1)",
    );
    apart.shop.wait_until_stored(20);
    capture.signal(Signal::TERM);
    let (code, said) = capture.last_words();
    assert_eq!(code, 0);
    assert!(!said.contains("reconnects"), "{said}");
}

#[test]
fn it_stops_when_asked_whatever_it_waits_for() {
    // For the destination, which is silent; for its lock; for the catalog; for a source that is down.
    let ends = |mut capture: Capture| {
        let asked = Instant::now();
        capture.signal(Signal::TERM);
        let (code, said) = capture.last_words();
        assert_eq!(code, 0, "{said}");
        assert!(
            asked.elapsed().as_secs() < 10,
            "it took {:?}",
            asked.elapsed()
        );
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let apart = Apart::set_up();
            let capture = apart.capture(30_000);
            apart.destination.fall_silent();
            apart.insert("one");
            ends(capture);
        });
        scope.spawn(|| {
            let apart = Apart::set_up();
            let capture = apart.capture(30_000);
            let mut client = Client::connect(apart.shop.trail().url(), NoTls).unwrap();
            let mut lock = client.transaction().unwrap();
            lock.batch_execute("LOCK TABLE changes").unwrap();
            apart.insert("one");
            ends(capture);
        });
        scope.spawn(|| {
            let apart = Apart::set_up();
            let capture = apart.capture(30_000);
            // The stream brings a table that the catalog does not describe.
            apart.source.fall_silent_on(0..1);
            apart.insert("one");
            ends(capture);
        });
        scope.spawn(|| {
            let apart = Apart::set_up();
            let capture = apart.capture(30_000);
            apart.source.go_down();
            capture.says("capture reconnects");
            ends(capture);
        });
    });
}

#[test]
fn a_source_shuts_down_while_the_trail_is_locked() {
    let mut cluster = Cluster::start().unwrap();
    let database = Database::create_in(&cluster).unwrap();
    let shop = Shop {
        database,
        destination: Some(Database::create().unwrap()),
    };
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let capture = shop.capture();
    let mut client = Client::connect(shop.trail().url(), NoTls).unwrap();
    let mut lock = client.transaction().unwrap();
    lock.batch_execute("LOCK TABLE _bemi_progress").unwrap();
    shop.sql("INSERT INTO todos (title) VALUES ('x')");
    wait_until("the capture waits for the lock", || shop.stored(WAITING));
    let took = cluster.stop(Shutdown::Fast).unwrap();
    assert!(took.as_secs() < 12, "the server took {took:?} to stop");
    let said = capture.says("what was read is not stored");
    let line = said.last().unwrap();
    assert!(
        line.contains("canceling statement due to lock timeout (SQLSTATE 55P03)"),
        "{line}"
    );
    assert!(
        line.contains("another session holds a lock on the table"),
        "{line}"
    );
    lock.rollback().unwrap();
    cluster.start_again().unwrap();
    shop.wait_until_stored(1);
    drop(capture);
    drop(shop);
}

#[test]
fn a_predecessor_that_is_still_storing_is_waited_for() {
    let shop = Shop::set_up();
    let mut client = shop.client();
    let mut predecessor = client.transaction().unwrap();
    // What a capture does whose connection is cut between its last word and the server's answer.
    predecessor
        .batch_execute("UPDATE _bemi_progress SET flush_lsn = pg_current_wal_lsn()")
        .unwrap();
    let stored: String = predecessor
        .query_one("SELECT flush_lsn::text FROM _bemi_progress", &[])
        .unwrap()
        .get(0);
    let capture = Capture::start(&mut shop.command(&["run"]));
    wait_until("the capture waits for the lock", || shop.stored(WAITING));
    predecessor.commit().unwrap();
    let said = capture.says("capture reads the log");
    assert!(
        said.last().unwrap().contains(&format!("lsn={stored}")),
        "{said:?} {stored}"
    );
    shop.sql("INSERT INTO todos (title) VALUES ('x')");
    shop.wait_until_stored(1);
}

#[test]
fn sessions_ended_at_random_lose_and_double_nothing() {
    let shop = Shop::set_up();
    let capture = shop.capture();
    let url = shop.database.url().to_owned();
    let writer = thread::spawn(move || {
        let mut client = Client::connect(&url, NoTls).unwrap();
        for _ in 0..2000 {
            client
                .execute("INSERT INTO todos (title) VALUES ('x')", &[])
                .unwrap();
        }
    });
    let mut client = shop.client();
    let started = Instant::now();
    while !writer.is_finished() && started.elapsed() < PATIENCE {
        client
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                 AND application_name = 'bemi' ORDER BY random() LIMIT 1",
                &[],
            )
            .unwrap();
        thread::park_timeout(std::time::Duration::from_millis(40));
    }
    writer.join().unwrap();
    shop.wait_until_stored(2000);
    let keys: Vec<i32> =
        shop.value("SELECT array_agg(primary_key::int ORDER BY commit_lsn, ordinal) FROM changes");
    assert_eq!(keys, (1..=2000).collect::<Vec<_>>());
    capture.kill();
}
