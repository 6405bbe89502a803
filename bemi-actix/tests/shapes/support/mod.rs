//! What every shape needs: a request, and the context that its handler had.

#![allow(dead_code, unused_macros, unused_imports)]

use actix_web::HttpResponse;
use actix_web::dev::{HttpServiceFactory, Service};
use actix_web::test::{TestRequest, init_service, read_body};
use bemi_actix::BemiMiddleware;
pub use serde_json::json;

/// The answer of a handler: its context.
pub fn context() -> HttpResponse {
    HttpResponse::Ok().json(bemi_diesel::current_context())
}

/// Asserts what `service` answers to `request`.
pub fn check(
    service: impl HttpServiceFactory + 'static,
    request: TestRequest,
    expected: serde_json::Value,
) {
    actix_web::rt::System::new().block_on(async {
        let middleware = BemiMiddleware::new(|_| bemi_diesel::Context::new());
        let app = init_service(actix_web::App::new().wrap(middleware).service(service)).await;
        let request = request.to_request();
        let response = app.call(request).await.expect("an answer");
        let body = read_body(response).await;
        let mut answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        for default in ["endpoint", "method", "route", "request_id"] {
            answer.as_object_mut().expect("a context").remove(default);
        }
        assert_eq!(answer, expected);
    });
}
