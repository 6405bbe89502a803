//! `#[route]`, above and below.

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpRequest, HttpResponse, route, test::TestRequest};
use bemi_diesel::bemi_context;

#[route("/", method = "GET", method = "PUT")]
#[bemi_context(verb = request.method().as_str())]
async fn below(request: HttpRequest) -> HttpResponse {
    support::context()
}

#[bemi_context(verb = request.method().as_str())]
#[route("/", method = "GET", method = "PUT")]
async fn above(request: HttpRequest) -> HttpResponse {
    support::context()
}

fn main() {
    support::check(
        below,
        TestRequest::get().uri("/"),
        support::json!({"verb": "GET"}),
    );
    support::check(
        below,
        TestRequest::put().uri("/"),
        support::json!({"verb": "PUT"}),
    );
    support::check(
        above,
        TestRequest::put().uri("/"),
        support::json!({"verb": "PUT"}),
    );
}
