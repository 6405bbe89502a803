//! What a capture tells of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, test};
use bemi_actix::CaptureHealth;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use serde_json::{Value, json};

use crate::support::{TODOS, Trail, log_end};

#[tokio::test]
async fn metrics() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().expect("the only one in this process");
    let trail = Trail::start(TODOS).await;
    trail
        .sql("INSERT INTO todos (title) VALUES ('a'), ('b')")
        .await;
    trail
        .sql("SELECT pg_logical_emit_message(true, '_bemi', 'no JSON'); DELETE FROM todos WHERE id = 1")
        .await;
    trail.caught_up().await;
    let slot = trail.database.name();
    let of_the_slot: BTreeMap<String, DebugValue> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .filter(|(key, ..)| key.key().labels().any(|label| label.value() == slot))
        .map(|(key, _, _, value)| (key.key().name().to_owned(), value))
        .collect();
    let counter = |name: &str| match of_the_slot.get(name) {
        Some(DebugValue::Counter(count)) => *count,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(counter("bemi_capture_changes_total"), 3);
    assert_eq!(counter("bemi_capture_transactions_total"), 2);
    assert_eq!(counter("bemi_capture_rejected_contexts_total"), 1);
    let batches = counter("bemi_capture_batches_total");
    let status = trail.capture.status();
    assert_eq!((status.batches, status.changes), (batches, 3));
    for name in ["bemi_capture_store_seconds", "bemi_capture_delay_seconds"] {
        match of_the_slot.get(name) {
            Some(DebugValue::Histogram(values)) => assert_eq!(values.len() as u64, batches),
            other => panic!("{name}: {other:?}"),
        }
    }
    for name in ["bemi_capture_lag_bytes", "bemi_capture_retained_bytes"] {
        assert!(
            matches!(of_the_slot.get(name), Some(DebugValue::Gauge(_))),
            "{name}"
        );
    }
}

/// The answer to a health check.
async fn ask(health: &CaptureHealth) -> (StatusCode, Value) {
    let app = App::new().route("/health", health.clone().route());
    let service = test::init_service(app).await;
    let request = test::TestRequest::get().uri("/health").to_request();
    let answer = test::call_service(&service, request).await;
    (answer.status(), test::read_body_json(answer).await)
}

#[actix_web::test]
async fn a_destination_that_takes_nothing_is_seen() {
    let trail = Trail::start(TODOS).await;
    trail.caught_up().await;
    let mut other = trail.connect().await;
    let lock = other.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE changes").await.unwrap();
    let mut observer = trail.capture.observer();
    trail.sql("INSERT INTO todos (title) VALUES ('a')").await;
    let end = log_end(&trail.client).await;
    let health = CaptureHealth::new(observer.clone());
    let behind = async {
        while observer.status().lag_bytes < Some(1) || observer.status().captured_lsn >= end {
            assert!(observer.changed().await);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), behind)
        .await
        .unwrap();
    assert_eq!(ask(&health).await.0, StatusCode::OK);
    let (code, answer) = ask(&health.max_lag_bytes(0)).await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    lock.commit().await.unwrap();
    assert_eq!(trail.changes().await.len(), 1);
}

#[actix_web::test]
async fn health() {
    let trail = Trail::start(TODOS).await;
    let observer = trail.capture.observer();
    let health = CaptureHealth::new(observer.clone());
    trail
        .sql("INSERT INTO todos (title) VALUES ('secret')")
        .await;
    trail.caught_up().await;
    let (code, answer) = ask(&health).await;
    assert_eq!(
        (code, &answer["state"]),
        (StatusCode::OK, &json!("streaming"))
    );
    assert_eq!(
        (
            &answer["healthy"],
            &answer["changes"],
            &answer["reconnects"]
        ),
        (&json!(true), &json!(1), &json!(0))
    );
    assert!(
        answer["retained_bytes"].is_u64() && answer["delay_seconds"].is_f64(),
        "{answer}"
    );
    assert!(!answer.to_string().contains("secret"));
    let strict = health.clone().max_lag_bytes(u64::MAX);
    assert_eq!(ask(&strict).await.0, StatusCode::OK);
    let Trail { capture, .. } = trail;
    capture.shutdown().await.unwrap();
    let (code, answer) = ask(&health).await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (&answer["healthy"], &answer["state"]),
        (&json!(false), &json!("stopped"))
    );
}
