//! The requests that people make.

use actix_web::error::ErrorInternalServerError;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpResponse, Result, delete, get, post};
use bemi_diesel::{BemiConnection, Change, bemi_context};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::Pool;
use crate::schema::todos;
use crate::trail;

#[derive(Serialize, Queryable, Selectable)]
struct Todo {
    id: i32,
    title: String,
    completed: bool,
}

#[derive(Deserialize, Serialize, Insertable)]
#[diesel(table_name = todos)]
struct NewTodo {
    title: String,
}

#[get("/todos")]
pub(crate) async fn list(pool: Data<Pool>) -> Result<Json<Vec<Todo>>> {
    run(pool, |connection| {
        todos::table
            .order(todos::id)
            .select(Todo::as_select())
            .load(connection)
    })
    .await
    .map(Json)
}

#[post("/todos")]
#[bemi_context(params = new)]
pub(crate) async fn create(pool: Data<Pool>, Json(new): Json<NewTodo>) -> Result<Json<Todo>> {
    run(pool, move |connection| {
        diesel::insert_into(todos::table)
            .values(new)
            .returning(Todo::as_returning())
            .get_result(connection)
    })
    .await
    .map(Json)
}

#[post("/todos/{id}/complete")]
#[bemi_context(params = json!({ "id": *id }))]
pub(crate) async fn complete(pool: Data<Pool>, id: Path<i32>) -> Result<HttpResponse> {
    let updated = run(pool, move |connection| {
        diesel::update(todos::table.find(*id))
            .set(todos::completed.eq(true))
            .execute(connection)
    })
    .await?;
    Ok(found(updated))
}

#[delete("/todos/{id}")]
#[bemi_context(params = json!({ "id": *id }))]
pub(crate) async fn delete(pool: Data<Pool>, id: Path<i32>) -> Result<HttpResponse> {
    let deleted = run(pool, move |connection| {
        diesel::delete(todos::table.find(*id)).execute(connection)
    })
    .await?;
    Ok(found(deleted))
}

#[get("/changes")]
pub(crate) async fn changes(pool: Data<Pool>) -> Result<Json<Vec<Change>>> {
    run(pool, trail::latest).await.map(Json)
}

fn found(rows: usize) -> HttpResponse {
    if rows == 0 {
        HttpResponse::NotFound().finish()
    } else {
        HttpResponse::NoContent().finish()
    }
}

/// Runs `work` with a pooled connection in the blocking pool, where the request's context goes along.
async fn run<R: Send + 'static>(
    pool: Data<Pool>,
    work: impl FnOnce(&mut BemiConnection) -> QueryResult<R> + Send + 'static,
) -> Result<R> {
    bemi_actix::block(move || -> anyhow::Result<R> { Ok(work(&mut *pool.get()?)?) })
        .await?
        .map_err(ErrorInternalServerError)
}
