use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use actix_web::body::{BodySize, MessageBody, to_bytes};
use actix_web::dev::Service;
use actix_web::test::{TestRequest, init_service};
use actix_web::web::Bytes;
use actix_web::{App, HttpResponse, web};
use bemi_diesel::{current_context, set_context};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};

use crate::support::{echo, endpoint_and, endpoint_only, query};

/// Three lines, each the ambient context when it was made, with a pause before each.
fn lines() -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::iter(0..3).then(|line| async move {
        tokio::task::yield_now().await;
        set_context("line", line);
        Ok(format!("{}\n", json!(current_context())).into())
    })
}

async fn streaming() -> HttpResponse {
    HttpResponse::Ok().streaming(lines())
}

#[actix_web::test]
async fn interleaved_bodies_keep_their_own() {
    let app = init_service(
        App::new()
            .wrap(endpoint_and(query))
            .route("/a", web::get().to(streaming)),
    )
    .await;
    let mut bodies = Vec::new();
    for n in 0..20 {
        let request = TestRequest::with_uri(&format!("/a?{n}")).to_request();
        let response = app.call(request).await.expect("the handler answers");
        assert_eq!(response.response().body().size(), BodySize::Stream);
        bodies.push(to_bytes(response.into_body()));
    }
    let bodies = futures_util::future::join_all(bodies).await;
    for (n, body) in bodies.into_iter().enumerate() {
        let body = body.expect("the stream does not fail");
        let lines: Vec<Value> = serde_json::Deserializer::from_slice(&body)
            .into_iter()
            .collect::<Result<_, _>>()
            .expect("lines of JSON");
        let line = |line| json!({"endpoint": "/a", "query": n.to_string(), "line": line});
        assert_eq!(lines, [line(0), line(1), line(2)]);
    }
    assert_eq!(current_context(), None);
}

#[actix_web::test]
async fn a_complete_body_stays_complete() {
    let app = init_service(
        App::new()
            .wrap(endpoint_only())
            .route("/a", web::get().to(echo)),
    )
    .await;
    let response = app
        .call(TestRequest::with_uri("/a").to_request())
        .await
        .expect("the handler answers");
    let body = response.into_body();
    let expected = Bytes::from(json!({"endpoint": "/a"}).to_string());
    assert_eq!(body.size(), BodySize::Sized(expected.len() as u64));
    assert_eq!(body.try_into_bytes().ok(), Some(expected));
}

#[actix_web::test]
async fn a_failing_body_fails_with_its_own_error() {
    /// Fails at its first poll, and says in which context.
    struct Failing;

    impl MessageBody for Failing {
        type Error = Box<dyn std::error::Error>;

        fn size(&self) -> BodySize {
            BodySize::Sized(1)
        }

        fn poll_next(
            self: Pin<&mut Self>,
            _cx: &mut TaskContext<'_>,
        ) -> Poll<Option<Result<Bytes, Self::Error>>> {
            Poll::Ready(Some(Err(json!(current_context()).to_string().into())))
        }
    }

    let app = init_service(App::new().wrap(endpoint_only()).route(
        "/a",
        web::get().to(async || HttpResponse::Ok().body(Failing)),
    ))
    .await;
    let response = app
        .call(TestRequest::with_uri("/a").to_request())
        .await
        .expect("the handler answers");
    let body = response.into_body();
    assert_eq!(body.size(), BodySize::Sized(1));
    let error = to_bytes(body).await.expect_err("the body fails");
    assert_eq!(error.to_string(), r#"{"endpoint":"/a"}"#);
}
