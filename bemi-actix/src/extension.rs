use actix_web::HttpMessage;
use actix_web::HttpRequest;
use actix_web::dev::ServiceRequest;
use bemi_diesel::SharedContext;

use crate::{MissingMiddleware, RequestContext};

/// Reaches the request's context from a request, where an argument of type [`RequestContext`] cannot
/// stand: in other middleware, in guards and in extractors of your own.
///
/// ```
/// use actix_web::{FromRequest, HttpRequest, dev::Payload};
/// use bemi_actix::{MissingMiddleware, RequestContextExt};
/// use std::future::{Ready, ready};
///
/// /// Every handler that asks for the user has recorded who it is.
/// struct User(i32);
///
/// impl FromRequest for User {
///     type Error = MissingMiddleware;
///     type Future = Ready<Result<Self, MissingMiddleware>>;
///
///     fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
///         let user = User(7); // … from the session
///         ready(request.request_context().map(|context| {
///             context.set("user_id", user.0);
///             user
///         }))
///     }
/// }
/// ```
pub trait RequestContextExt {
    /// The context of this request.
    ///
    /// # Errors
    ///
    /// [`MissingMiddleware`] when the request did not come through
    /// [`BemiMiddleware`](crate::BemiMiddleware).
    fn request_context(&self) -> Result<RequestContext, MissingMiddleware>;
}

impl RequestContextExt for HttpRequest {
    fn request_context(&self) -> Result<RequestContext, MissingMiddleware> {
        stored(self)
    }
}

impl RequestContextExt for ServiceRequest {
    fn request_context(&self) -> Result<RequestContext, MissingMiddleware> {
        stored(self)
    }
}

fn stored(request: &impl HttpMessage) -> Result<RequestContext, MissingMiddleware> {
    request
        .extensions()
        .get::<SharedContext>()
        .cloned()
        .map(RequestContext)
        .ok_or(MissingMiddleware)
}
