use actix_web::HttpResponse;
use actix_web::dev::ServiceRequest;
use bemi_actix::{BemiMiddleware, ContextSource, Member};
use bemi_diesel::{Context, current_context};

/// Answers with the ambient context, `null` where there is none.
pub(crate) async fn echo() -> HttpResponse {
    HttpResponse::Ok().json(current_context())
}

/// The middleware with `endpoint` alone, so that a test can name the whole context.
pub(crate) fn endpoint_only() -> BemiMiddleware {
    BemiMiddleware::builder()
        .members([Member::Endpoint])
        .build()
}

/// The middleware with `endpoint` and what `context` adds.
pub(crate) fn endpoint_and<F>(context: F) -> BemiMiddleware<impl ContextSource>
where
    F: Fn(&ServiceRequest) -> Context + 'static,
{
    BemiMiddleware::builder()
        .members([Member::Endpoint])
        .context(context)
        .build()
}

/// What the middleware's closure is in these tests: the query names the request.
pub(crate) fn query(request: &ServiceRequest) -> Context {
    Context::new().with("query", request.query_string())
}

/// The JSON that the app answers to `GET uri`.
macro_rules! get {
    ($app:expr, $uri:expr) => {{
        let app = actix_web::test::init_service($app).await;
        let request = actix_web::test::TestRequest::get().uri($uri).to_request();
        let answer: serde_json::Value =
            actix_web::test::call_and_read_body_json(&app, request).await;
        answer
    }};
}
pub(crate) use get;
