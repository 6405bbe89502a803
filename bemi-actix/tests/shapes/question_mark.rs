//! `?` in the body, with an error of one's own, and in a value.

#[path = "support/mod.rs"]
mod support;

use std::fmt;

use actix_web::{HttpResponse, ResponseError, get, test::TestRequest, web::Path};
use bemi_diesel::{bemi_context, current_context};

#[derive(Debug)]
struct NotANumber;

impl fmt::Display for NotANumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}",
            serde_json::to_string(&current_context()).map_err(|_| fmt::Error)?
        )
    }
}

impl ResponseError for NotANumber {}

impl From<std::num::ParseIntError> for NotANumber {
    fn from(_: std::num::ParseIntError) -> Self {
        Self
    }
}

#[get("/body/{id}")]
#[bemi_context(text = text.as_str())]
async fn body(text: Path<String>) -> Result<HttpResponse, NotANumber> {
    let _id: i32 = text.parse()?;
    Ok(support::context())
}

#[get("/value/{id}")]
#[bemi_context(id = text.parse::<i32>()?)]
async fn value(text: Path<String>) -> Result<HttpResponse, NotANumber> {
    Ok(support::context())
}

fn main() {
    support::check(
        body,
        TestRequest::get().uri("/body/7"),
        support::json!({"text": "7"}),
    );
    support::check(
        body,
        TestRequest::get().uri("/body/x"),
        support::json!({"text": "x"}),
    );
    support::check(
        value,
        TestRequest::get().uri("/value/7"),
        support::json!({"id": 7}),
    );
    support::check(
        value,
        TestRequest::get().uri("/value/x"),
        support::json!({}),
    );
}
