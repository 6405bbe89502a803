use std::future::{Ready, ready};

use actix_web::dev::{Payload, Service};
use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, FromRequest, HttpRequest, HttpResponse, web};
use bemi_actix::{MissingMiddleware, RequestContext, RequestContextExt};
use bemi_diesel::current_context;
use serde_json::json;

use crate::support::{echo, endpoint_only, get};

#[actix_web::test]
async fn the_extractor_is_the_ambient_context() {
    async fn handler(context: RequestContext) -> HttpResponse {
        context.set("reason", "report");
        HttpResponse::Ok().json([current_context(), Some(context.get())])
    }

    let app = App::new()
        .wrap(endpoint_only())
        .route("/a", web::get().to(handler));
    let expected = json!({"endpoint": "/a", "reason": "report"});
    assert_eq!(get!(app, "/a"), json!([expected, expected]));
}

#[actix_web::test]
async fn a_spawned_task_takes_it_along() {
    async fn handler(RequestContext(context): RequestContext) -> HttpResponse {
        let alone = actix_web::rt::spawn(async { current_context() });
        let along = actix_web::rt::spawn(context.scope(async { current_context() }));
        let seen = futures_util::future::join(alone, along).await;
        HttpResponse::Ok().json([seen.0.expect("no panic"), seen.1.expect("no panic")])
    }

    let app = App::new()
        .wrap(endpoint_only())
        .route("/a", web::get().to(handler));
    assert_eq!(get!(app, "/a"), json!([null, {"endpoint": "/a"}]));
}

#[actix_web::test]
async fn extractors_and_middleware_reach_it_from_the_request() {
    struct User;

    impl FromRequest for User {
        type Error = MissingMiddleware;
        type Future = Ready<Result<Self, MissingMiddleware>>;

        fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
            ready(request.request_context().map(|context| {
                context.set("user_id", 7);
                User
            }))
        }
    }

    let app = App::new()
        .wrap_fn(|request, service| {
            let context = request.request_context().expect("inside the middleware");
            context.set("host", request.connection_info().host());
            service.call(request)
        })
        .wrap(endpoint_only())
        .route("/a", web::get().to(|_: User| echo()));
    assert_eq!(
        get!(app, "/a"),
        json!({"endpoint": "/a", "host": "localhost:8080", "user_id": 7})
    );
}

#[actix_web::test]
async fn without_the_middleware_the_error_names_it() {
    let app = init_service(App::new().route("/a", web::get().to(|_: RequestContext| echo()))).await;
    let response = call_service(&app, TestRequest::with_uri("/a").to_request()).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        read_body(response).await,
        "this request has no bemi context: wrap its app or scope in `bemi_actix::BemiMiddleware`"
    );
}

#[actix_web::test]
async fn the_next_request_has_a_context_of_its_own() {
    // actix-web recycles requests, and their extensions with them.
    let app = init_service(
        App::new()
            .service(
                web::scope("/in")
                    .wrap(endpoint_only())
                    .route("", web::get().to(|_: RequestContext| echo())),
            )
            .route("/out", web::get().to(|_: RequestContext| echo())),
    )
    .await;
    for _ in 0..3 {
        let inside = call_service(&app, TestRequest::with_uri("/in").to_request()).await;
        assert_eq!(read_body(inside).await, r#"{"endpoint":"/in"}"#);
        let outside = call_service(&app, TestRequest::with_uri("/out").to_request()).await;
        assert_eq!(outside.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
