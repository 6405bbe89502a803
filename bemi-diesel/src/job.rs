//! Contexts of work that nobody waits for.

use std::future::Future;

use crate::{Context, Scoped, scope, sync_scope};

/// The context of a job: of one attempt of a worker at one piece of work from a queue.
///
/// Its members are `job`, and `worker` and `attempt` where they are set. With
/// [`enqueued_in`](Job::enqueued_in) they come on top of the context in which the job was enqueued, which
/// travels in the queue beside the job's own data: who asked for it is then the author of what the
/// worker does, hours later and on another machine.
///
/// ```
/// use bemi_diesel::{Context, Job, current_context, sync_scope};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct SendInvoice {
///     order: i32,
///     context: Context,
/// }
///
/// // In the request:
/// let queued = sync_scope(Context::new().with("user_id", 7).with("endpoint", "/orders"), || {
///     serde_json::to_string(&SendInvoice { order: 1, context: current_context().unwrap_or_default() })
/// })?;
///
/// // In the worker:
/// let SendInvoice { order, context } = serde_json::from_str(&queued)?;
/// let job = Job::new("send_invoice").worker("mailer-1").attempt(2).enqueued_in(context);
/// job.run(|| {
///     // … what is written for `order` here carries:
///     let expected = r#"{"attempt":2,"endpoint":"/orders","job":"send_invoice","user_id":7,"worker":"mailer-1"}"#;
///     assert_eq!(serde_json::to_string(&current_context())?, expected);
///     # let _ = order;
///     Ok::<_, serde_json::Error>(())
/// })?;
/// # Ok::<_, serde_json::Error>(())
/// ```
///
/// Who can write to the queue decides what the context says.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    own: Context,
    enqueued_in: Context,
}

impl Job {
    /// A job called `name`, the member `job`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            own: Context::new().with("job", name.into()),
            enqueued_in: Context::new(),
        }
    }

    /// Who runs it, the member `worker`. Defaults to none.
    #[must_use]
    pub fn worker(mut self, name: impl Into<String>) -> Self {
        self.own.set("worker", name.into());
        self
    }

    /// Which attempt this is, the member `attempt`: 1 for the first. Defaults to none.
    #[must_use]
    pub fn attempt(mut self, number: u32) -> Self {
        self.own.set("attempt", number);
        self
    }

    /// The context in which the job was enqueued. Defaults to an empty one.
    #[must_use]
    pub fn enqueued_in(mut self, context: Context) -> Self {
        self.enqueued_in = context;
        self
    }

    /// The whole context of the job.
    #[must_use]
    pub fn into_context(self) -> Context {
        let mut context = self.enqueued_in;
        context.merge(self.own);
        context
    }

    /// Runs `f` with the job's context. Nests like [`sync_scope`].
    pub fn run<R>(self, f: impl FnOnce() -> R) -> R {
        sync_scope(self.into_context(), f)
    }

    /// Runs `future` with the job's context. Nests like [`scope`].
    pub fn scope<F: Future>(self, future: F) -> Scoped<F> {
        scope(self.into_context(), future)
    }
}
