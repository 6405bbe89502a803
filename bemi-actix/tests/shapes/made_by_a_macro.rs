//! Handlers that `macro_rules!` writes.

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpResponse, get, test::TestRequest, web::Path};
use bemi_diesel::bemi_context;

macro_rules! show {
    ($name:ident, $path:literal, $key:ident = $value:expr) => {
        #[get($path)]
        #[bemi_context(id = *id, $key = $value, nested.$key = stringify!($name))]
        async fn $name(id: Path<i32>) -> HttpResponse {
            support::context()
        }
    };
}

show!(todo, "/todos/{id}", kind = "todo".to_owned() + "s");

fn main() {
    let expected = support::json!({"id": 7, "kind": "todos", "nested": {"kind": "todo"}});
    support::check(todo, TestRequest::get().uri("/todos/7"), expected);
}
