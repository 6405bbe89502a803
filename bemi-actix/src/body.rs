use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use bemi_diesel::SharedContext;
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response that passed [`BemiMiddleware`](crate::BemiMiddleware): whenever the
    /// server polls it for the next chunk, and when it drops it, it has the ambient context of its
    /// request.
    ///
    /// The handler has returned by then, but a streamed body may still write to the database.
    #[derive(Debug)]
    pub struct ContextBody<B> {
        context: SharedContext,
        // Empty only while it is dropped.
        #[pin]
        body: Option<B>,
    }

    impl<B> PinnedDrop for ContextBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            this.context.in_scope(|| this.body.set(None));
        }
    }
}

impl<B> ContextBody<B> {
    pub(crate) fn new(context: SharedContext, body: B) -> Self {
        Self {
            context,
            body: Some(body),
        }
    }
}

impl<B: MessageBody> MessageBody for ContextBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.as_ref().map_or(BodySize::None, MessageBody::size)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        match this.body.as_pin_mut() {
            Some(body) => this.context.in_scope(|| body.poll_next(cx)),
            None => Poll::Ready(None),
        }
    }

    fn try_into_bytes(mut self) -> Result<Bytes, Self> {
        let Some(body) = self.body.take() else {
            return Ok(Bytes::new());
        };
        body.try_into_bytes().map_err(|body| {
            self.body = Some(body);
            self
        })
    }
}
