//! Extractors that are taken apart in the signature.

#[path = "support/mod.rs"]
mod support;

use actix_web::web::{Json, Path, Query};
use actix_web::{HttpResponse, put, test::TestRequest};
use bemi_diesel::bemi_context;

#[derive(serde::Deserialize, serde::Serialize)]
struct Todo {
    title: String,
    tags: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Page {
    size: u32,
    mode: Option<String>,
}

#[put("/{id}/{name}")]
#[bemi_context(
    id = path.0,
    name = path.1,
    todo = todo,
    todo.first = todo.tags.first(),
    page.size = size,
    page.mode = mode,
)]
async fn handler(
    path: Path<(i32, String)>,
    Json(todo): Json<Todo>,
    Query(Page { size, mode }): Query<Page>,
) -> HttpResponse {
    drop((path.into_inner(), todo, size, mode));
    support::context()
}

fn main() {
    let request = TestRequest::put()
        .uri("/7/ann?size=5")
        .set_json(support::json!({"title": "milk", "tags": ["a"]}));
    support::check(
        handler,
        request,
        support::json!({
            "id": 7,
            "name": "ann",
            "todo": {"title": "milk", "tags": ["a"], "first": "a"},
            "page": {"size": 5, "mode": null},
        }),
    );
}
