//! What stands between the parentheses of `#[bemi_context(…)]`.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Ident, LitStr, Token};

use crate::mistakes::Mistakes;

/// One `key = value`.
pub(crate) struct Member {
    /// The key as it is stored; its span is that of the identifier or the string in the source.
    pub(crate) key: LitStr,
    /// `None` when there is none, or none that parses: the mistake is noted then.
    pub(crate) value: Option<Expr>,
}

/// The members, as far as they can be told apart. After a mistake parsing goes on at the next comma.
pub(crate) fn parse(attribute: TokenStream, mistakes: &mut Mistakes) -> Vec<Member> {
    if attribute.is_empty() {
        // There is no token to point at, and the call site is the whole attribute.
        mistakes.add(
            Span::call_site(),
            "`#[bemi_context]` without members does nothing",
            "name what to record: `#[bemi_context(user_id = user.id)]`",
        );
        return Vec::new();
    }
    let parser = |input: ParseStream<'_>| {
        let mut members = Vec::new();
        while !input.is_empty() {
            members.extend(member(input, mistakes)?);
            skip_past_comma(input)?;
        }
        Ok(members)
    };
    match parser.parse2(attribute) {
        Ok(members) => members,
        Err(error) => {
            mistakes.add_error(error);
            Vec::new()
        }
    }
}

fn member(input: ParseStream<'_>, mistakes: &mut Mistakes) -> syn::Result<Option<Member>> {
    let Some(key) = key(input)? else {
        mistakes.add(
            next_span(input)?,
            "expected a key",
            "a key is an identifier, or a string: `user_id = …`, `\"user.id\" = …`",
        );
        return Ok(None);
    };
    let value = value(input, &key, mistakes)?;
    Ok(Some(Member { key, value }))
}

fn key(input: ParseStream<'_>) -> syn::Result<Option<LitStr>> {
    if input.peek(LitStr) {
        input.parse().map(Some)
    } else if input.peek(Ident::peek_any) {
        // A keyword is as good a name as any: `type = …`, and `r#type = …` is the same.
        let ident = Ident::parse_any(input)?.unraw();
        Ok(Some(LitStr::new(&ident.to_string(), ident.span())))
    } else {
        Ok(None)
    }
}

fn value(
    input: ParseStream<'_>,
    key: &LitStr,
    mistakes: &mut Mistakes,
) -> syn::Result<Option<Expr>> {
    let name = key.value();
    let takes_value = input.peek(Token![=]) && !input.peek(Token![==]) && !input.peek(Token![=>]);
    if takes_value {
        input.parse::<Token![=]>()?;
    } else if !at_end(input) {
        mistakes.add(
            next_span(input)?,
            format_args!("expected `=` after the key `{name}`"),
            "write `key = value`; a key that is no identifier is a string: `\"user.id\" = …`",
        );
        return Ok(None);
    }
    if at_end(input) {
        mistakes.add(
            key.span(),
            format_args!("the key `{name}` has no value"),
            format_args!("give it one: `{name} = …`"),
        );
        return Ok(None);
    }
    match input.parse() {
        Ok(value) if at_end(input) => Ok(Some(value)),
        Ok(value) => {
            mistakes.add(
                next_span(input)?,
                format_args!("expected `,` after the value of `{name}`"),
                "put a comma between two members",
            );
            Ok(Some(value))
        }
        Err(error) => {
            mistakes.add(
                error.span(),
                error,
                format_args!(
                    "after `{name} =` comes an expression that implements `serde::Serialize`"
                ),
            );
            Ok(None)
        }
    }
}

fn at_end(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

/// The place of the token that comes next, without taking it.
fn next_span(input: ParseStream<'_>) -> syn::Result<Span> {
    input.fork().parse().map(|token: TokenTree| token.span())
}

fn skip_past_comma(input: ParseStream<'_>) -> syn::Result<()> {
    while !at_end(input) {
        input.parse::<TokenTree>()?;
    }
    input.parse::<Option<Token![,]>>()?;
    Ok(())
}
