//! What the middleware records by itself.

use actix_web::dev::Service;
use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
use actix_web::{App, HttpMessage, HttpResponse, web};
use bemi_actix::{BemiMiddleware, ContextSource, Member};
use bemi_diesel::{Context, current_context, set_context};
use serde_json::{Value, json};

use crate::support::{echo, endpoint_and, endpoint_only, get};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The answer to `request`, and its header `x-request-id`.
macro_rules! answer {
    ($app:expr, $request:expr) => {{
        let response = call_service($app, $request.to_request()).await;
        let id = response
            .headers()
            .get("x-request-id")
            .map(|id| id.to_str().expect("ASCII").to_owned());
        let context: Value = read_body_json(response).await;
        (context, id)
    }};
}

#[actix_web::test]
async fn the_defaults_are_method_endpoint_route_request_id_and_trace() {
    let app = init_service(
        App::new()
            .service(web::scope("/v1").route("/todos/{id}", web::put().to(echo)))
            .default_service(web::to(echo))
            .wrap(BemiMiddleware::default()),
    )
    .await;
    let request = TestRequest::put()
        .uri("/v1/todos/7?page=2")
        .insert_header(("x-request-id", "of-the-proxy"))
        .insert_header(("traceparent", TRACEPARENT));
    let (context, id) = answer!(&app, request);
    assert_eq!(
        context,
        json!({
            "method": "PUT",
            "endpoint": "/v1/todos/7",
            "route": "/v1/todos/{id}",
            "request_id": "of-the-proxy",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "span_id": "00f067aa0ba902b7",
        })
    );
    assert_eq!(id.as_deref(), Some("of-the-proxy"));

    let request = TestRequest::with_uri("/nowhere").insert_header(("traceparent", "00-x"));
    let (context, id) = answer!(&app, request);
    let id = id.expect("a new one");
    assert_eq!(
        context,
        json!({"method": "GET", "endpoint": "/nowhere", "request_id": id})
    );
    assert_eq!(
        uuid::Uuid::parse_str(&id)
            .expect("a UUID")
            .get_version_num(),
        7
    );
}

#[actix_web::test]
async fn an_identifier_that_is_none_is_replaced() {
    let app = init_service(
        App::new()
            .route("/", web::get().to(echo))
            .wrap(BemiMiddleware::default()),
    )
    .await;
    let longest = "x".repeat(128);
    for (sent, taken) in [
        ("a", true),
        (longest.as_str(), true),
        (&format!("{longest}x"), false),
        ("", false),
        ("a b", false),
        ("\u{e9}", false),
    ] {
        let (context, id) = answer!(
            &app,
            TestRequest::get().insert_header(("x-request-id", sent))
        );
        let id = id.expect("one");
        assert_eq!(context["request_id"], json!(id));
        assert_eq!(id == sent, taken, "{sent}");
        assert_eq!(uuid::Uuid::parse_str(&id).is_ok(), !taken, "{sent}");
    }
}

#[actix_web::test]
async fn the_response_keeps_an_identifier_of_its_own() {
    let app = init_service(
        App::new()
            .route(
                "/",
                web::get().to(async || {
                    HttpResponse::Ok()
                        .insert_header(("x-request-id", "own"))
                        .json(current_context())
                }),
            )
            .wrap(BemiMiddleware::default()),
    )
    .await;
    let (_, id) = answer!(
        &app,
        TestRequest::get().insert_header(("x-request-id", "sent"))
    );
    assert_eq!(id.as_deref(), Some("own"));
}

#[actix_web::test]
async fn errors_of_handlers_have_the_identifier_too() {
    let app = init_service(
        App::new()
            .route(
                "/",
                web::get().to(async || {
                    set_context("seen", true);
                    Err::<HttpResponse, _>(actix_web::error::ErrorConflict("taken"))
                }),
            )
            .wrap(BemiMiddleware::default()),
    )
    .await;
    let request = TestRequest::get().insert_header(("x-request-id", "sent"));
    let response = call_service(&app, request.to_request()).await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    assert_eq!(response.headers().get("x-request-id").expect("one"), "sent");
}

#[actix_web::test]
async fn members_are_chosen() {
    let chosen = |members: &[Member]| {
        App::new()
            .route("/a", web::get().to(echo))
            .wrap(BemiMiddleware::builder().members(members.to_vec()).build())
    };
    let app = init_service(chosen(&[])).await;
    let request = TestRequest::with_uri("/a").insert_header(("x-request-id", "sent"));
    assert_eq!(answer!(&app, request), (json!({}), None));
    assert_eq!(
        get!(
            chosen(&[Member::Query, Member::Method]),
            "/a?b=1&c=&b=2&%C3%A9=%20+&token=x"
        ),
        json!({"method": "GET", "query": {"b": ["1", "2"], "c": "", "é": "  ", "token": "[redacted]"}})
    );
    assert_eq!(get!(chosen(&[Member::Query]), "/a?"), json!({}));
}

#[actix_web::test]
async fn an_inner_middleware_is_of_the_same_request() {
    let app = init_service(
        App::new()
            .service(
                web::scope("/admin")
                    .wrap(BemiMiddleware::new(|_| {
                        Context::new().with("area", "admin")
                    }))
                    .route("/a", web::get().to(echo)),
            )
            .wrap(BemiMiddleware::default()),
    )
    .await;
    let (context, id) = answer!(&app, TestRequest::with_uri("/admin/a"));
    assert_eq!(
        context,
        json!({
            "method": "GET",
            "endpoint": "/admin/a",
            "route": "/admin/a",
            "request_id": id.expect("one"),
            "area": "admin",
        })
    );
}

#[actix_web::test]
async fn a_source_can_wait_and_ask_extractors() {
    struct Author;

    impl ContextSource for Author {
        async fn context(&self, request: &mut actix_web::dev::ServiceRequest) -> Context {
            tokio::task::yield_now().await;
            set_context("in_scope", true);
            let user = request
                .extract::<web::ReqData<i32>>()
                .await
                .expect("a user");
            Context::new()
                .with("user_id", *user)
                .with("password", "hunter2")
        }
    }

    let app = App::new()
        .wrap(BemiMiddleware::builder().members([]).source(Author).build())
        .wrap_fn(|request, service| {
            request.extensions_mut().insert(7_i32);
            service.call(request)
        })
        .route("/a", web::get().to(echo));
    assert_eq!(
        get!(app, "/a"),
        json!({"in_scope": true, "user_id": 7, "password": "[redacted]"})
    );
}

#[actix_web::test]
async fn secrets_are_redacted_whoever_sets_them() {
    #[bemi_diesel::bemi_context(login = json!({"user": "ann", "deep": [{"newPassword": "x"}]}))]
    async fn handler() -> HttpResponse {
        set_context("url", "/reset?token=abc&page=2");
        set_context("IBAN", "DE…");
        let seen = bemi_actix::block(|| {
            set_context("client_secret", 1);
            current_context()
        });
        HttpResponse::Ok().json(seen.await.expect("no panic"))
    }

    let app = |middleware| {
        App::new()
            .wrap(middleware)
            .route("/a", web::get().to(handler))
    };
    let redacting = BemiMiddleware::builder().members([]).redact("iban").build();
    assert_eq!(
        get!(app(redacting), "/a"),
        json!({
            "login": {"user": "ann", "deep": [{"newPassword": "[redacted]"}]},
            "url": "/reset?token=[redacted]&page=2",
            "IBAN": "[redacted]",
            "client_secret": "[redacted]",
        })
    );
    let open = BemiMiddleware::builder()
        .members([])
        .redaction(bemi_diesel::Redaction::none())
        .build();
    assert_eq!(get!(app(open), "/a")["client_secret"], json!(1));
}

#[actix_web::test]
async fn the_closure_of_new_adds_to_the_defaults() {
    let app = App::new()
        .wrap(BemiMiddleware::new(|_| {
            Context::new().with("request_id", "mine")
        }))
        .route("/a", web::get().to(echo));
    assert_eq!(
        get!(app, "/a"),
        json!({"method": "GET", "endpoint": "/a", "route": "/a", "request_id": "mine"})
    );
    // The tests' own short forms.
    let app = App::new()
        .wrap(endpoint_and(|_| Context::new().with("a", 1)))
        .wrap(endpoint_only())
        .route("/a", web::get().to(echo));
    assert_eq!(get!(app, "/a"), json!({"endpoint": "/a", "a": 1}));
}

#[cfg(feature = "opentelemetry")]
#[actix_web::test]
async fn the_current_span_is_the_place_in_the_trace() {
    use opentelemetry::trace::{TraceContextExt, TracerProvider};
    use tracing::Instrument;
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    use tracing_subscriber::layer::SubscriberExt;

    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("tests"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let app = init_service(
        App::new()
            .route("/", web::get().to(echo))
            .wrap(BemiMiddleware::builder().members([Member::Trace]).build())
            .wrap_fn(|request, service| {
                let span = tracing::info_span!("request");
                let entered = span.enter();
                let response = service.call(request);
                drop(entered);
                let place = span.context().span().span_context().clone();
                async move {
                    let mut response = response.instrument(span).await?;
                    for (name, id) in [
                        ("trace", place.trace_id().to_string()),
                        ("span", place.span_id().to_string()),
                    ] {
                        let name = actix_web::http::header::HeaderName::from_static(name);
                        response
                            .headers_mut()
                            .insert(name, id.parse().expect("ASCII"));
                    }
                    Ok(response)
                }
            }),
    )
    .await;
    let request = TestRequest::get().insert_header(("traceparent", TRACEPARENT));
    let response = call_service(&app, request.to_request()).await;
    let [trace, span] = ["trace", "span"].map(|name| {
        let id = response.headers().get(name).expect("one");
        id.to_str().expect("ASCII").to_owned()
    });
    assert_eq!((trace.len(), span.len()), (32, 16));
    let expected = json!({"trace_id": trace, "span_id": span});
    assert_eq!(read_body_json::<Value, _>(response).await, expected);
}
