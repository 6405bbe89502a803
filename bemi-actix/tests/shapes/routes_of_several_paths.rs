//! `#[routes]`, above and below.

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpResponse, routes, test::TestRequest};
use bemi_diesel::bemi_context;

#[routes]
#[get("/one")]
#[post("/two")]
#[bemi_context("either")]
async fn below() -> HttpResponse {
    support::context()
}

#[bemi_context("either")]
#[routes]
#[get("/one")]
#[post("/two")]
async fn above() -> HttpResponse {
    support::context()
}

fn main() {
    support::check(
        below,
        TestRequest::get().uri("/one"),
        support::json!({"either": true}),
    );
    support::check(
        below,
        TestRequest::post().uri("/two"),
        support::json!({"either": true}),
    );
    support::check(
        above,
        TestRequest::post().uri("/two"),
        support::json!({"either": true}),
    );
}
