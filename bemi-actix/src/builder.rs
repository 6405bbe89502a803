use std::sync::Arc;

use actix_web::dev::ServiceRequest;
use bemi_diesel::{Context, Redaction};

use crate::middleware::Settings;
use crate::{BemiMiddleware, ContextSource, Member, NoSource};

/// What a [`BemiMiddleware`] records. Made by [`BemiMiddleware::builder`].
///
/// ```
/// use actix_web::App;
/// use bemi_actix::{BemiMiddleware, Member};
/// use bemi_diesel::Context;
///
/// let middleware = BemiMiddleware::builder()
///     .members([Member::Route, Member::RequestId])
///     .body(4096)
///     .redact("iban")
///     .context(|request| Context::new().with("host", request.connection_info().host()))
///     .build();
/// let app = App::new().wrap(middleware);
/// # drop(app);
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is a middleware only once it is built"]
pub struct BemiMiddlewareBuilder<C = NoSource> {
    members: Vec<Member>,
    body: Option<usize>,
    redaction: Redaction,
    source: C,
}

impl Default for BemiMiddlewareBuilder {
    fn default() -> Self {
        Self {
            members: Member::DEFAULT.to_vec(),
            body: None,
            redaction: Redaction::default(),
            source: NoSource,
        }
    }
}

impl<C: ContextSource> BemiMiddlewareBuilder<C> {
    /// Which members the middleware records by itself. Defaults to all but [`Member::Query`].
    pub fn members(mut self, members: impl IntoIterator<Item = Member>) -> Self {
        self.members = members.into_iter().collect();
        self
    }

    /// Records the bodies of requests under `body`: JSON as it is, forms (`x-www-form-urlencoded`) as an
    /// object of texts.
    ///
    /// What the handler reads is recorded, as it reads it; nothing is buffered for it and nothing held
    /// back. So a body is in the context once an extractor such as `web::Json` has read it, before the
    /// handler starts. Of a body longer than `limit` bytes that part is recorded which is complete within
    /// its first `limit` bytes, with a member `body_cut` that says so. Compressed bodies and other kinds
    /// (multipart, text, binary) are not recorded. Secrets are [redacted](Redaction) at every depth.
    ///
    /// Edges: the context goes into the log with every transaction, so `limit` is also a bound on that;
    /// 16 KiB is plenty. A body that does not parse is not recorded. Defaults to recording none.
    pub fn body(mut self, limit: usize) -> Self {
        self.body = Some(limit);
        self
    }

    /// Also redacts the values of `key`, wherever they stand. See [`Redaction::with_key`].
    pub fn redact(mut self, key: &str) -> Self {
        self.redaction = self.redaction.with_key(key);
        self
    }

    /// What is redacted from everything that anybody sets in a request's context. Replaces the default
    /// and what [`redact`](Self::redact) has added.
    pub fn redaction(mut self, redaction: Redaction) -> Self {
        self.redaction = redaction;
        self
    }

    /// What else a context holds: see [`BemiMiddleware::new`]. Replaces an earlier one.
    pub fn context<F>(self, context: F) -> BemiMiddlewareBuilder<F>
    where
        F: Fn(&ServiceRequest) -> Context + 'static,
    {
        self.source(context)
    }

    /// What else a context holds, where it takes an `await` to know. Replaces an earlier one.
    pub fn source<S: ContextSource>(self, source: S) -> BemiMiddlewareBuilder<S> {
        BemiMiddlewareBuilder {
            members: self.members,
            body: self.body,
            redaction: self.redaction,
            source,
        }
    }

    /// The middleware.
    #[must_use]
    pub fn build(self) -> BemiMiddleware<C> {
        BemiMiddleware::from_settings(Settings {
            members: self.members,
            body: self.body,
            redaction: Arc::new(self.redaction),
            source: self.source,
        })
    }
}
