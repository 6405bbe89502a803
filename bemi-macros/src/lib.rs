//! The attribute `#[bemi_context]` and `#[derive(Tracked)]`; use them through `bemi_diesel`, where they are
//! documented.
//!
//! `#[bemi_context]`: parse (`attr`, `function`) → check (`valid`) → write (`expand`); the other one is in
//! `tracked`. The code that they write names only `::bemi_diesel::__private`, so this crate needs no other of
//! bemi's.

mod attr;
mod expand;
mod function;
mod mistakes;
mod tracked;
mod valid;

#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;

/// The code that the attribute writes names the crate `::bemi_diesel`, so that one keeps its name in
/// `Cargo.toml`.
#[proc_macro_attribute]
pub fn bemi_context(
    attribute: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    rewrite(attribute.into(), item.into()).into()
}

/// The code that the derive writes names the crate `::bemi_diesel`, so that one keeps its name in `Cargo.toml`.
#[proc_macro_derive(Tracked, attributes(diesel, tracked))]
pub fn tracked(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    tracked::derive(item.into()).into()
}

/// The function with its prologue; after a mistake the item as it was, with every mistake beside it,
/// so that nobody sees a second error about a function that is missing.
fn rewrite(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut mistakes = mistakes::Mistakes::default();
    let mut of_the_item = mistakes::Mistakes::default();
    let function = function::parse(item.clone(), &mut of_the_item);
    let arguments = function
        .as_ref()
        .map(function::Function::arguments)
        .unwrap_or_default();
    let attribute = attr::parse(attribute, &arguments, &mut mistakes);
    mistakes.add_all(of_the_item);
    valid::check(&attribute, function.as_ref(), &mut mistakes);
    match (mistakes.into_compile_errors(), function) {
        (None, Some(function)) => expand::expand(&attribute, &function),
        (errors, _) => [Some(item), errors].into_iter().flatten().collect(),
    }
}
