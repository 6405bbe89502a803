//! The application: a pool of wrapped connections, and a server whose requests have a context.

use std::net::TcpListener;

use actix_web::dev::{Server, ServiceRequest};
use actix_web::{App, HttpServer, web};
use anyhow::anyhow;
use bemi_actix::{BemiMiddleware, Member};
use bemi_diesel::{BemiConnection, Context};
use diesel::r2d2::{self, ConnectionManager};
use diesel::{Connection, ConnectionError};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::handlers;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

/// A pool as everybody has it, of wrapped connections.
pub(crate) type Pool = r2d2::Pool<ConnectionManager<BemiConnection>>;

pub(crate) fn pool(url: &str) -> anyhow::Result<Pool> {
    Ok(Pool::builder()
        .max_size(4)
        .build(ConnectionManager::new(url))?)
}

/// Makes the tables. A pool would try for half a minute to reach a server that is not there.
pub(crate) fn migrate(url: &str) -> anyhow::Result<()> {
    BemiConnection::establish(url)
        .map_err(|error| cannot_connect(&error))?
        .run_pending_migrations(MIGRATIONS)
        .map_err(anyhow::Error::from_boxed)?;
    Ok(())
}

/// What libpq says, unless it could quote the URL, and with it the password.
fn cannot_connect(error: &ConnectionError) -> anyhow::Error {
    let reason = match error {
        ConnectionError::BadConnection(reason) => reason.lines().next().unwrap_or_default(),
        _ => "",
    };
    let reason = if reason.starts_with("connection to server") {
        reason
    } else if reason.starts_with("could not translate host name") {
        "the host in the database URL is not known"
    } else {
        "the database URL is not valid: expected postgres://role:password@host:port/database"
    };
    anyhow!(
        "{reason}\nhelp: check that the server runs, and what --database-url or DATABASE_URL says"
    )
}

pub(crate) fn serve(listener: TcpListener, pool: Pool) -> anyhow::Result<Server> {
    // `BemiMiddleware::new(context)` also records method, route, request id and trace; a table on a
    // terminal has no room for them.
    let bemi = BemiMiddleware::builder()
        .members([Member::Endpoint])
        .context(context)
        .build();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(pool.clone()))
            .wrap(bemi.clone())
            .service(handlers::list)
            .service(handlers::create)
            .service(handlers::complete)
            .service(handlers::delete)
            .service(handlers::changes)
    });
    Ok(server.workers(2).listen(listener)?.run())
}

/// Who it is: a real application asks its session.
fn context(request: &ServiceRequest) -> Context {
    let user = request
        .headers()
        .get("x-user-id")
        .and_then(|user| user.to_str().ok()?.parse::<i64>().ok());
    Context::new().with("userId", user)
}
