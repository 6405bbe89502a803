use std::future::{Ready, ready};
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use bemi_diesel::SharedContext;

use crate::{MissingMiddleware, RequestContextExt};

/// The context of the request, as an argument of a handler.
///
/// It is the one that every write of this request carries: setting a member changes what later writes
/// carry, also from code that the ambient context does not reach.
///
/// ```
/// use actix_web::{HttpResponse, get};
/// use bemi_actix::RequestContext;
///
/// #[get("/report")]
/// async fn report(context: RequestContext) -> HttpResponse {
///     context.set("reason", "monthly report");
///     // A task of its own has no ambient context unless it takes one along.
///     actix_web::rt::spawn(context.scope(async { /* … writes … */ }));
///     HttpResponse::Accepted().finish()
/// }
/// ```
///
/// Without [`BemiMiddleware`](crate::BemiMiddleware) around the route the extractor fails with
/// [`MissingMiddleware`].
#[derive(Clone, Debug)]
pub struct RequestContext(pub SharedContext);

impl Deref for RequestContext {
    type Target = SharedContext;

    fn deref(&self) -> &SharedContext {
        &self.0
    }
}

impl FromRequest for RequestContext {
    type Error = MissingMiddleware;
    type Future = Ready<Result<Self, MissingMiddleware>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(request.request_context())
    }
}
