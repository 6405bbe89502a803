//! The body of a request, read along while the handler reads it.
//!
//! Nothing is read that the handler does not read, and nothing is held back: the chunks pass through as
//! they come, and only the beginning is copied.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use actix_web::web::Bytes;
use actix_web::{HttpMessage, http::header::HeaderMap};
use bemi_diesel::SharedContext;
use futures_core::Stream;
use serde_json::Value;

use crate::pairs::pairs;
use crate::prefix;

/// Makes the payload of `request` one that is recorded as it is read, if it is of a kind that can be.
pub(crate) fn attach(request: &mut ServiceRequest, context: &SharedContext, limit: usize) {
    let Some(format) = Format::of(request) else {
        return;
    };
    let payload = request.take_payload();
    if matches!(payload, Payload::None) {
        return;
    }
    let recorder = Recorder {
        payload,
        recording: Some(Recording {
            context: context.clone(),
            format,
            limit,
            missing: length(request.headers()),
            beginning: Vec::new(),
        }),
    };
    request.set_payload(Payload::Stream {
        payload: Box::pin(recorder),
    });
}

fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Form,
}

impl Format {
    /// `None` where the body is neither, or compressed.
    fn of(request: &ServiceRequest) -> Option<Self> {
        let encoding = request.headers().get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return None;
        }
        let content_type = request.content_type().to_ascii_lowercase();
        match content_type.as_str() {
            "application/x-www-form-urlencoded" => Some(Self::Form),
            "application/json" => Some(Self::Json),
            other => other.ends_with("+json").then_some(Self::Json),
        }
    }
}

struct Recorder {
    payload: Payload,
    /// `None` once it is done.
    recording: Option<Recording>,
}

struct Recording {
    context: SharedContext,
    format: Format,
    limit: usize,
    /// What is still to come, where the request says how long its body is.
    missing: Option<usize>,
    beginning: Vec<u8>,
}

impl Stream for Recorder {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(Pin::new(&mut self.payload).poll_next(cx));
        self.recording = match (self.recording.take(), &item) {
            (Some(recording), Some(Ok(chunk))) => recording.chunk(chunk),
            (Some(recording), None) => recording.end(),
            (_, _) => None,
        };
        Poll::Ready(item)
    }
}

impl Recording {
    /// Takes `chunk` down, and is done if that is enough.
    fn chunk(mut self, chunk: &Bytes) -> Option<Self> {
        let room = self.limit - self.beginning.len();
        let taken = chunk.get(..room).unwrap_or(chunk);
        self.beginning.extend_from_slice(taken);
        if taken.len() < chunk.len() {
            return self.cut();
        }
        self.missing = self
            .missing
            .map(|missing| missing.saturating_sub(chunk.len()));
        if self.missing == Some(0) {
            // A reader that counts may not ask again.
            return self.end();
        }
        Some(self)
    }

    fn end(self) -> Option<Self> {
        let body = match self.format {
            Format::Json => serde_json::from_slice(&self.beginning).ok(),
            Format::Form => Some(Value::from(pairs(&self.beginning))),
        };
        self.record(body, false)
    }

    fn cut(self) -> Option<Self> {
        let body = match self.format {
            Format::Json => prefix::json(&self.beginning),
            Format::Form => prefix::form(&self.beginning).map(|whole| pairs(whole).into()),
        };
        self.record(body, true)
    }

    fn record(self, body: Option<Value>, cut: bool) -> Option<Self> {
        // What does not parse is for the handler to refuse.
        if let Some(body) = body {
            self.context.set("body", body);
        }
        if cut {
            self.context.set("body_cut", true);
        }
        None
    }
}
