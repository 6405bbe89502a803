//! A form, the request itself, and the whole of an argument.

#[path = "support/mod.rs"]
mod support;

use actix_web::web::{Form, ReqData};
use actix_web::{HttpRequest, HttpResponse, post, test::TestRequest};
use bemi_diesel::bemi_context;

#[derive(serde::Deserialize, serde::Serialize)]
struct Login {
    user: String,
    password: String,
}

#[post("/")]
#[bemi_context(
    login = *login,
    agent = request.headers().get("user-agent").and_then(|agent| agent.to_str().ok()),
    missing = session.is_none(),
    skip(login.password),
)]
async fn handler(
    login: Form<Login>,
    request: HttpRequest,
    session: Option<ReqData<u8>>,
) -> HttpResponse {
    support::context()
}

fn main() {
    let request = TestRequest::post()
        .uri("/")
        .insert_header(("user-agent", "curl"))
        .set_form([("user", "ann"), ("password", "hunter2")]);
    let expected = support::json!({"login": {"user": "ann"}, "agent": "curl", "missing": true});
    support::check(handler, request, expected);
}
