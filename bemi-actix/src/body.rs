use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use bemi_diesel::SharedContext;
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response that passed [`BemiMiddleware`](crate::BemiMiddleware): whenever the
    /// server polls it for the next chunk, it has the ambient context of its request.
    ///
    /// The handler has returned by then, but a streamed body may still write to the database.
    #[derive(Debug)]
    pub struct ContextBody<B> {
        context: SharedContext,
        #[pin]
        body: B,
    }
}

impl<B> ContextBody<B> {
    pub(crate) fn new(context: SharedContext, body: B) -> Self {
        Self { context, body }
    }
}

impl<B: MessageBody> MessageBody for ContextBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        this.context.in_scope(|| this.body.poll_next(cx))
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { context, body } = self;
        body.try_into_bytes().map_err(|body| Self { context, body })
    }
}
