//! An application as people write it: actix-web, diesel, and the wrapped connections.

use actix_web::web::{Data, Path};
use actix_web::{App, HttpResponse, Responder, post, test};
use bemi_actix::{BemiMiddleware, Member};
use bemi_diesel::{
    AsyncBemiConnection, BemiConnection, Context, Job, bemi_context, current_context, scope,
    set_context, sync_scope,
};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use serde_json::{Value, json};

use crate::support::Trail;

diesel::table! {
    todos { id -> Integer, title -> Text, done -> Bool }
}

const TODOS: &str = "CREATE TABLE todos (id serial PRIMARY KEY, title text NOT NULL, done bool NOT NULL DEFAULT false)";

type Connections = Pool<ConnectionManager<BemiConnection>>;

fn pool(trail: &Trail) -> Connections {
    Pool::builder()
        .max_size(1)
        .build(ConnectionManager::new(trail.database.url()))
        .unwrap()
}

#[post("/todos/{title}")]
#[bemi_context(params = json!({ "title": *title }), step = "sync")]
async fn create(pool: Data<Connections>, title: Path<String>) -> impl Responder {
    let inserted = bemi_actix::block(move || {
        let mut connection = pool.get().unwrap();
        let insert = diesel::insert_into(todos::table).values(todos::title.eq(&*title));
        insert.execute(&mut connection).unwrap()
    });
    HttpResponse::Ok().body(inserted.await.unwrap().to_string())
}

#[actix_web::test]
async fn a_request_of_actix_gives_its_changes_their_context() {
    let trail = Trail::start(TODOS).await;
    let context = |request: &actix_web::dev::ServiceRequest| {
        let user = request
            .headers()
            .get("x-user")
            .and_then(|user| user.to_str().ok());
        Context::new().with("user", user)
    };
    let app = test::init_service(
        App::new()
            .app_data(Data::new(pool(&trail)))
            .wrap(
                BemiMiddleware::builder()
                    .members([Member::Method, Member::Endpoint, Member::Route])
                    .context(context)
                    .build(),
            )
            .service(create),
    )
    .await;
    let request = test::TestRequest::post()
        .uri("/todos/Sleep")
        .insert_header(("x-user", "ann"))
        .to_request();
    assert_eq!(test::call_and_read_body(&app, request).await, "1");
    assert_eq!(
        trail.changes().await,
        [
            json!(["CREATE", "todos", "1", {}, {"id": 1, "title": "Sleep", "done": false}, {
                "method": "POST",
                "endpoint": "/todos/Sleep",
                "route": "/todos/{title}",
                "params": {"title": "Sleep"},
                "step": "sync",
                "user": "ann",
                "SQL": "INSERT INTO \"todos\" (\"title\") VALUES ($1)",
            }])
        ]
    );
}

#[tokio::test]
async fn the_sync_connection_in_and_out_of_transactions() {
    let trail = Trail::start(TODOS).await;
    let url = trail.database.url().to_owned();
    let work = move || {
        let mut connection = BemiConnection::establish(&url).unwrap();
        let insert = |connection: &mut BemiConnection, title: &str| {
            diesel::insert_into(todos::table)
                .values(todos::title.eq(title))
                .execute(connection)
        };
        insert(&mut connection, "outside").unwrap();
        sync_scope(Context::new().with("user", 1), || {
            insert(&mut connection, "alone").unwrap();
            connection
                .transaction(|connection| {
                    insert(connection, "in a transaction")?;
                    let nested: QueryResult<()> = connection.transaction(|connection| {
                        insert(connection, "rolled back")?;
                        Err(diesel::result::Error::RollbackTransaction)
                    });
                    assert_eq!(nested, Err(diesel::result::Error::RollbackTransaction));
                    set_context("user", 2);
                    insert(connection, "after the context changed")
                })
                .unwrap();
        });
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    let sql = "INSERT INTO \"todos\" (\"title\") VALUES ($1)";
    assert_eq!(
        trail.contexts().await,
        [
            json!(["1", {}]),
            json!(["2", {"user": 1, "SQL": sql}]),
            json!(["3", {"user": 1, "SQL": sql}]),
            json!(["5", {"user": 2}]),
        ]
    );
}

#[tokio::test]
async fn one_connections_work_can_have_a_context_of_its_own() {
    let trail = Trail::start(TODOS).await;
    let url = trail.database.url().to_owned();
    let asynchronous_url = url.clone();
    let own = || Context::new().with("reason", "clean-up").with("user", 2);
    let work = move || {
        let connection = &mut BemiConnection::establish(&url).unwrap();
        let insert = |connection: &mut BemiConnection| {
            diesel::insert_into(todos::table)
                .values(todos::title.eq("a"))
                .execute(connection)
        };
        sync_scope(Context::new().with("user", 1), || {
            connection.with_context(own(), insert).unwrap();
            insert(connection).unwrap();
        });
        connection.with_context(own(), insert).unwrap();
        insert(connection).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    let connection =
        &mut <AsyncBemiConnection as diesel_async::AsyncConnection>::establish(&asynchronous_url)
            .await
            .unwrap();
    let insert = async |connection: &mut AsyncBemiConnection| {
        let insert = diesel::insert_into(todos::table).values(todos::title.eq("a"));
        diesel_async::RunQueryDsl::execute(insert, connection).await
    };
    scope(Context::new().with("user", 1), async {
        connection.with_context(own(), insert).await.unwrap();
        insert(connection).await.unwrap();
    })
    .await;
    let contexts: Vec<Value> = trail
        .contexts()
        .await
        .into_iter()
        .map(|change| json!([change[1]["user"], change[1]["reason"]]))
        .collect();
    assert_eq!(
        contexts,
        [
            json!([2, "clean-up"]),
            json!([1, null]),
            json!([2, "clean-up"]),
            json!([null, null]),
            json!([2, "clean-up"]),
            json!([1, null]),
        ]
    );
}

/// Inserts a to-do that a request asks for, later and on another thread.
#[post("/later/{title}")]
#[bemi_context(title = *title, password = "hunter2")]
async fn later(queue: Data<std::sync::mpsc::Sender<String>>, title: Path<String>) -> HttpResponse {
    let job = json!({ "title": *title, "context": current_context() });
    queue.send(job.to_string()).unwrap();
    HttpResponse::Accepted().finish()
}

#[actix_web::test]
async fn a_job_carries_the_context_of_the_request_that_asked_for_it() {
    #[derive(serde::Deserialize)]
    struct Todo {
        title: String,
        context: Context,
    }

    let trail = Trail::start(TODOS).await;
    let (send, receive) = std::sync::mpsc::channel::<String>();
    let url = trail.database.url().to_owned();
    let worker = std::thread::spawn(move || {
        let connection = &mut BemiConnection::establish(&url).unwrap();
        for queued in receive {
            let todo: Todo = serde_json::from_str(&queued).unwrap();
            for attempt in 1..=2 {
                let job = Job::new("create_todo")
                    .worker("worker-1")
                    .attempt(attempt)
                    .enqueued_in(todo.context.clone());
                job.run(|| {
                    let insert =
                        diesel::insert_into(todos::table).values(todos::title.eq(&todo.title));
                    insert.execute(connection).unwrap();
                });
            }
        }
    });
    let app = test::init_service(
        App::new()
            .app_data(Data::new(send))
            .wrap(
                BemiMiddleware::builder()
                    .members([Member::Endpoint])
                    .build(),
            )
            .service(later),
    )
    .await;
    for title in ["Sleep", "Eat"] {
        let request = test::TestRequest::post().uri(&format!("/later/{title}"));
        test::call_service(&app, request.to_request()).await;
    }
    drop(app);
    worker.join().unwrap();
    let expected = |key: &str, title: &str, attempt: i32| {
        json!([key, {
            "endpoint": format!("/later/{title}"),
            "title": title,
            "password": "[redacted]",
            "job": "create_todo",
            "worker": "worker-1",
            "attempt": attempt,
            "SQL": "INSERT INTO \"todos\" (\"title\") VALUES ($1)",
        }])
    };
    assert_eq!(
        trail.contexts().await,
        [
            expected("1", "Sleep", 1),
            expected("2", "Sleep", 2),
            expected("3", "Eat", 1),
            expected("4", "Eat", 2),
        ]
    );
}
