use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use futures_util::Stream;
use pin_project_lite::pin_project;

use super::SharedContext;
use super::ambient::Restore;

pin_project! {
    /// A future or stream that has an ambient context whenever it is polled, and when it is dropped.
    /// Made by [`scope`](crate::scope), [`SharedContext::scope`] and [`ContextExt`](crate::ContextExt).
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        context: Option<SharedContext>,
        // Empty only while it is dropped.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            // What a cancelled future holds may still write as it goes: under its own context, and not
            // under that of the code that cancelled it.
            let mut this = this.project();
            let _restore = Restore::enter(this.context.take());
            this.future.set(None);
        }
    }
}

impl<F> Scoped<F> {
    /// `future` with `context`; with `None` it has no ambient context wherever it runs.
    pub(super) fn new(context: Option<SharedContext>, future: F) -> Self {
        Self {
            context,
            future: Some(future),
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _restore = Restore::enter(this.context.clone());
        match this.future.as_pin_mut() {
            Some(future) => future.poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<S: Stream> Stream for Scoped<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let _restore = Restore::enter(this.context.clone());
        match this.future.as_pin_mut() {
            Some(stream) => stream.poll_next(cx),
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.future.as_ref().map_or((0, Some(0)), Stream::size_hint)
    }
}
