//! The bodies of requests: recorded as the handler reads them, and the handler's all the same.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
use actix_web::web::{self, Bytes, Form, Json, JsonConfig};
use actix_web::{App, HttpResponse};
use bemi_actix::{BemiMiddleware, BemiMiddlewareBuilder};
use bemi_diesel::current_context;
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

use crate::support::echo;

const LIMIT: usize = 200;

fn recording() -> BemiMiddlewareBuilder {
    BemiMiddleware::builder().members([]).body(LIMIT)
}

/// The answer of `handler` behind the middleware to a `POST`.
macro_rules! post {
    ($handler:expr, $request:expr) => {{
        let app = init_service(
            App::new()
                .app_data(JsonConfig::default().limit(16 << 20))
                .wrap(recording().build())
                .route("/", web::post().to($handler)),
        )
        .await;
        let response = call_service(&app, $request.to_request()).await;
        let answer: Value = read_body_json(response).await;
        answer
    }};
}

async fn json_body(Json(body): Json<Value>) -> HttpResponse {
    HttpResponse::Ok().json((body.to_string().len(), current_context()))
}

#[actix_web::test]
async fn json_is_recorded_and_redacted() {
    let body = json!({"user": {"login": {"name": "ann", "password": "hunter2"}}, "tags": ["a"]});
    let answer = post!(json_body, TestRequest::post().set_json(&body));
    let recorded =
        json!({"user": {"login": {"name": "ann", "password": "[redacted]"}}, "tags": ["a"]});
    assert_eq!(answer, json!([body.to_string().len(), {"body": recorded}]));
}

#[actix_web::test]
async fn of_five_megabytes_the_handler_gets_all_and_the_context_the_beginning() {
    let body = json!({
        "account": {"user": {"login": {"name": "ann", "password": "hunter2"}}},
        "padding": "x".repeat(5 << 20),
        "token": "abc",
    });
    let answer = post!(json_body, TestRequest::post().set_json(&body));
    let recorded =
        json!({"account": {"user": {"login": {"name": "ann", "password": "[redacted]"}}}});
    assert_eq!(
        answer,
        json!([body.to_string().len(), {"body": recorded, "body_cut": true}])
    );
}

#[actix_web::test]
async fn a_secret_on_the_edge_stays_outside() {
    // The password reaches over the limit, its own key not.
    let start = r#"{"a": {"b": {"password": "#;
    let body = format!("{start}\"{}\"}}}}}}", "s".repeat(LIMIT - start.len()));
    let request = TestRequest::post()
        .insert_header(("content-type", "application/vnd.shop+json; charset=utf-8"))
        .set_payload(body.clone());
    let answer = post!(
        async |body: Bytes| HttpResponse::Ok().json((body.len(), current_context())),
        request
    );
    assert_eq!(
        answer,
        json!([body.len(), {"body": {"a": {"b": {}}}, "body_cut": true}])
    );
}

#[actix_web::test]
async fn forms_are_recorded_as_texts() {
    async fn handler(Form(form): Form<Vec<(String, String)>>) -> HttpResponse {
        HttpResponse::Ok().json((form.len(), current_context()))
    }

    let form = [
        ("name", "ann é"),
        ("user[password]", "hunter2"),
        ("tag", "a"),
        ("tag", "b"),
    ];
    let answer = post!(handler, TestRequest::post().set_form(form));
    let recorded = json!({"name": "ann é", "user[password]": "[redacted]", "tag": ["a", "b"]});
    assert_eq!(answer, json!([4, {"body": recorded}]));

    let long = "x".repeat(LIMIT);
    let answer = post!(
        handler,
        TestRequest::post().set_form([("name", "ann"), ("a", &*long)])
    );
    assert_eq!(
        answer,
        json!([2, {"body": {"name": "ann"}, "body_cut": true}])
    );
}

#[actix_web::test]
async fn what_is_not_read_not_understood_or_not_asked_for_is_not_recorded() {
    let typed = |content_type: &'static str, body: &'static [u8]| {
        TestRequest::post()
            .insert_header(("content-type", content_type))
            .set_payload(body)
    };
    let whole = async |body: Bytes| HttpResponse::Ok().json((body.len(), current_context()));
    let json = typed("application/json", b"{\"a\":1}");
    assert_eq!(post!(echo, json), json!({}));
    for (content_type, body) in [
        ("text/plain", &b"{\"a\":1}"[..]),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("application/json", b"{\"a\":"),
        ("application/json", b"\xff"),
        ("application/json", b""),
    ] {
        let answer = post!(whole, typed(content_type, body));
        assert_eq!(answer, json!([body.len(), {}]), "{content_type}");
    }
    let compressed = typed("application/json", b"{\"a\":1}");
    let compressed = compressed.insert_header(("content-encoding", "gzip"));
    let raw = async |mut payload: web::Payload| {
        while payload.next().await.is_some() {}
        echo().await
    };
    assert_eq!(post!(raw, compressed), json!({}));
    let app = init_service(
        App::new()
            .wrap(BemiMiddleware::builder().members([]).build())
            .route("/", web::post().to(json_body)),
    )
    .await;
    let request = TestRequest::post().set_json(json!({"a": 1}));
    let response = call_service(&app, request.to_request()).await;
    assert_eq!(read_body_json::<Value, _>(response).await, json!([7, {}]));
}

/// A body that counts how often it has been asked.
struct Counted {
    asked: Rc<Cell<usize>>,
    chunks: usize,
}

impl Stream for Counted {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let asked = self.asked.get();
        self.asked.set(asked + 1);
        Poll::Ready(match asked {
            0 => Some(Ok(Bytes::from_static(b"["))),
            last if last == self.chunks => Some(Err(PayloadError::Incomplete(None))),
            _ => Some(Ok(Bytes::from_static(b"1, "))),
        })
    }
}

#[actix_web::test]
async fn an_upload_is_read_no_faster_than_by_its_handler() {
    let asked = Rc::new(Cell::new(0));
    let (inner, outer) = (Rc::clone(&asked), Rc::clone(&asked));
    let app = init_service(
        App::new()
            .route(
                "/",
                web::post().to(move |mut payload: web::Payload| {
                    let asked = Rc::clone(&inner);
                    async move {
                        assert_eq!(asked.get(), 0, "nobody has read it before");
                        let mut seen = Vec::new();
                        while let Some(chunk) = payload.next().await {
                            seen.push((asked.get(), chunk.is_ok()));
                        }
                        HttpResponse::Ok().json((seen, current_context()))
                    }
                }),
            )
            .wrap(recording().build())
            .wrap_fn(move |mut request: ServiceRequest, service| {
                use actix_web::dev::Service;
                let body = Counted {
                    asked: Rc::clone(&outer),
                    chunks: 3,
                };
                request.set_payload(Payload::Stream {
                    payload: Box::pin(body.take(4)),
                });
                service.call(request)
            }),
    )
    .await;
    let request = TestRequest::post().insert_header(("content-type", "application/json"));
    let response = call_service(&app, request.to_request()).await;
    let answer: Value = read_body_json(response).await;
    // The body fails at the end: the handler sees its error, and nothing is recorded.
    let seen = json!([[1, true], [2, true], [3, true], [4, false]]);
    assert_eq!(answer, json!([seen, {}]));
}

#[actix_web::test]
async fn a_reader_that_counts_needs_no_end() {
    let app = init_service(
        App::new()
            .route(
                "/",
                web::post().to(async |mut payload: web::Payload| {
                    payload.next().await.expect("a chunk").expect("no error");
                    echo().await
                }),
            )
            .wrap(recording().build()),
    )
    .await;
    let request = TestRequest::post()
        .insert_header(("content-length", "7"))
        .set_json(json!({"a": 1}));
    let response = call_service(&app, request.to_request()).await;
    assert_eq!(
        read_body_json::<Value, _>(response).await,
        json!({"body": {"a": 1}})
    );
}
