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
use std::process::ExitCode;

use anyhow::anyhow;
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

    /// The port to serve on; 0 for any that is free.
    #[arg(long, default_value_t = 8080)]
    port: u16,

    /// The database [default: a throw-away PostgreSQL server that ends with this program].
    ///
    /// What is made there stays, so that the next start goes on where this one ends; `bemi teardown`
    /// removes bemi's part of it.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// The replication slot; slots belong to the whole server, not to one database.
    #[arg(long, value_name = "NAME", env = "BEMI_SLOT", default_value = "bemi")]
    slot: String,
}

#[actix_web::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let address = ("127.0.0.1", args.port);
    let listener = TcpListener::bind(address).map_err(|error| {
        anyhow!(
            "cannot listen on port {}: {error}\nhelp: choose another with --port",
            args.port
        )
    })?;
    let port = listener.local_addr()?.port();

    let database = database::Database::open(args.database_url)?;
    app::migrate(database.url())?;
    // Everything that is committed from here on gets into the table `changes`.
    let capture = Capture::builder(database.url())
        .slot(args.slot)
        .start()
        .await
        .map_err(explain)?;
    let pool = app::pool(database.url())?;

    let server = app::serve(listener, pool.clone())?;
    let handle = server.handle();
    let play = async {
        let begin = trail::now(&pool)?;
        play::five_requests(port).await?;
        capture.wait_for(trail::now(&pool)?).await?;
        play::print(table::of(&trail::since(&pool, begin)?))?;
        if args.once {
            handle.stop(true).await;
        } else {
            play::print_invitation(port, &database)?;
        }
        Ok(())
    };
    // A signal ends the server, whatever the play is waiting for.
    tokio::select! {
        served = server => served?,
        Err(error) = play => return Err(error),
        // By itself only for an error that waiting does not mend; `shutdown` has it.
        () = capture.ended() => {}
    }
    capture.shutdown().await.map_err(explain)
}

/// The error, its causes and its hint.
fn explain(error: bemi_diesel::Error) -> anyhow::Error {
    let hint = error.hint();
    let error = anyhow::Error::new(error);
    match hint {
        Some(hint) => anyhow!("{error:#}\nhelp: {hint}"),
        None => error,
    }
}
