//! As many extractors as actix-web takes.

#[path = "support/mod.rs"]
mod support;

use actix_web::web::Query;
use actix_web::{HttpResponse, get, test::TestRequest};
use bemi_diesel::bemi_context;

#[derive(serde::Deserialize)]
struct N {
    n: i32,
}

#[get("/")]
#[bemi_context(sum = [a.n, b.n, c.n, d.n, e.n, f.n, g.n, h.n, i.n, j.n, k.n, l.n].iter().sum::<i32>())]
async fn handler(
    a: Query<N>,
    b: Query<N>,
    c: Query<N>,
    d: Query<N>,
    e: Query<N>,
    f: Query<N>,
    g: Query<N>,
    h: Query<N>,
    i: Query<N>,
    j: Query<N>,
    k: Query<N>,
    l: Query<N>,
) -> HttpResponse {
    support::context()
}

fn main() {
    support::check(
        handler,
        TestRequest::get().uri("/?n=2"),
        support::json!({"sum": 24}),
    );
}
