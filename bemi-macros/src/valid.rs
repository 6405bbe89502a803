//! The mistakes that parse well.

use std::collections::HashSet;

use crate::attr::Member;
use crate::function::Function;
use crate::mistakes::Mistakes;

/// The key that bemi's protocol keeps for itself (`bemi_diesel::RESERVED_MEMBER`).
const RESERVED: &str = "_bemi";

pub(crate) fn check(members: &[Member], function: Option<&Function>, mistakes: &mut Mistakes) {
    let mut seen = HashSet::new();
    for Member { key, .. } in members {
        let name = key.value();
        if name == RESERVED {
            mistakes.add(
                key.span(),
                format_args!("the key `{name}` is reserved for bemi"),
                "choose another one: a value under this key is never stored",
            );
        }
        if !seen.insert(name) {
            mistakes.add(
                key.span(),
                format_args!("the key `{}` is set twice", key.value()),
                "remove one of the two, or give it another key",
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
