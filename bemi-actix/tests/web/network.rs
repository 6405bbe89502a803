//! A real server on two workers, with all its requests in flight at once.

use std::collections::HashSet;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt::task::JoinHandle;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer, get};
use bemi_actix::BemiMiddleware;
use bemi_diesel::{Context, bemi_context, current_context, scope, set_context};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::{echo, endpoint_and, query};

/// As many requests as are in flight at once.
const CLIENTS: usize = 8;
const ROUNDS: usize = 25;

/// Every request waits here for all the others, so they do interleave.
type Meeting = Data<Barrier>;

#[get("/mixed/{id}")]
#[bemi_context(id = *id)]
async fn mixed(id: web::Path<usize>, meeting: Meeting) -> HttpResponse {
    let mut seen = Vec::new();
    meeting.wait().await;
    seen.push(current_context());

    let nested = scope(Context::new().with("nested", *id), async {
        meeting.wait().await;
        current_context()
    });
    let there = bemi_actix::block(|| {
        set_context("blocked", true);
        current_context()
    });
    let (nested, there) = futures_util::future::join(nested, there).await;
    seen.push(nested);
    seen.push(there.expect("the closure returns"));

    let body = stream::once(async move {
        meeting.wait().await;
        seen.push(current_context());
        Ok::<_, std::convert::Infallible>(Bytes::from(json!(seen).to_string()))
    });
    HttpResponse::Ok()
        .insert_header(("worker", format!("{:?}", std::thread::current().id())))
        .streaming(body)
}

#[get("/panic")]
async fn panics() -> HttpResponse {
    set_context("left", "behind");
    panic!("on purpose")
}

/// Answers with the length of what it has read, and its context.
async fn body(body: web::Json<Value>) -> HttpResponse {
    HttpResponse::Ok().json((body.to_string().len(), current_context()))
}

/// A server of two workers on a port of its own.
async fn start() -> (String, ServerHandle, JoinHandle<std::io::Result<()>>) {
    let meeting = Meeting::new(Barrier::new(CLIENTS));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Meeting::clone(&meeting))
            .wrap(endpoint_and(query))
            .service(mixed)
            .service(panics)
            .route("/echo", web::get().to(echo))
            .service(
                web::resource("/body")
                    .app_data(web::JsonConfig::default().limit(16 << 20))
                    .wrap(BemiMiddleware::builder().members([]).body(1024).build())
                    .route(web::post().to(body)),
            )
    })
    .workers(2)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .expect("a free port");
    let url = format!("http://{}", server.addrs()[0]);
    let server = server.run();
    let handle = server.handle();
    (url, handle, actix_web::rt::spawn(server))
}

/// A client with a connection of its own, which it keeps. A server that hangs fails the test.
fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .new_agent()
}

/// Runs `requests` against a server of its own, away from the thread that accepts connections.
async fn serve<R: Send + 'static>(requests: impl FnOnce(String) -> R + Send + 'static) -> R {
    let (url, handle, server) = start().await;
    let result = web::block(move || requests(url)).await;
    handle.stop(false).await;
    server
        .await
        .expect("the server does not panic")
        .expect("the server stops well");
    result.expect("the requests succeed")
}

fn answer(client: &ureq::Agent, url: &str) -> (Option<String>, Value) {
    let mut response = client.get(url).call().expect("the server answers");
    let worker = response.headers().get("worker");
    let worker = worker.map(|id| format!("{id:?}"));
    let body = response.body_mut().read_to_string().expect("a whole body");
    (worker, serde_json::from_str(&body).expect("JSON"))
}

#[actix_web::test]
async fn interleaved_requests_keep_their_own() {
    let workers = serve(|url| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let url = url.clone();
                std::thread::spawn(move || requests_of(number, &url))
            })
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("every answer is right"))
            .collect::<HashSet<_>>()
    })
    .await;
    assert_eq!(workers.len(), 2);
}

/// Sends a client's requests, checks the answers, and returns which workers gave them.
fn requests_of(number: usize, url: &str) -> HashSet<String> {
    let client = client();
    let mut workers = HashSet::new();
    for round in 0..ROUNDS {
        let id = number * ROUNDS + round;
        let (worker, seen) = answer(&client, &format!("{url}/mixed/{id}?of={number}"));
        workers.extend(worker);
        let endpoint = format!("/mixed/{id}");
        let query = format!("of={number}");
        let own = json!({"endpoint": endpoint, "query": query, "id": id});
        let nested = json!({"endpoint": endpoint, "query": query, "id": id, "nested": id});
        let blocked = json!({"endpoint": endpoint, "query": query, "id": id, "blocked": true});
        assert_eq!(seen, json!([own, nested, blocked, blocked]));
    }
    workers
}

#[actix_web::test]
async fn a_panic_leaves_nothing_to_the_next_request() {
    serve(|url| {
        for _ in 0..4 {
            // The worker drops the connection, and goes on.
            assert!(client().get(format!("{url}/panic")).call().is_err());
        }
        for n in 0..4 {
            let (_, seen) = answer(&client(), &format!("{url}/echo?{n}"));
            assert_eq!(seen, json!({"endpoint": "/echo", "query": n.to_string()}));
        }
    })
    .await;
}

#[actix_web::test]
async fn a_body_of_five_megabytes_reaches_its_handler_and_its_beginning_the_context() {
    serve(|url| {
        let sent = json!({
            "account": {"user": {"login": {"name": "ann", "password": "hunter2"}}},
            "padding": vec!["x".repeat(1 << 10); 5 << 10],
        });
        let client = client();
        // Twice over one connection: it is read to its end.
        for _ in 0..2 {
            let request = client.post(format!("{url}/body"));
            let request = request.header("content-type", "application/json");
            let mut response = request.send(sent.to_string()).expect("the server answers");
            let answer = response.body_mut().read_to_string().expect("a whole body");
            let answer: Value = serde_json::from_str(&answer).expect("JSON");
            let login = json!({"name": "ann", "password": "[redacted]"});
            assert_eq!(
                answer,
                json!([sent.to_string().len(), {
                    "endpoint": "/body",
                    "query": "",
                    "body": {"account": {"user": {"login": login}}, "padding": []},
                    "body_cut": true,
                }])
            );
        }
    })
    .await;
}
