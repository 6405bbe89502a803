//! A to-do list with an audit trail, in one binary: actix-web, diesel, and bemi.
//!
//! bemi is here three times: the middleware and the wrapped connection in `app.rs`, the attributes in
//! `handlers.rs`, and the capture below.

mod app;
mod database;
mod handlers;
mod play;
mod schema;
mod table;
mod trail;

use std::net::TcpListener;

use anyhow::Context as _;
use bemi_diesel::Capture;
use clap::Parser;

/// A to-do list whose every change is on record.
///
/// It plays five HTTP requests, prints the changes they made, and serves until Ctrl-C.
#[derive(Parser)]
struct Args {
    /// End after printing the changes.
    #[arg(long)]
    once: bool,

    /// The port to serve on.
    #[arg(long, default_value_t = 8080)]
    port: u16,

    /// The database [default: a throw-away PostgreSQL server that ends with this program].
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let Args {
        once,
        port,
        database_url,
    } = Args::parse();
    let listener = TcpListener::bind(("127.0.0.1", port))
        .with_context(|| format!("port {port} is taken: choose another with --port"))?;

    let database = database::Database::open(database_url)?;
    let pool = app::pool(database.url())?;
    app::migrate(&pool)?;
    // Everything that is committed from here on gets into the table `changes`.
    let capture = Capture::builder(database.url())
        .start()
        .await
        .map_err(explain)?;

    let server = app::serve(listener, pool.clone())?;
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);

    let begin = trail::now(&pool)?;
    play::five_requests(port).await?;
    capture.wait_for(trail::now(&pool)?).await?;
    println!("{}", table::of(&trail::since(&pool, begin)?));

    if once {
        handle.stop(true).await;
    } else {
        play::print_invitation(port, database.url());
    }
    serving.await??;
    capture.shutdown().await.map_err(explain)
}

/// The error with its hint.
fn explain(error: bemi_diesel::Error) -> anyhow::Error {
    match error.hint() {
        Some(hint) => {
            let hint = hint.into_owned();
            anyhow::Error::new(error).context(format!("no audit trail\nhelp: {hint}"))
        }
        None => anyhow::Error::new(error),
    }
}
