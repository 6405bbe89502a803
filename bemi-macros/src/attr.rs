//! What stands between the parentheses of `#[bemi_context(…)]`.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Ident, LitStr, Token, parenthesized, parse_quote, token};

use crate::mistakes::Mistakes;

/// The option that leaves members out.
const SKIP: &str = "skip";

/// Everything that the attribute asks for.
#[derive(Default)]
pub(crate) struct Attribute {
    pub(crate) members: Vec<Member>,
    /// The keys between the parentheses of `skip(…)`.
    pub(crate) skipped: Vec<Key>,
}

/// One `key = value`.
pub(crate) struct Member {
    pub(crate) key: Key,
    /// `None` when there is none, or none that parses: the mistake is noted then.
    pub(crate) value: Option<Expr>,
}

/// A key: `user.id` has two segments, `"user.id"` is one. Each has the span of its token.
pub(crate) struct Key {
    pub(crate) segments: Vec<LitStr>,
}

impl Key {
    /// The key as people write it.
    pub(crate) fn name(&self) -> String {
        let segments: Vec<String> = self.segments.iter().map(LitStr::value).collect();
        segments.join(".")
    }

    /// Where its first token stands.
    pub(crate) fn span(&self) -> Span {
        self.segments
            .first()
            .map_or_else(Span::call_site, LitStr::span)
    }
}

/// The attribute, as far as its parts can be told apart. After a mistake parsing goes on at the next
/// comma. `arguments` are the names that the function's arguments bind.
pub(crate) fn parse(
    attribute: TokenStream,
    arguments: &[String],
    mistakes: &mut Mistakes,
) -> Attribute {
    if attribute.is_empty() {
        // There is no token to point at, and the call site is the whole attribute.
        mistakes.add(
            Span::call_site(),
            "`#[bemi_context]` without members does nothing",
            "name what to record: `#[bemi_context(user_id = user.id)]`",
        );
        return Attribute::default();
    }
    let parser = |input: ParseStream<'_>| {
        let mut attribute = Attribute::default();
        while !input.is_empty() {
            part(input, &mut attribute, arguments, mistakes)?;
            skip_past_comma(input)?;
        }
        Ok(attribute)
    };
    match parser.parse2(attribute) {
        Ok(attribute) => attribute,
        Err(error) => {
            mistakes.add_error(error);
            Attribute::default()
        }
    }
}

fn part(
    input: ParseStream<'_>,
    attribute: &mut Attribute,
    arguments: &[String],
    mistakes: &mut Mistakes,
) -> syn::Result<()> {
    let string = input.peek(LitStr);
    let Some(key) = key(input, mistakes)? else {
        return Ok(());
    };
    if !string && input.peek(token::Paren) {
        return option(input, &key, attribute, mistakes);
    }
    let value = if string && at_end(input) {
        // A string on its own is a flag.
        Some(parse_quote!(true))
    } else {
        value(input, &key, arguments, mistakes)?
    };
    attribute.members.push(Member { key, value });
    Ok(())
}

/// A key, or `None` after noting why there is none.
fn key(input: ParseStream<'_>, mistakes: &mut Mistakes) -> syn::Result<Option<Key>> {
    if input.peek(LitStr) {
        return Ok(Some(Key {
            segments: vec![input.parse()?],
        }));
    }
    if !input.peek(Ident::peek_any) {
        mistakes.add(
            next_span(input)?,
            "expected a key",
            "a key is a name, names joined by dots, or a string: `user_id = …`, `user.id = …`, \
             `\"user id\" = …`",
        );
        return Ok(None);
    }
    let mut segments = vec![segment(input)?];
    while input.peek(Token![.]) {
        let dot: Token![.] = input.parse()?;
        if !input.peek(Ident::peek_any) {
            mistakes.add(
                if input.is_empty() {
                    dot.span
                } else {
                    next_span(input)?
                },
                "expected a name after the dot of a key",
                "write `user.id = …`, or the whole key as a string: `\"user.0\" = …`",
            );
            return Ok(None);
        }
        segments.push(segment(input)?);
    }
    Ok(Some(Key { segments }))
}

/// A keyword is as good a name as any: `type = …`, and `r#type = …` is the same.
fn segment(input: ParseStream<'_>) -> syn::Result<LitStr> {
    let ident = Ident::parse_any(input)?.unraw();
    Ok(LitStr::new(&ident.to_string(), ident.span()))
}

/// `skip(key, …)`; nothing else has parentheses.
fn option(
    input: ParseStream<'_>,
    name: &Key,
    attribute: &mut Attribute,
    mistakes: &mut Mistakes,
) -> syn::Result<()> {
    let content;
    parenthesized!(content in input);
    if name.name() != SKIP {
        mistakes.add(
            name.span(),
            format_args!("there is no option `{}`", name.name()),
            "valid are `key = value`, `\"flag\"` and `skip(key, …)`",
        );
        // Not looked at: it is whatever the option would take.
        content.parse::<TokenStream>()?;
        return Ok(());
    }
    if content.is_empty() {
        mistakes.add(
            name.span(),
            "`skip()` leaves nothing out",
            "name the members that are not to be recorded: `skip(body.iban, params)`",
        );
    }
    while !content.is_empty() {
        if let Some(key) = key(&content, mistakes)? {
            if !at_end(&content) {
                mistakes.add(
                    next_span(&content)?,
                    format_args!("expected `,` after the key `{}`", key.name()),
                    "`skip` takes keys alone: `skip(body.iban, params)`",
                );
            }
            attribute.skipped.push(key);
        }
        skip_past_comma(&content)?;
    }
    Ok(())
}

fn value(
    input: ParseStream<'_>,
    key: &Key,
    arguments: &[String],
    mistakes: &mut Mistakes,
) -> syn::Result<Option<Expr>> {
    let name = key.name();
    let takes_value = input.peek(Token![=]) && !input.peek(Token![==]) && !input.peek(Token![=>]);
    if takes_value {
        input.parse::<Token![=]>()?;
    } else if !at_end(input) {
        mistakes.add(
            next_span(input)?,
            format_args!("expected `=` after the key `{name}`"),
            "write `key = value`; a key that is no name is a string: `\"user id\" = …`",
        );
        return Ok(None);
    }
    if at_end(input) {
        let known = match arguments {
            [] => String::new(),
            _ => format!(" (the arguments are `{}`)", arguments.join("`, `")),
        };
        mistakes.add(
            key.span(),
            format_args!("the key `{name}` has no value"),
            format_args!("give it one: `{name} = …`{known}"),
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
