use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::pin::pin;

use actix_web::dev::{Service, ServiceResponse};
use actix_web::error::ErrorConflict;
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, HttpMessage, HttpResponse, web};
use bemi_diesel::{Context, current_context, scope, set_context, sync_scope};
use futures_util::FutureExt;
use serde_json::json;

use crate::support::{echo, endpoint_and, endpoint_only, get, query};

#[actix_web::test]
async fn the_path_is_the_endpoint() {
    let app = App::new()
        .wrap(endpoint_only())
        .route("/a/{b}", web::get().to(echo));
    assert_eq!(get!(app, "/a/b?secret=c"), json!({"endpoint": "/a/b"}));
}

#[actix_web::test]
async fn the_closure_adds_and_wins() {
    let app = App::new()
        .wrap(endpoint_and(|request| {
            Context::new()
                .with("endpoint", "mine")
                .with("method", request.method().as_str())
        }))
        .route("/a", web::get().to(echo));
    assert_eq!(
        get!(app, "/a"),
        json!({"endpoint": "mine", "method": "GET"})
    );
}

#[actix_web::test]
async fn the_closure_reads_what_outer_middleware_left() {
    let app = App::new()
        .wrap(endpoint_and(|request| {
            Context::new().with("user_id", request.extensions().get::<i32>())
        }))
        .wrap_fn(|request, service| {
            request.extensions_mut().insert(7_i32);
            service.call(request)
        })
        .route("/a", web::get().to(echo));
    assert_eq!(get!(app, "/a"), json!({"endpoint": "/a", "user_id": 7}));
}

#[actix_web::test]
async fn inner_middleware_runs_in_the_context() {
    let app = App::new()
        .wrap_fn(|request, service| {
            set_context("called", true);
            let response = service.call(request);
            async {
                set_context("polled", true);
                response.await
            }
        })
        .wrap(endpoint_only())
        .route("/a", web::get().to(echo));
    assert_eq!(
        get!(app, "/a"),
        json!({"endpoint": "/a", "called": true, "polled": true})
    );
}

#[actix_web::test]
async fn middleware_nests_like_scopes() {
    let app = App::new()
        .service(
            web::scope("/admin")
                .wrap(endpoint_and(|_| {
                    Context::new().with("area", "admin").with("b", "inner")
                }))
                .route("/a", web::get().to(echo)),
        )
        .wrap(endpoint_and(|_| {
            Context::new().with("endpoint", "mine").with("b", "outer")
        }));
    assert_eq!(
        get!(app, "/admin/a"),
        json!({"endpoint": "mine", "area": "admin", "b": "inner"})
    );
}

#[actix_web::test]
async fn scopes_inside_a_handler_end_with_it() {
    async fn handler() -> HttpResponse {
        let inner = scope(Context::new().with("step", 1), async {
            set_context("set", 2);
            sync_scope(Context::new().with("deeper", 3), current_context)
        })
        .await;
        HttpResponse::Ok().json([inner, current_context()])
    }

    let app = App::new()
        .wrap(endpoint_only())
        .route("/a", web::get().to(handler));
    assert_eq!(
        get!(app, "/a"),
        json!([
            {"endpoint": "/a", "step": 1, "set": 2, "deeper": 3},
            {"endpoint": "/a"},
        ])
    );
}

#[actix_web::test]
async fn an_error_of_the_inner_service_passes_unchanged() {
    let app = init_service(
        App::new()
            .wrap_fn(|_, _| ready(Err::<ServiceResponse, _>(ErrorConflict("taken"))))
            .wrap(endpoint_only())
            .route("/a", web::get().to(echo)),
    )
    .await;
    let error = app
        .call(TestRequest::with_uri("/a").to_request())
        .await
        .expect_err("the inner middleware refuses");
    assert_eq!(error.to_string(), "taken");
    assert_eq!(current_context(), None);
}

#[actix_web::test]
async fn interleaved_requests_keep_their_own() {
    async fn handler() -> HttpResponse {
        for step in 0..3 {
            set_context("step", step);
            tokio::task::yield_now().await;
        }
        // Two futures of one request share its context.
        futures_util::future::join(async { set_context("left", 1) }, async {
            tokio::task::yield_now().await;
            set_context("right", 2)
        })
        .await;
        echo().await
    }

    let app = init_service(
        App::new()
            .wrap(endpoint_and(query))
            .route("/a", web::get().to(handler)),
    )
    .await;
    let requests = (0..200).map(|n| {
        let request = TestRequest::with_uri(&format!("/a?{n}")).to_request();
        app.call(request).map(move |response| (n, response))
    });
    for (n, response) in futures_util::future::join_all(requests).await {
        let response = response.expect("the handler answers");
        let answer: serde_json::Value = actix_web::test::read_body_json(response).await;
        assert_eq!(
            answer,
            json!({"endpoint": "/a", "query": n.to_string(), "step": 2, "left": 1, "right": 2})
        );
    }
    assert_eq!(current_context(), None);
}

#[actix_web::test]
async fn a_panic_leaves_no_context_on_the_thread() {
    async fn handler() -> HttpResponse {
        panic!("on purpose")
    }

    let app = init_service(
        App::new()
            .wrap(endpoint_only())
            .route("/panics", web::get().to(handler))
            .route("/a", web::get().to(echo)),
    )
    .await;
    let request = TestRequest::with_uri("/panics").to_request();
    let panicked = AssertUnwindSafe(app.call(request)).catch_unwind().await;
    assert!(panicked.is_err());
    assert_eq!(current_context(), None);
}

#[actix_web::test]
async fn a_dropped_request_leaves_no_context_on_the_thread() {
    let app = init_service(
        App::new()
            .wrap(endpoint_only())
            .route("/a", web::get().to(std::future::pending::<HttpResponse>)),
    )
    .await;
    {
        let mut response = pin!(app.call(TestRequest::with_uri("/a").to_request()));
        assert!(response.as_mut().now_or_never().is_none());
        assert_eq!(current_context(), None);
    }
    assert_eq!(current_context(), None);
}
