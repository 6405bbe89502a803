//! A real server under requests that do everything at once: every change has its own request's context.

mod server;
mod shop;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::server::Server;
use self::shop::{Shop, WRITES};
use crate::support::Trail;

/// As many requests as are in flight at once.
const REQUESTS: usize = 500;
/// How often each of them writes.
const STEPS: usize = 5;

/// A test that waits for what never comes fails.
async fn in_time<T>(signal: impl Future<Output = T>) -> T {
    let in_time = tokio::time::timeout(Duration::from_secs(60), signal).await;
    in_time.expect("the signal comes")
}

/// Sends a request, and gives the connection on which its answer will come.
async fn send(address: &str, id: i32, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path}?of={id} HTTP/1.1\r\nhost: shop\r\nx-request-id: request-{id}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The answer's first line; empty where the server gives none.
async fn status(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A handler that panics takes the connection along.
    let _ends = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Every change as its row and its context, without the statement.
async fn changes(trail: &Trail) -> Vec<(Value, Value)> {
    trail
        .changes()
        .await
        .into_iter()
        .map(|change| {
            let mut context = change[5].clone();
            context.as_object_mut().unwrap().remove("SQL");
            (change[4].clone(), context)
        })
        .collect()
}

#[actix_web::test]
async fn every_change_of_500_requests_at_once_has_its_own_requests_context() {
    let trail = Trail::start(WRITES).await;
    let shop = Shop::new(&trail, 12, REQUESTS);
    let server = Server::start(&shop);
    let address: Arc<str> = server.address.as_str().into();
    let clients = (0..i32::try_from(REQUESTS).unwrap()).map(|id| {
        let address = Arc::clone(&address);
        actix_web::rt::spawn(async move {
            status(send(&address, id, &format!("/writes/{id}")).await).await
        })
    });
    let answers = in_time(futures_util::future::join_all(clients.collect::<Vec<_>>())).await;
    for answer in answers {
        assert_eq!(answer.unwrap(), "HTTP/1.1 200 OK");
    }
    server.stop().await;

    let changes = changes(&trail).await;
    assert_eq!(changes.len(), REQUESTS * STEPS);
    let mut kinds = HashSet::new();
    let mut requests = HashSet::new();
    for (row, context) in &changes {
        let id = &row["request"];
        let kind = row["kind"].as_str().unwrap();
        let mut expected = json!({
            "id": id,
            "request_id": format!("request-{id}"),
            "query": format!("of={id}"),
        });
        match kind {
            "nested" => expected["inner"] = json!(true),
            "streamed" => expected["returned"] = json!(true),
            _ => {}
        }
        assert_eq!(context, &expected, "{row}");
        kinds.insert(kind);
        requests.insert(id.as_i64());
    }
    assert_eq!(requests.len(), REQUESTS);
    let all = [
        "sync", "async", "blocking", "spawned", "local", "nested", "streamed",
    ];
    assert_eq!(kinds, HashSet::from(all));
    let workers: HashSet<&str> = changes
        .iter()
        .filter(|(row, _)| row["kind"] == "async")
        .map(|(row, _)| row["worker"].as_str().unwrap())
        .collect();
    assert_eq!(workers.len(), 2, "{workers:?}");
}

#[actix_web::test]
async fn requests_that_end_badly_leave_no_context_to_the_next() {
    let trail = Trail::start(WRITES).await;
    // One connection for each half, so that whatever is left behind on it meets the next request.
    let shop = Shop::new(&trail, 1, 1);
    let server = Server::start(&shop);
    let mut expected = Vec::new();
    let mut id = 0;
    for round in 0..8 {
        id += 1;
        match round % 4 {
            0 => {
                for in_transaction in [false, true] {
                    let path = format!("/{id}/panics/{in_transaction}");
                    let answer = status(send(&server.address, id, &path).await).await;
                    assert_eq!(answer, "", "the connection ends");
                }
                expected.push((id, "before a panic"));
            }
            1 => {
                let path = format!("/{id}/panics-in-the-pool");
                let answer = status(send(&server.address, id, &path).await).await;
                assert_eq!(answer, "HTTP/1.1 200 OK");
            }
            2 => {
                let stream = send(&server.address, id, &format!("/{id}/hangs")).await;
                in_time(shop.hanging.notified()).await;
                // Gone without a farewell.
                stream.set_zero_linger().unwrap();
                drop(stream);
                in_time(shop.cancelled.notified()).await;
            }
            _ => {
                let path = format!("/{id}/times-out");
                let answer = status(send(&server.address, id, &path).await).await;
                assert_eq!(answer, "HTTP/1.1 504 Gateway Timeout");
            }
        }
        // On both workers, one after the other.
        for _ in 0..2 {
            id += 1;
            let answer = status(send(&server.address, id, &format!("/{id}/writes")).await).await;
            assert_eq!(answer, "HTTP/1.1 200 OK");
            expected.extend([(id, "async"), (id, "async"), (id, "sync"), (id, "sync")]);
        }
    }
    server.stop().await;

    let changes = changes(&trail).await;
    let written: Vec<(i64, &str)> = changes
        .iter()
        .map(|(row, _)| {
            (
                row["request"].as_i64().unwrap(),
                row["kind"].as_str().unwrap(),
            )
        })
        .collect();
    let expected: Vec<(i64, &str)> = expected
        .into_iter()
        .map(|(id, kind)| (i64::from(id), kind))
        .collect();
    assert_eq!(written, expected);
    for (row, context) in &changes {
        let id = &row["request"];
        assert_eq!(
            context,
            &json!({"id": id, "request_id": format!("request-{id}"), "query": format!("of={id}")}),
            "{row}"
        );
    }
}
