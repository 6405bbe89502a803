//! `#[bemi_context]` beside the route macros of actix-web.

use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_and_read_body_json, call_service, init_service};
use actix_web::{App, HttpResponse, Responder, get, post, route, routes, web};
use bemi_diesel::{bemi_context, current_context};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{echo, endpoint_only};

#[derive(Serialize, Deserialize)]
struct CreateTodo {
    title: String,
}

#[bemi_context(title = todo.title, todo = todo)]
#[post("/above")]
async fn above(web::Json(todo): web::Json<CreateTodo>) -> HttpResponse {
    drop(todo);
    echo().await
}

#[post("/below")]
#[bemi_context(title = todo.title, todo = todo)]
async fn below(todo: web::Json<CreateTodo>) -> HttpResponse {
    drop(todo.into_inner());
    echo().await
}

/// A documented handler.
#[get("/todos/{id}/{name}")]
#[bemi_context(id = path.0, name = path.1, "user.agent" = agent(&request))]
pub(crate) async fn extractors(
    path: web::Path<(i32, String)>,
    request: actix_web::HttpRequest,
) -> impl Responder {
    web::Json((path.into_inner(), request.path().len(), current_context()))
}

fn agent(request: &actix_web::HttpRequest) -> Option<&str> {
    request.headers().get("user-agent")?.to_str().ok()
}

#[route("/many", method = "GET", method = "PUT")]
#[bemi_context(method = request.method().as_str())]
async fn many(request: actix_web::HttpRequest) -> actix_web::Result<HttpResponse> {
    if request.method() == "PUT" {
        return Err(actix_web::error::ErrorConflict("no"));
    }
    Ok(echo().await)
}

#[routes]
#[get("/one")]
#[get("/two")]
#[bemi_context(name = "either")]
async fn either() -> HttpResponse {
    echo().await
}

struct Todos;

impl Todos {
    #[bemi_context(limit = query.get("limit"))]
    async fn list(query: web::Query<std::collections::HashMap<String, String>>) -> HttpResponse {
        echo().await
    }
}

macro_rules! app {
    () => {
        init_service(
            App::new()
                .wrap(endpoint_only())
                .service(above)
                .service(below)
                .service(extractors)
                .service(many)
                .service(either)
                .route("/list", web::get().to(Todos::list)),
        )
        .await
    };
}

#[actix_web::test]
async fn above_and_below_a_route_macro() {
    let app = app!();
    for path in ["/above", "/below"] {
        let request = TestRequest::post()
            .uri(path)
            .set_json(json!({"title": "milk"}))
            .to_request();
        let answer: Value = call_and_read_body_json(&app, request).await;
        assert_eq!(
            answer,
            json!({"endpoint": path, "title": "milk", "todo": {"title": "milk"}})
        );
    }
}

#[actix_web::test]
async fn extractors_are_read_before_the_body_takes_them() {
    let request = TestRequest::get()
        .uri("/todos/7/milk")
        .insert_header(("user-agent", "curl"))
        .to_request();
    let answer: Value = call_and_read_body_json(&app!(), request).await;
    let members =
        json!({"endpoint": "/todos/7/milk", "id": 7, "name": "milk", "user.agent": "curl"});
    assert_eq!(answer, json!([[7, "milk"], 13, members]));
}

#[actix_web::test]
async fn several_methods_or_paths_and_plain_routes() {
    let app = app!();
    for (path, members) in [
        ("/many", json!({"endpoint": "/many", "method": "GET"})),
        ("/one", json!({"endpoint": "/one", "name": "either"})),
        ("/two", json!({"endpoint": "/two", "name": "either"})),
        ("/list?limit=5", json!({"endpoint": "/list", "limit": "5"})),
        ("/list", json!({"endpoint": "/list", "limit": null})),
    ] {
        let request = TestRequest::with_uri(path).to_request();
        let answer: Value = call_and_read_body_json(&app, request).await;
        assert_eq!(answer, members);
    }
    let put = call_service(&app, TestRequest::put().uri("/many").to_request()).await;
    assert_eq!(put.status(), StatusCode::CONFLICT);
}

#[actix_web::test]
async fn without_the_middleware_the_handler_runs_as_if_bare() {
    let app = init_service(App::new().service(either)).await;
    let request = TestRequest::with_uri("/one").to_request();
    let answer: Value = call_and_read_body_json(&app, request).await;
    assert_eq!(answer, json!(null));
}
