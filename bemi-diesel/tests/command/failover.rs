//! A standby that takes over, with the slot (PostgreSQL 17 and later).

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::Command;

use bemi_tests::{Cluster, Database, Shutdown};
use postgres::{Client, NoTls};

use super::support::{Capture, Shop, wait_until};

/// Makes a standby of what `primary` holds, which goes on afterwards.
fn standby(primary: &mut Cluster) -> Cluster {
    let mut standby = Cluster::builder().major(primary.major()).start().unwrap();
    primary.stop(Shutdown::Fast).unwrap();
    standby.stop(Shutdown::Fast).unwrap();
    let (from, to) = (primary.data_folder(), standby.data_folder());
    // The files stay those of the user that the servers run as.
    let copied = Command::new("cp")
        .args(["-a", "--"])
        .arg(from.join("."))
        .arg(&to)
        .status();
    assert!(copied.unwrap().success());
    let mut settings = OpenOptions::new()
        .append(true)
        .open(to.join("postgresql.conf"))
        .unwrap();
    // The last word on a parameter counts.
    writeln!(
        settings,
        "port = {}\nunix_socket_directories = '{}'\nprimary_slot_name = 'standby'\nhot_standby_feedback = on\n\
         primary_conninfo = 'host=127.0.0.1 port={} user=postgres dbname=postgres'",
        standby.port(),
        standby.socket_folder().display(),
        primary.port(),
    )
    .unwrap();
    fs::write(to.join("standby.signal"), "").unwrap();
    primary.start_again().unwrap();
    let mut admin = Client::connect(&primary.url("postgres"), NoTls).unwrap();
    admin
        .batch_execute("SELECT pg_create_physical_replication_slot('standby', true)")
        .unwrap();
    standby.start_again().unwrap();
    standby
}

#[test]
fn a_standby_takes_over_with_the_slot() {
    if Cluster::shared().unwrap().major() < 17 {
        // A slot ends with its server: `lost::*` tells what is said then.
        return;
    }
    let mut primary = Cluster::start().unwrap();
    let mut standby = standby(&mut primary);
    let shop = Shop {
        destination: Some(Database::create().unwrap()),
        ..Shop::open_in(&primary)
    };
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let url = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/{}?target_session_attrs=read-write",
        primary.port(),
        standby.port(),
        shop.database.name()
    );
    let capture = Capture::start(&mut shop.command(&["run", "--database-url", &url]));
    capture.says("capture reads the log");
    shop.sql("INSERT INTO todos (title) VALUES ('before')");
    shop.wait_until_stored(1);
    // A standby with `sync_replication_slots` does this by itself, now and then. It keeps the slot for good once that is
    // as far as the standby; a heartbeat, which takes no transaction number, moves it on.
    let mut there = Client::connect(&standby.url("postgres"), NoTls).unwrap();
    wait_until("the standby has the slot", || {
        shop.sql(
            "SELECT pg_log_standby_snapshot(); SELECT pg_logical_emit_message(false, '_bemi_heartbeat', '')",
        );
        there
            .batch_execute("SELECT pg_sync_replication_slots()")
            .unwrap();
        let synced = "SELECT count(*) FROM pg_replication_slots WHERE synced AND NOT temporary AND slot_name = $1";
        let row = there.query_one(synced, &[&shop.slot()]).unwrap();
        row.get::<_, i64>(0) == 1
    });
    shop.sql("INSERT INTO todos (title) VALUES ('last')");
    shop.wait_until_stored(2);
    wait_until("the standby has it too", || {
        let missing = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn IS NOT NULL AND replay_lsn < pg_current_wal_lsn() \
                       AND application_name = 'walreceiver'";
        shop.value::<i64>(missing) == 0
    });
    primary.stop(Shutdown::Immediate).unwrap();
    there.batch_execute("SELECT pg_promote()").unwrap();
    let mut there = Client::connect(&standby.url(shop.database.name()), NoTls).unwrap();
    there
        .batch_execute("INSERT INTO todos (title) VALUES ('after')")
        .unwrap();
    shop.wait_until_stored(3);
    let titles = "SELECT string_agg(after ->> 'title', ' ' ORDER BY commit_lsn) FROM changes";
    assert_eq!(shop.stored::<String>(titles), "before last after");
    capture.kill();
    drop(there);
    standby.stop(Shutdown::Fast).unwrap();
}
