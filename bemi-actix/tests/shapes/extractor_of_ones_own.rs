//! An extractor of one's own, taken apart, with a `mut` binding and an ignored one.

#[path = "support/mod.rs"]
mod support;

use std::future::{Ready, ready};

use actix_web::{
    Error, FromRequest, HttpRequest, HttpResponse, dev::Payload, get, test::TestRequest,
};
use bemi_diesel::bemi_context;

struct User {
    id: i32,
    name: String,
    _session: u8,
}

impl FromRequest for User {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(User {
            id: 7,
            name: "ann".into(),
            _session: 1,
        }))
    }
}

#[get("/")]
#[bemi_context(user.id = id, user.name = name)]
async fn handler(User { id, mut name, .. }: User, _: HttpRequest) -> HttpResponse {
    name.push('a');
    drop((id, name));
    support::context()
}

fn main() {
    let expected = support::json!({"user": {"id": 7, "name": "ann"}});
    support::check(handler, TestRequest::get().uri("/"), expected);
}
