//! The mistakes that parse well.

use crate::attr::{Attribute, Key};
use crate::function::Function;
use crate::mistakes::Mistakes;

/// The key that bemi's protocol keeps for itself (`bemi_diesel::RESERVED_MEMBER`).
const RESERVED: &str = "_bemi";

pub(crate) fn check(attribute: &Attribute, function: Option<&Function>, mistakes: &mut Mistakes) {
    let set: Vec<&Key> = attribute.members.iter().map(|member| &member.key).collect();
    let skipped: Vec<&Key> = attribute.skipped.iter().collect();
    for (at, key) in set.iter().enumerate() {
        own_name(key, mistakes);
        for earlier in &set[..at] {
            replaces(key, earlier, mistakes);
        }
    }
    for (at, key) in skipped.iter().enumerate() {
        own_name(key, mistakes);
        if skipped[..at].iter().any(|other| same(other, key)) {
            mistakes.add(
                key.span(),
                format_args!("the key `{}` is skipped twice", key.name()),
                "remove one of the two",
            );
        }
        if set.iter().any(|other| same(other, key)) {
            mistakes.add(
                key.span(),
                format_args!("the key `{}` is both set and skipped", key.name()),
                "remove one of the two: what is skipped is not recorded",
            );
        }
    }
    if let Some(constness) = function.and_then(|function| function.signature.constness) {
        mistakes.add(
            constness.span,
            "`#[bemi_context]` cannot stand on a `const fn`",
            "remove `const`: there is a context only while the program runs",
        );
    }
}

fn own_name(key: &Key, mistakes: &mut Mistakes) {
    let Some(first) = key.segments.first() else {
        return;
    };
    if first.value() == RESERVED {
        mistakes.add(
            key.span(),
            format_args!("the key `{RESERVED}` is reserved for bemi"),
            "choose another one: a value under this key is never stored",
        );
    }
    if first.value().is_empty() {
        mistakes.add(
            key.span(),
            "a key needs at least one character",
            "name the member: `\"user id\" = …`",
        );
    }
}

/// Whether the value of `key` takes the place of `earlier`, or of an object that it lies in.
fn replaces(key: &Key, earlier: &Key, mistakes: &mut Mistakes) {
    if same(key, earlier) {
        mistakes.add(
            key.span(),
            format_args!("the key `{}` is set twice", key.name()),
            "remove one of the two, or give it another key",
        );
    } else if begins_with(earlier, key) {
        mistakes.add(
            key.span(),
            format_args!(
                "the key `{}` replaces `{}`, which is set before it",
                key.name(),
                earlier.name()
            ),
            format_args!("set `{}` first", key.name()),
        );
    }
}

fn same(one: &Key, other: &Key) -> bool {
    one.segments.len() == other.segments.len() && begins_with(one, other)
}

fn begins_with(key: &Key, start: &Key) -> bool {
    key.segments.len() >= start.segments.len()
        && key
            .segments
            .iter()
            .zip(&start.segments)
            .all(|(one, other)| one.value() == other.value())
}
