//! What the middleware itself puts into a context.

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderName, HeaderValue};
use bemi_diesel::Context;
use uuid::Uuid;

use crate::pairs::pairs;
use crate::trace;

/// The header that a request's identifier comes with, and that the response gets.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The member of that name.
pub(crate) const REQUEST_ID_MEMBER: &str = "request_id";

/// An identifier that a client chose is taken over up to this length.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// What [`BemiMiddleware`](crate::BemiMiddleware) itself records of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Member {
    /// `method`: `GET`, `POST`, …
    Method,
    /// `endpoint`: the path, without the query.
    Endpoint,
    /// `route`: the pattern that the path matches, such as `/todos/{id}`. Missing where no route does.
    Route,
    /// `request_id`: the request's header `x-request-id` if it has 1 to 128 printable ASCII characters,
    /// else a new UUIDv7. The response gets it in the same header, unless it has one already.
    ///
    /// A client can choose it, so it identifies a request only where a proxy of yours sets it.
    RequestId,
    /// `trace_id` and `span_id`, as hexadecimal digits: with the feature `opentelemetry` those of the
    /// current `tracing` span, if it is a part of a trace; else those of the request's [`traceparent`]
    /// header, where the span is the caller's. Missing where there is neither.
    ///
    /// [`traceparent`]: https://www.w3.org/TR/trace-context/#traceparent-header
    Trace,
    /// `query`: the parameters of the query string as an object of texts, an array of them where a
    /// parameter is repeated. Missing where there are none. Not recorded by default.
    Query,
}

impl Member {
    /// What is recorded by default.
    pub(crate) const DEFAULT: [Self; 5] = [
        Self::Method,
        Self::Endpoint,
        Self::Route,
        Self::RequestId,
        Self::Trace,
    ];
}

/// The context that a request starts with: `members` of it, and those of `outer` on top.
pub(crate) fn context(members: &[Member], request: &ServiceRequest, outer: Context) -> Context {
    let mut context = Context::new();
    for member in members {
        match member {
            Member::Method => context.set("method", request.method().as_str()),
            Member::Endpoint => context.set("endpoint", request.path()),
            Member::Route => {
                if let Some(route) = request.match_pattern() {
                    context.set("route", route);
                }
            }
            Member::RequestId => {
                if outer.get(REQUEST_ID_MEMBER).is_none() {
                    context.set(REQUEST_ID_MEMBER, request_id(request));
                }
            }
            Member::Trace => {
                if let Some(trace) = trace::of(request.headers()) {
                    context.set("trace_id", trace.trace_id);
                    context.set("span_id", trace.span_id);
                }
            }
            Member::Query => {
                let query = pairs(request.query_string().as_bytes());
                if !query.is_empty() {
                    context.set("query", query);
                }
            }
        }
    }
    context.merge(outer);
    context
}

fn request_id(request: &ServiceRequest) -> String {
    request
        .headers()
        .get(REQUEST_ID)
        .map(HeaderValue::as_bytes)
        .filter(|id| (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()))
        .filter(|id| id.iter().all(u8::is_ascii_graphic))
        .and_then(|id| std::str::from_utf8(id).ok())
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}
