//! Which distributed trace a request belongs to.

use actix_web::http::header::HeaderMap;

/// A place in a trace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    /// 32 hexadecimal digits.
    pub(crate) trace_id: String,
    /// 16 hexadecimal digits.
    pub(crate) span_id: String,
}

/// The place of the code that runs, or of the caller of a request with `headers`.
pub(crate) fn of(headers: &HeaderMap) -> Option<Trace> {
    current().or_else(|| {
        let mut all = headers.get_all("traceparent");
        match (all.next(), all.next()) {
            // More than one says nothing.
            (Some(one), None) => parse(one.to_str().ok()?),
            _ => None,
        }
    })
}

#[cfg(feature = "opentelemetry")]
fn current() -> Option<Trace> {
    use opentelemetry::trace::TraceContextExt;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    let context = tracing::Span::current().context();
    let span = context.span();
    let place = span.span_context();
    place.is_valid().then(|| Trace {
        trace_id: place.trace_id().to_string(),
        span_id: place.span_id().to_string(),
    })
}

#[cfg(not(feature = "opentelemetry"))]
fn current() -> Option<Trace> {
    None
}

/// A [`traceparent`], or `None` where it is not one. Of a version to come the part that is known counts.
///
/// [`traceparent`]: https://www.w3.org/TR/trace-context/#traceparent-header-field-values
fn parse(header: &str) -> Option<Trace> {
    let mut parts = header.trim_matches([' ', '\t']).split('-');
    let version = hexadecimal(parts.next()?, 2)?;
    let trace_id = hexadecimal(parts.next()?, 32)?;
    let span_id = hexadecimal(parts.next()?, 16)?;
    hexadecimal(parts.next()?, 2)?;
    let known = match version {
        "ff" => false,
        "00" => parts.next().is_none(),
        _ => true,
    };
    let named = |id: &str| id.bytes().any(|digit| digit != b'0');
    (known && named(trace_id) && named(span_id)).then(|| Trace {
        trace_id: trace_id.to_owned(),
        span_id: span_id.to_owned(),
    })
}

fn hexadecimal(part: &str, digits: usize) -> Option<&str> {
    let valid = part.len() == digits
        && part
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    valid.then_some(part)
}

#[cfg(test)]
mod tests;
