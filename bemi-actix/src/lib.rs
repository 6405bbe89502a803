//! Gives every database change that an actix-web application makes the context of its request: who,
//! where and why.
//!
//! [`BemiMiddleware`] opens one ambient context per request, with method, path, route, request id and trace,
//! and what your closure adds. The handler, the extractors, the inner middleware and a streamed body all run inside
//! it, so what they write through the wrapped connections of `bemi_diesel` carries it. This crate
//! knows nothing of SQL.
//!
//! ```no_run
//! use actix_web::dev::ServiceRequest;
//! use actix_web::{App, HttpServer, Responder, post, web};
//! use bemi_actix::BemiMiddleware;
//! use bemi_diesel::{Context, bemi_context};
//!
//! #[post("/todos/{id}/done")]
//! #[bemi_context(todo_id = *id)]
//! async fn done(id: web::Path<i32>) -> impl Responder {
//!     // In the blocking pool, still with the request's context.
//!     let rows = bemi_actix::block(move || update_todo(*id)).await?;
//!     Ok::<_, actix_web::Error>(web::Json(rows))
//! }
//!
//! fn update_todo(id: i32) -> usize {
//!     // … through a `bemi_diesel::BemiConnection`
//! #   usize::from(id > 0)
//! }
//!
//! fn context(request: &ServiceRequest) -> Context {
//!     let agent = request.headers().get("user-agent").and_then(|agent| agent.to_str().ok());
//!     Context::new().with("user_agent", agent)
//! }
//!
//! #[actix_web::main]
//! async fn main() -> std::io::Result<()> {
//!     HttpServer::new(|| App::new().wrap(BemiMiddleware::new(context)).service(done))
//!         .bind(("127.0.0.1", 8080))?
//!         .run()
//!         .await
//! }
//! ```
//!
//! # What leaves the request
//!
//! A task or thread of its own (`actix_web::rt::spawn`, `actix_web::web::block`, `std::thread::spawn`)
//! has no ambient context, because it may outlive the request. [`spawn`] and [`block`] take the context
//! along. The [guide] shows handlers, blocking code and jobs, and lists every place.
//!
//! # Features
//!
//! - `capture` (off by default): [`CaptureHealth`], where the capture runs in the application.
//! - `opentelemetry` (off by default): [`Member::Trace`] is that of the current `tracing` span.

#![warn(clippy::pedantic)]

mod block;
mod body;
mod builder;
mod error;
mod extension;
mod extractor;
// Its programs need a database's crates, so they are compiled where those are: in bemi's own tests.
#[cfg_attr(not(doctest), doc = include_str!("../docs/guide.md"))]
#[cfg_attr(doctest, doc = "A tour.")]
pub mod guide {}
#[cfg(feature = "capture")]
mod health;
mod member;
mod middleware;
mod pairs;
mod prefix;
mod recorder;
mod source;
mod spawn;
mod trace;

pub use block::block;
pub use body::ContextBody;
pub use builder::BemiMiddlewareBuilder;
pub use error::MissingMiddleware;
pub use extension::RequestContextExt;
pub use extractor::RequestContext;
#[cfg(feature = "capture")]
pub use health::CaptureHealth;
pub use member::Member;
pub use middleware::{BemiMiddleware, BemiMiddlewareService};
pub use source::{ContextSource, NoSource};
pub use spawn::spawn;
