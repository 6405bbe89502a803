//! Tables by name. Pure: a pattern becomes SQL, so that setup, the capture and an event trigger ask the
//! server one and the same thing.

use crate::error::{Error, quote_literal};

/// Tables by `name` (in every schema) or `schema.name`, where `*` stands for any text within a name and
/// `?` for one character.
///
/// Between double quotes every character stands for itself, as in SQL: `"odd.schema"."a*b"`. A name with a
/// dot needs no quotes as long as the pattern has neither `*` nor `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TablePattern {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Exactly(char),
    /// A dot outside quotes: between schema and name, or part of either.
    Dot,
    /// Any text.
    Any,
    /// Any one character.
    One,
}

impl TablePattern {
    /// One pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut characters = text.chars().peekable();
        let pattern = Self::read(&mut characters, None);
        pattern.ok_or_else(|| invalid(text))
    }

    /// Patterns that are separated by commas.
    #[cfg(feature = "cli")]
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, Error> {
        let mut characters = text.chars().peekable();
        let mut patterns = Vec::new();
        loop {
            patterns.push(Self::read(&mut characters, Some(',')).ok_or_else(|| invalid(text))?);
            if characters.next().is_none() {
                return Ok(patterns);
            }
        }
    }

    /// The pattern before the first `=` outside quotes, and what stands behind that.
    #[cfg(feature = "cli")]
    pub(crate) fn parse_assignment(text: &str) -> Option<(Self, String)> {
        let mut characters = text.chars().peekable();
        let pattern = Self::read(&mut characters, Some('='))?;
        characters.next()?;
        Some((pattern, characters.collect()))
    }

    /// Reads up to `end`, which stays; `None` if a name is missing or a quote is not closed.
    fn read(
        characters: &mut std::iter::Peekable<std::str::Chars<'_>>,
        end: Option<char>,
    ) -> Option<Self> {
        let (mut text, mut tokens) = (String::new(), Vec::new());
        let mut begins = true;
        while let Some(character) = characters.next_if(|next| Some(*next) != end) {
            text.push(character);
            match character {
                '\0' => return None,
                '"' if begins => loop {
                    let quoted = characters.next()?;
                    text.push(quoted);
                    if quoted != '"' {
                        tokens.push(Token::Exactly(quoted));
                    } else if characters.next_if_eq(&'"').is_some() {
                        text.push('"');
                        tokens.push(Token::Exactly('"'));
                    } else {
                        break;
                    }
                },
                '.' => tokens.push(Token::Dot),
                '*' => tokens.push(Token::Any),
                '?' => tokens.push(Token::One),
                other => tokens.push(Token::Exactly(other)),
            }
            begins = character == '.';
        }
        let complete = !tokens.is_empty()
            && tokens.first() != Some(&Token::Dot)
            && tokens.last() != Some(&Token::Dot);
        complete.then_some(Self { text, tokens })
    }

    /// As it was given.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it can match tables of several names.
    pub(crate) fn is_open(&self) -> bool {
        self.tokens
            .iter()
            .any(|token| matches!(token, Token::Any | Token::One))
    }

    /// SQL that tells whether the table with the identifier `oid`, or a partitioned table that it is part
    /// of, is meant.
    pub(crate) fn matches(&self, oid: &str) -> String {
        format!(
            "EXISTS (SELECT FROM (SELECT ({oid})::oid UNION SELECT relid FROM pg_partition_ancestors({oid})) whole (oid) \
             JOIN pg_class wc ON wc.oid = whole.oid JOIN pg_namespace wn ON wn.oid = wc.relnamespace WHERE {})",
            self.matches_name("wn.nspname", "wc.relname")
        )
    }

    /// SQL that tells whether `schema` and `name` are meant.
    fn matches_name(&self, schema: &str, name: &str) -> String {
        let dots = self
            .tokens
            .iter()
            .enumerate()
            .filter(|(_, token)| **token == Token::Dot)
            .map(|(at, _)| at);
        let mut alternatives: Vec<String> = dots
            .map(|at| {
                let (of, rest) = (&self.tokens[..at], &self.tokens[at + 1..]);
                format!("{schema} LIKE {} AND {name} LIKE {}", like(of), like(rest))
            })
            .collect();
        if alternatives.is_empty() || !self.is_open() {
            alternatives.push(format!("{name} LIKE {}", like(&self.tokens)));
        }
        alternatives.join(" OR ")
    }
}

/// The operand of `LIKE`.
fn like(tokens: &[Token]) -> String {
    let mut pattern = String::new();
    for token in tokens {
        match token {
            Token::Any => pattern.push('%'),
            Token::One => pattern.push('_'),
            Token::Dot => pattern.push('.'),
            Token::Exactly(character) => {
                if matches!(character, '%' | '_' | '!') {
                    pattern.push('!');
                }
                pattern.push(*character);
            }
        }
    }
    format!("{} ESCAPE '!'", quote_literal(&pattern))
}

fn invalid(text: &str) -> Error {
    Error::configuration(format!(
        "the pattern {text:?} names no table: it is `table` or `schema.table`, with * for any text, ? for one \
         character, and double quotes around names that hold such characters"
    ))
}

#[cfg(test)]
mod tests;
