//! The relations that a query reads, found among its tokens. Pure.
//!
//! A relation stands behind `FROM`, `JOIN`, `TABLE`, and behind a comma in a list that one of them began.
//! What looks like one and is none costs a common table expression that nobody reads.

use std::ops::Range;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer, Word};

use super::error::TravelError;

/// What a query refers to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct References {
    pub(crate) relations: Vec<Name>,
    /// Functions that are called.
    pub(crate) functions: Vec<String>,
    /// The names of its own common table expressions.
    pub(crate) defined: Vec<String>,
    /// Names of two parts or more, anywhere: where they stand, and the first two parts.
    pub(crate) qualified: Vec<(Range<usize>, Name)>,
    /// Where a common table expression can be put.
    pub(crate) opening: Opening,
}

/// A name as the server folds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

/// The begin of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Without `WITH`.
    #[default]
    Plain,
    /// With `WITH` or `WITH RECURSIVE` up to this byte.
    With(usize),
}

/// A token with the bytes at which it stands.
struct Spot {
    token: Token,
    bytes: Range<usize>,
}

/// What is inside one pair of parentheses, or outside all.
#[derive(Default)]
struct Frame {
    list: List,
    next: Next,
    /// They are the arguments of a function, until a `SELECT` says otherwise.
    arguments: bool,
}

/// The list that has begun, of which a comma brings the next member.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum List {
    #[default]
    Other,
    Relations,
    Definitions,
}

/// What the next name is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Other,
    Relation,
    Definition,
}

impl References {
    /// Those of `sql`, which must be one query.
    pub(crate) fn of(sql: &str) -> Result<Self, TravelError> {
        let spots = spots(sql).ok_or(TravelError::Unreadable)?;
        let mut found = Self {
            opening: opening(&spots)?,
            ..Self::default()
        };
        let mut frames = vec![Frame::default()];
        let mut at = 0;
        while let Some(spot) = spots.get(at) {
            let before = at.checked_sub(1).and_then(|at| spots.get(at));
            let frame = frames.last_mut().ok_or(TravelError::Unreadable)?;
            match &spot.token {
                Token::LParen => {
                    let joined = std::mem::take(&mut frame.next) == Next::Relation;
                    frames.push(Frame {
                        arguments: before.is_some_and(|spot| is_function(&spot.token)),
                        ..if joined {
                            Frame::relations()
                        } else {
                            Frame::default()
                        }
                    });
                }
                Token::RParen => {
                    frames.pop();
                }
                Token::Comma => {
                    frame.next = match frame.list {
                        List::Other => Next::Other,
                        List::Relations => Next::Relation,
                        List::Definitions => Next::Definition,
                    };
                }
                Token::SemiColon if at + 1 < spots.len() => return Err(TravelError::Unreadable),
                Token::Word(word) => {
                    let taken = frame.word(word, before.map(|spot| &spot.token));
                    let end = chain_end(&spots, at);
                    if taken == Taken::Keyword && end == at + 1 {
                        at += 1;
                        continue;
                    }
                    found.name(&spots[at..end], taken, spots.get(end))?;
                    at = end;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        Ok(found)
    }

    /// Takes in the name that `spots` make, and what comes behind it.
    fn name(
        &mut self,
        spots: &[Spot],
        taken: Taken,
        next: Option<&Spot>,
    ) -> Result<(), TravelError> {
        let parts: Vec<&Word> = spots
            .iter()
            .filter_map(|spot| match &spot.token {
                Token::Word(word) => Some(word),
                _ => None,
            })
            .collect();
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Ok(());
        };
        if let (Some(second), Some(begin), Some(end)) = (parts.get(1), spots.first(), spots.get(2))
        {
            let name = Name {
                schema: Some(folded(first)),
                name: folded(second),
            };
            self.qualified
                .push((begin.bytes.start..end.bytes.end, name));
        }
        if next.is_some_and(|spot| spot.token == Token::LParen) && taken != Taken::Definition {
            self.functions.push(folded(last));
            return Ok(());
        }
        match (taken, parts.as_slice()) {
            (Taken::Definition, [name]) => self.defined.push(folded(name)),
            (Taken::Relation, [name]) => self.relations.push(Name {
                schema: None,
                name: folded(name),
            }),
            (Taken::Relation, [schema, name]) => self.relations.push(Name {
                schema: Some(folded(schema)),
                name: folded(name),
            }),
            (Taken::Relation, _) => return Err(TravelError::Unreadable),
            _ => {}
        }
        Ok(())
    }
}

/// What a word was taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Keyword,
    Relation,
    Definition,
    Other,
}

impl Frame {
    /// One in which a list of relations begins.
    fn relations() -> Self {
        Self {
            list: List::Relations,
            next: Next::Relation,
            arguments: false,
        }
    }

    fn word(&mut self, word: &Word, before: Option<&Token>) -> Taken {
        let own = match word.quote_style {
            None => word.keyword,
            Some(_) => Keyword::NoKeyword,
        };
        let before_it = before.map_or(Keyword::NoKeyword, keyword);
        match own {
            Keyword::SELECT | Keyword::VALUES => *self = Self::default(),
            Keyword::WITH if matches!(before, None | Some(Token::LParen)) => {
                (self.list, self.next) = (List::Definitions, Next::Definition);
            }
            Keyword::FROM if !self.arguments && before_it != Keyword::DISTINCT => {
                (self.list, self.next) = (List::Relations, Next::Relation);
            }
            Keyword::JOIN => (self.list, self.next) = (List::Relations, Next::Relation),
            Keyword::TABLE if self.list != List::Relations => {
                *self = Self {
                    next: Next::Relation,
                    ..Self::default()
                };
            }
            Keyword::RECURSIVE if self.next == Next::Definition => {}
            Keyword::ONLY | Keyword::LATERAL if self.next == Next::Relation => {}
            Keyword::WHERE
            | Keyword::GROUP
            | Keyword::ORDER
            | Keyword::HAVING
            | Keyword::LIMIT
            | Keyword::OFFSET
            | Keyword::FETCH
            | Keyword::FOR
            | Keyword::WINDOW
            | Keyword::UNION
            | Keyword::INTERSECT
            | Keyword::EXCEPT => (self.list, self.next) = (List::Other, Next::Other),
            _ => {
                return match std::mem::take(&mut self.next) {
                    Next::Relation => Taken::Relation,
                    Next::Definition => Taken::Definition,
                    Next::Other => Taken::Other,
                };
            }
        }
        Taken::Keyword
    }
}

/// How the query begins; an error for what is no query.
fn opening(spots: &[Spot]) -> Result<Opening, TravelError> {
    let mut words = spots
        .iter()
        .skip_while(|spot| spot.token == Token::LParen)
        .map(|spot| (keyword(&spot.token), spot.bytes.end));
    let parenthesised = spots
        .first()
        .is_some_and(|spot| spot.token == Token::LParen);
    match words.next() {
        // Inside parentheses it is a query of its own, with another one possible before.
        Some((Keyword::WITH, _)) if parenthesised => Ok(Opening::Plain),
        Some((Keyword::WITH, end)) => match words.next() {
            Some((Keyword::RECURSIVE, end)) => Ok(Opening::With(end)),
            _ => Ok(Opening::With(end)),
        },
        Some((Keyword::SELECT | Keyword::VALUES | Keyword::TABLE, _)) => Ok(Opening::Plain),
        _ => Err(TravelError::Write),
    }
}

/// The place behind the words that dots join to the one at `at`.
fn chain_end(spots: &[Spot], at: usize) -> usize {
    let mut end = at + 1;
    while let (Some(dot), Some(next)) = (spots.get(end), spots.get(end + 1))
        && dot.token == Token::Period
        && matches!(next.token, Token::Word(_))
    {
        end += 2;
    }
    end
}

/// Whether parentheses behind this token hold arguments: it is a name, or a keyword that takes some.
fn is_function(token: &Token) -> bool {
    match token {
        Token::Word(word) => {
            word.quote_style.is_some()
                || !matches!(
                    word.keyword,
                    Keyword::FROM
                        | Keyword::JOIN
                        | Keyword::IN
                        | Keyword::AS
                        | Keyword::EXISTS
                        | Keyword::LATERAL
                        | Keyword::ANY
                        | Keyword::ALL
                        | Keyword::SOME
                        | Keyword::UNION
                        | Keyword::MATERIALIZED
                )
        }
        _ => false,
    }
}

fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// A name as the server folds it.
fn folded(word: &Word) -> String {
    match word.quote_style {
        Some(_) => word.value.clone(),
        None => word.value.to_ascii_lowercase(),
    }
}

/// The tokens but for white space and comments, each with its bytes.
fn spots(sql: &str) -> Option<Vec<Spot>> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location()
        .ok()?;
    let mut places = Places::new(sql);
    tokens
        .into_iter()
        .map(|token| {
            let start = places.byte(token.span.start.line, token.span.start.column)?;
            let end = places.byte(token.span.end.line, token.span.end.column)?;
            Some(Spot {
                token: token.token,
                bytes: start..end,
            })
        })
        .filter(|spot| {
            !spot
                .as_ref()
                .is_some_and(|spot| matches!(spot.token, Token::Whitespace(_)))
        })
        .collect()
}

/// Turns lines and columns, which count characters, into bytes. They are asked for in their order.
struct Places<'a> {
    characters: std::iter::Peekable<std::str::CharIndices<'a>>,
    line: u64,
    column: u64,
    length: usize,
}

impl<'a> Places<'a> {
    fn new(sql: &'a str) -> Self {
        Self {
            characters: sql.char_indices().peekable(),
            line: 1,
            column: 1,
            length: sql.len(),
        }
    }

    fn byte(&mut self, line: u64, column: u64) -> Option<usize> {
        while (self.line, self.column) < (line, column) {
            match self.characters.next()? {
                (_, '\n') => (self.line, self.column) = (self.line + 1, 1),
                _ => self.column += 1,
            }
        }
        Some(self.characters.peek().map_or(self.length, |(at, _)| *at))
    }
}

#[cfg(test)]
mod tests;
