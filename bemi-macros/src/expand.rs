//! The function with its prologue.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::token;

use crate::attr::{Attribute, Key, Member};
use crate::function::Function;

/// The same function, whose body first does what `attribute` asks for where there is an ambient context.
///
/// The body stays a block of its own: it may begin with items, and one that gives the wrong type is
/// reported as if it stood alone.
pub(crate) fn expand(attribute: &Attribute, function: &Function) -> TokenStream {
    let Function {
        attributes,
        visibility,
        signature,
        braces,
        inner_attributes,
        body,
    } = function;
    let prologue = prologue(attribute);
    let mut tokens = quote!(#(#attributes)* #visibility #signature);
    braces.surround(&mut tokens, |tokens| {
        tokens.extend(quote!(#(#inner_attributes)* #prologue));
        token::Brace(generated_at(braces.span.join()))
            .surround(tokens, |tokens| body.to_tokens(tokens));
    });
    tokens
}

/// The context is bound under a hygienic name, so a value can use a variable of any name. What is left
/// out comes last: it may be a part of what has just been set.
fn prologue(attribute: &Attribute) -> TokenStream {
    let context = quote_spanned!(Span::mixed_site()=> context);
    let sets = attribute.members.iter().map(|Member { key, value }| {
        // The compiler's words about a value that is no `Serialize` belong at that value. Borrowed,
        // so that the body can still use it.
        let span = generated_at(value.span());
        let segments = &key.segments;
        match segments.as_slice() {
            [key] => quote_spanned!(span=> #context.set(#key, &(#value));),
            _ => quote_spanned!(span=> #context.set_in(&[#(#segments),*], &(#value));),
        }
    });
    let skips = attribute
        .skipped
        .iter()
        .map(|Key { segments }| quote!(#context.remove_in(&[#(#segments),*]);));
    quote! {
        if let ::core::option::Option::Some(#context) =
            ::bemi_diesel::__private::SharedContext::current()
        {
            #(#sets)*
            #(#skips)*
        }
    }
}

/// The place of `span`, for code that nobody wrote there: no lint asks to tidy it up.
fn generated_at(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}
