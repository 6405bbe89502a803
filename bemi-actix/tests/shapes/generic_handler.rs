//! A handler that is generic over what it works with, with a `where` clause and a constant.

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpResponse, test::TestRequest, web};
use bemi_diesel::bemi_context;

trait Named {
    const NAME: &'static str;
}

struct Todos;

impl Named for Todos {
    const NAME: &'static str = "todos";
}

#[bemi_context(table = T::NAME, page = N, id = *id)]
async fn show<T, const N: usize>(id: web::Path<i32>) -> HttpResponse
where
    T: Named + 'static,
{
    support::context()
}

fn main() {
    let service = web::resource("/{id}").to(show::<Todos, 20>);
    let expected = support::json!({"table": "todos", "page": 20, "id": 7});
    support::check(service, TestRequest::get().uri("/7"), expected);
}
