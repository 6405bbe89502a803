//! Above and below the macro of every method.

#[path = "support/mod.rs"]
mod support;

use actix_web::http::Method;
use actix_web::{HttpResponse, test::TestRequest, web::Path};
use bemi_diesel::bemi_context;

macro_rules! every_method {
    ($($method:ident)*) => {
        mod above {
            use super::*;
            $(
                #[bemi_context(id = *id, place = "above")]
                #[actix_web::$method("/{id}")]
                async fn $method(id: Path<i32>) -> HttpResponse {
                    support::context()
                }
            )*
            pub fn check() {
                $(super::check($method, stringify!($method), "above");)*
            }
        }
        mod below {
            use super::*;
            $(
                #[actix_web::$method("/{id}")]
                #[bemi_context(id = *id, place = "below")]
                async fn $method(id: Path<i32>) -> HttpResponse {
                    support::context()
                }
            )*
            pub fn check() {
                $(super::check($method, stringify!($method), "below");)*
            }
        }
    };
}

every_method! { get post put delete head connect options trace patch }

fn check(service: impl actix_web::dev::HttpServiceFactory + 'static, method: &str, place: &str) {
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
    let request = TestRequest::with_uri("/7").method(method);
    support::check(service, request, support::json!({"id": 7, "place": place}));
}

fn main() {
    above::check();
    below::check();
}
