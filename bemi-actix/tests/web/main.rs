//! Requests and their contexts: through actix-web's own test services, and over the network.

mod block;
mod bodies;
mod carried;
mod handlers;
mod members;
mod middleware;
mod network;
mod request_context;
mod streams;
mod support;
