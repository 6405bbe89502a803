//! `#[derive(Tracked)]`: parse (`model`) → write (`expand`). `model` notes the mistakes.

mod expand;
mod model;
mod parts;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::mistakes::Mistakes;

/// The implementation, or every mistake.
pub(crate) fn derive(item: TokenStream) -> TokenStream {
    let item: DeriveInput = match syn::parse2(item) {
        Ok(item) => item,
        Err(error) => return error.into_compile_error(),
    };
    let mut mistakes = Mistakes::default();
    let model = model::parse(&item, &mut mistakes);
    match (mistakes.into_compile_errors(), model) {
        (None, Some(model)) => expand::expand(&model),
        (errors, _) => errors.unwrap_or_default(),
    }
}
