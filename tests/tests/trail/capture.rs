//! The capture's life inside an application.

use std::time::{Duration, Instant};

use bemi_diesel::{ErrorKind, Lsn, State};
use bemi_tests::{Cluster, Database, Shutdown};
use serde_json::{Value, json};

use crate::support::{Trail, builder, connect, log_end};

const TODOS: &str = "CREATE TABLE todos (id serial PRIMARY KEY, title text)";

fn keys(changes: &[Value]) -> Vec<&str> {
    changes
        .iter()
        .map(|change| change[2].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn what_is_written_while_it_is_down_is_captured_once_it_is_back() {
    let trail = Trail::start(TODOS).await;
    trail
        .sql("INSERT INTO todos (title) VALUES ('before')")
        .await;
    trail.caught_up().await;
    let Trail {
        client,
        capture,
        database,
    } = trail;
    capture.shutdown().await.unwrap();
    client
        .batch_execute("INSERT INTO todos (title) VALUES ('while')")
        .await
        .unwrap();
    let capture = builder(&database).start().await.unwrap();
    let trail = Trail {
        client,
        capture,
        database,
    };
    trail
        .sql("INSERT INTO todos (title) VALUES ('after')")
        .await;
    assert_eq!(keys(&trail.changes().await), ["1", "2", "3"]);
    assert_eq!(trail.capture.status().changes, 2);
}

#[tokio::test]
async fn a_lone_commit_is_stored_without_a_further_one() {
    let trail = Trail::start(TODOS).await;
    for n in 1..=20 {
        trail.sql("INSERT INTO todos (title) VALUES ('x')").await;
        let stored = tokio::time::timeout(Duration::from_secs(5), trail.changes())
            .await
            .unwrap();
        assert_eq!(stored.len(), n);
    }
    let status = trail.capture.status();
    assert_eq!(
        (status.changes, status.transactions, status.reconnects),
        (20, 20, 0)
    );
    assert_eq!(status.state, State::Streaming);
    assert!(status.last_committed_at.is_some());
}

#[tokio::test]
async fn the_slot_moves_on_when_nothing_tracked_changes() {
    let trail = Trail::start(TODOS).await;
    trail.sql("CREATE UNLOGGED TABLE quiet (id int)").await;
    let end = log_end(&trail.client).await;
    trail.capture.wait_for(end).await.unwrap();
    assert!(trail.capture.status().captured_lsn >= end);
}

#[tokio::test]
async fn changes_can_live_in_another_database() {
    let source = Database::create().unwrap();
    let destination = Database::create().unwrap();
    let client = connect(source.url()).await;
    client.batch_execute(TODOS).await.unwrap();
    let capture = builder(&source)
        .destination(destination.url())
        .start()
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO todos (title) VALUES ('Sleep')")
        .await
        .unwrap();
    capture.wait_for(log_end(&client).await).await.unwrap();
    let stored = connect(destination.url()).await;
    let row = stored
        .query_one("SELECT database, after::text FROM changes", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), source.name());
    assert_eq!(row.get::<_, &str>(1), r#"{"id": 1, "title": "Sleep"}"#);
    let ours = client
        .query_one("SELECT to_regclass('changes') IS NULL", &[])
        .await
        .unwrap();
    assert!(ours.get::<_, bool>(0));
    capture.shutdown().await.unwrap();
}

#[tokio::test]
async fn two_sources_share_a_destination() {
    let destination = Database::create().unwrap();
    let sources = [Database::create().unwrap(), Database::create().unwrap()];
    let mut captures = Vec::new();
    for source in &sources {
        let client = connect(source.url()).await;
        client.batch_execute(TODOS).await.unwrap();
        captures.push(
            builder(source)
                .destination(destination.url())
                .start()
                .await
                .unwrap(),
        );
        client
            .batch_execute("INSERT INTO todos (title) VALUES ('Sleep')")
            .await
            .unwrap();
        captures
            .last()
            .unwrap()
            .wait_for(log_end(&client).await)
            .await
            .unwrap();
    }
    let stored = connect(destination.url()).await;
    let rows = stored
        .query("SELECT database FROM changes ORDER BY commit_lsn", &[])
        .await
        .unwrap();
    let databases: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(databases, [sources[0].name(), sources[1].name()]);
    for capture in captures {
        capture.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_fast_shutdown_of_the_server_is_not_held_up() {
    let mut cluster = Cluster::start().unwrap();
    let database = Database::create_in(&cluster).unwrap();
    let client = connect(database.url()).await;
    client.batch_execute(TODOS).await.unwrap();
    let capture = builder(&database).start().await.unwrap();
    client
        .batch_execute("INSERT INTO todos (title) VALUES ('before')")
        .await
        .unwrap();
    capture.wait_for(log_end(&client).await).await.unwrap();
    let took = cluster.stop(Shutdown::Fast).unwrap();
    assert!(
        took < Duration::from_secs(5),
        "the server took {took:?} to stop"
    );

    cluster.start_again().unwrap();
    let client = connect(database.url()).await;
    client
        .batch_execute("INSERT INTO todos (title) VALUES ('after')")
        .await
        .unwrap();
    capture.wait_for(log_end(&client).await).await.unwrap();
    let row = client
        .query_one(
            "SELECT string_agg(primary_key, ',' ORDER BY commit_lsn) FROM changes",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "1,2");
    assert_eq!(capture.status().reconnects, 1);
    capture.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_crash_of_the_server_loses_nothing_that_was_committed() {
    let mut cluster = Cluster::builder().setting("fsync", "on").start().unwrap();
    let database = Database::create_in(&cluster).unwrap();
    let client = connect(database.url()).await;
    client.batch_execute(TODOS).await.unwrap();
    let capture = builder(&database).start().await.unwrap();
    for _ in 0..3 {
        let client = connect(database.url()).await;
        client
            .batch_execute("INSERT INTO todos (title) SELECT 'x' FROM generate_series(1, 500)")
            .await
            .unwrap();
        cluster.stop(Shutdown::Immediate).unwrap();
        cluster.start_again().unwrap();
    }
    let client = connect(database.url()).await;
    capture.wait_for(log_end(&client).await).await.unwrap();
    let sql =
        "SELECT count(*), (SELECT count(*) FROM todos), count(DISTINCT primary_key) FROM changes";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!(
        (
            row.get::<_, i64>(0),
            row.get::<_, i64>(1),
            row.get::<_, i64>(2)
        ),
        (1500, 1500, 1500)
    );
    capture.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_second_capture_of_the_same_slot_stands_by() {
    let trail = Trail::start(TODOS).await;
    let second = builder(&trail.database).start().await.unwrap();
    assert_eq!(second.status().state, State::StandingBy);
    trail
        .sql("INSERT INTO todos (title) VALUES ('Sleep')")
        .await;
    // Whichever one is asked tells when a change is stored, and need not wait for the next one.
    let (asked, lsn) = (Instant::now(), log_end(&trail.client).await);
    second.wait_for(lsn).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert_eq!(second.status().state, State::StandingBy);
    assert_eq!(keys(&trail.changes().await), ["1"]);

    trail.capture.shutdown().await.unwrap();
    trail
        .client
        .batch_execute("INSERT INTO todos (title) VALUES ('Eat')")
        .await
        .unwrap();
    second.wait_for(log_end(&trail.client).await).await.unwrap();
    assert_eq!(second.status().state, State::Streaming);
    let sql = "SELECT count(*), count(DISTINCT primary_key) FROM changes";
    let row = trail.client.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (2, 2));
    second.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_second_capture_through_another_slot_is_refused() {
    let trail = Trail::start(TODOS).await;
    let second = format!("{}_b", trail.database.name());
    let refused = format!(
        "the changes of this database are stored through the replication slot {:?}",
        trail.database.name()
    );
    let error = builder(&trail.database)
        .slot(&second)
        .start()
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), refused);
    // Somebody insists, with a slot that reaches back far enough.
    let copy = "SELECT pg_copy_logical_replication_slot($1, $2)";
    trail
        .client
        .query(copy, &[&trail.database.name(), &second])
        .await
        .unwrap();
    for builder in [
        builder(&trail.database),
        builder(&trail.database).without_setup(),
    ] {
        let error = builder.slot(&second).start().await.unwrap_err();
        assert_eq!(error.to_string(), refused);
    }
    trail
        .sql("INSERT INTO todos (title) VALUES ('Sleep')")
        .await;
    assert_eq!(keys(&trail.changes().await), ["1"]);
}

#[tokio::test]
async fn a_slot_that_was_moved_by_somebody_else_is_a_gap() {
    let trail = Trail::start(TODOS).await;
    trail.caught_up().await;
    trail.capture.shutdown().await.unwrap();
    let slot = trail.database.name();
    let client = connect(trail.database.url()).await;
    client
        .batch_execute("INSERT INTO todos (title) VALUES ('lost')")
        .await
        .unwrap();
    client
        .execute(
            "SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())",
            &[&slot],
        )
        .await
        .unwrap();
    let error = builder(&trail.database).start().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Gap { .. }), "{error}");
    assert_eq!(
        error.hint().unwrap(),
        "`bemi setup --accept-gap` goes on from where the slot is; what lies between stays missing"
    );
}

#[tokio::test]
async fn a_slot_that_is_gone_is_never_made_anew_in_silence() {
    let trail = Trail::start(TODOS).await;
    trail.capture.shutdown().await.unwrap();
    let client = connect(trail.database.url()).await;
    client
        .execute(
            "SELECT pg_drop_replication_slot($1)",
            &[&trail.database.name()],
        )
        .await
        .unwrap();
    for builder in [
        builder(&trail.database),
        builder(&trail.database).without_setup(),
    ] {
        let error = builder.start().await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::SlotLost { .. }),
            "{error}"
        );
    }
    let slots = client
        .query(
            "SELECT FROM pg_replication_slots WHERE database = current_database()",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(slots.len(), 0);
}

#[tokio::test]
async fn a_capture_that_ended_keeps_nobody_waiting() {
    let trail = Trail::start(TODOS).await;
    let (waited, ()) = tokio::join!(trail.capture.wait_for(Lsn::new(u64::MAX)), async {
        trail
            .sql("DROP PUBLICATION bemi; INSERT INTO todos (title) VALUES ('x')")
            .await;
        // Since PostgreSQL 18 only a new connection notices.
        trail
            .sql(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
                 WHERE slot_name = current_database()",
            )
            .await;
    });
    assert!(matches!(waited.unwrap_err().kind(), ErrorKind::Stopped));
    let State::Failed(why) = trail.capture.status().state else {
        panic!("it goes on")
    };
    assert_eq!(why, "the publication \"bemi\" does not exist");
    assert_eq!(
        json!(trail.capture.finished().await.unwrap_err().to_string()),
        json!(why)
    );
}
