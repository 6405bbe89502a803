//! What a statement does, read off its text. Pure.
//!
//! The text is split into tokens by [`sqlparser`]; nothing is parsed, because all that is asked is
//! the main verb, whether there is a `RETURNING`, and the highest parameter. Whatever is not
//! recognised is [`Kind::Unknown`], and unknown statements are sent as they are.

use std::borrow::Cow;
use std::sync::Arc;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer, Word};

use super::emit;
use super::inline::Inline;
use crate::history::TravelError;

/// A statement that is more than a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) kind: Kind,
    /// The text as a member of a message, if it is known.
    pub(super) text: Option<Arc<str>>,
    /// The statement with the message in its `VALUES`, where it has a place there.
    pub(super) inline: Option<Inline>,
    /// The text itself, for who may have to send it a second time.
    #[cfg(feature = "async")]
    pub(super) sql: Arc<str>,
}

impl Statement {
    /// Classifies a text that is sent as one statement, of which `bytes` go into a message. `None`: it
    /// changes no row.
    pub(super) fn new(sql: &str, bytes: usize) -> Option<Self> {
        let mut kinds = kinds(sql);
        let kind = match (kinds.pop(), kinds.is_empty()) {
            (Some(kind), true) => kind,
            _ => Kind::Unknown,
        };
        let inline = match &kind {
            Kind::Dml(dml) => Inline::new(sql, dml),
            _ => None,
        };
        (kind != Kind::Read).then(|| Self {
            kind,
            text: emit::text(sql, bytes),
            inline,
            #[cfg(feature = "async")]
            sql: sql.into(),
        })
    }

    /// One whose text is not known.
    #[cfg(feature = "sync")]
    pub(super) fn without_text(kind: Kind) -> Self {
        Self {
            kind,
            text: None,
            inline: None,
            #[cfg(feature = "async")]
            sql: Arc::default(),
        }
    }
}

/// What a statement does to rows and to the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes no row.
    Read,
    /// An `INSERT`, `UPDATE` or `DELETE`, to whose end the message can be appended.
    Dml(Dml),
    /// Changes rows, may run in a transaction block, and can carry no message itself: `MERGE`,
    /// `TRUNCATE`, `COPY … FROM`, a `SELECT` over a data-modifying `WITH`.
    Write,
    /// Begins, ends or divides a transaction.
    Control(Control),
    /// Anything else: it may change rows, and it may refuse to run in a transaction block.
    Unknown,
}

impl Kind {
    /// Whether rows are changed, if there are any.
    pub(super) fn writes(&self) -> bool {
        matches!(self, Self::Dml(_) | Self::Write)
    }

    /// Whether rows may be changed.
    pub(super) fn may_write(&self) -> bool {
        matches!(self, Self::Dml(_) | Self::Write | Self::Unknown)
    }
}

/// An `INSERT`, `UPDATE` or `DELETE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dml {
    /// Whether it has a `RETURNING` already.
    pub(super) returning: bool,
    pub(super) rows: Rows,
    /// The highest `$n` in it.
    pub(super) parameters: u32,
    /// The relation it writes to, without its schema.
    pub(super) target: String,
}

/// How many rows it changes, as far as the text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// One at most: it inserts one row of `VALUES`.
    One,
    /// No more than the rows of `VALUES` in its text.
    Listed,
    Unknown,
}

/// A statement of transaction control, with the name of the savepoint where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Begin,
    Commit,
    CommitAndChain,
    /// `PREPARE TRANSACTION`: the session is done with it, and its rows are decided.
    Prepare,
    Rollback,
    RollbackAndChain,
    Savepoint(String),
    Release(String),
    RollbackTo(String),
}

/// Whether the batch `sql` can run in the past: it divides the transaction, as diesel does for one within
/// another.
pub(super) fn travels(sql: &str) -> Result<(), TravelError> {
    match kinds(sql).as_slice() {
        [Kind::Control(Control::Savepoint(_) | Control::Release(_) | Control::RollbackTo(_))] => {
            Ok(())
        }
        _ => Err(TravelError::Write),
    }
}

/// The kinds of the statements in `sql`, which are divided by semicolons.
pub(super) fn kinds(sql: &str) -> Vec<Kind> {
    let sql = without_rows(sql).map_or(Cow::Borrowed(sql), Cow::Owned);
    let Ok(mut tokens) = Tokenizer::new(&PostgreSqlDialect {}, &sql).tokenize() else {
        return vec![Kind::Unknown];
    };
    let comment_at_end = matches!(
        tokens.last(),
        Some(Token::Whitespace(space)) if space.to_string().starts_with("--")
    );
    tokens.retain(|token| !matches!(token, Token::Whitespace(_)));
    // With `standard_conforming_strings` off a backslash may have hidden the end of a literal. The
    // body of an SQL-standard function (`BEGIN ATOMIC … END`) has semicolons of its own.
    let ambiguous = tokens.iter().any(|token| match token {
        Token::SingleQuotedString(text) => text.contains('\\'),
        Token::Word(word) => is(word, "ATOMIC"),
        _ => false,
    });
    if ambiguous {
        return vec![Kind::Unknown];
    }
    let closed = comment_at_end || matches!(tokens.last(), Some(Token::SemiColon));
    tokens
        .split(|token| *token == Token::SemiColon)
        .filter(|tokens| !tokens.is_empty())
        .map(|tokens| match kind(tokens) {
            // Nothing can be appended behind a semicolon or inside a comment.
            Kind::Dml(_) if closed => Kind::Write,
            kind => kind,
        })
        .collect()
}

/// An `INSERT` of many rows with only the last of them, as it takes longer to split a thousand rows into
/// tokens than to send them. `None` where there are few, or where they hold more than parameters and
/// `DEFAULT`.
fn without_rows(sql: &str) -> Option<String> {
    const MANY_BYTES: usize = 2048;
    const VALUES: &str = " VALUES ";
    if sql.len() < MANY_BYTES || !sql.starts_with("INSERT INTO ") {
        return None;
    }
    let (head, rows) = sql.split_at(sql.find(VALUES)? + VALUES.len());
    // The word is not inside a literal, a comment, or a name.
    if head.contains(['\'', '$', '-', '/']) || head.matches('"').count() % 2 == 1 {
        return None;
    }
    // By the byte, as a thousand rows have tens of thousands: what is not ASCII is none of these.
    let plain = |byte: u8| byte.is_ascii_digit() || b"$(), DEFAULT".contains(&byte);
    let other = rows.bytes().position(|byte| !plain(byte));
    let end = other.unwrap_or(rows.len());
    let (left_out, last) = rows.split_at(rows.get(..end)?.rfind("), (")? + 3);
    let (mut highest, mut number, mut before) = (0_u32, None, b' ');
    for byte in left_out.bytes() {
        number = match (byte, number) {
            (b'0'..=b'9', Some(digits)) => {
                let digits = u32::checked_mul(digits, 10)?;
                Some(digits.checked_add(u32::from(byte - b'0'))?)
            }
            // The quotes of a literal.
            _ if before == b'$' => return None,
            (b'$', _) => Some(0),
            _ => None,
        };
        highest = highest.max(number.unwrap_or(0));
        before = byte;
    }
    Some(match highest {
        0 => format!("{head}(DEFAULT),{last}"),
        highest => format!("{head}(${highest}),{last}"),
    })
}

fn kind(tokens: &[Token]) -> Kind {
    let Some(first) = tokens.iter().find_map(unquoted) else {
        return Kind::Unknown;
    };
    match first.keyword {
        Keyword::INSERT | Keyword::UPDATE | Keyword::DELETE => dml(tokens, 0),
        Keyword::WITH => with(tokens),
        Keyword::SELECT | Keyword::VALUES | Keyword::TABLE => query(tokens),
        Keyword::MERGE | Keyword::TRUNCATE => Kind::Write,
        Keyword::COPY => copy(tokens),
        Keyword::SHOW
        | Keyword::SET
        | Keyword::RESET
        | Keyword::LISTEN
        | Keyword::UNLISTEN
        | Keyword::NOTIFY
        | Keyword::DEALLOCATE
        | Keyword::DISCARD
        | Keyword::CLOSE
        | Keyword::LOCK
        | Keyword::VACUUM
        | Keyword::ANALYZE => Kind::Read,
        _ => control(tokens).map_or(Kind::Unknown, Kind::Control),
    }
}

/// The statement whose verb stands at `verb`.
fn dml(tokens: &[Token], verb: usize) -> Kind {
    let target = target(&tokens[verb..]);
    let returning =
        top_level(tokens).any(|(at, word)| at > verb && word.keyword == Keyword::RETURNING);
    let parameters = tokens.iter().filter_map(parameter).max().unwrap_or(0);
    target.map_or(Kind::Unknown, |target| {
        Kind::Dml(Dml {
            returning,
            rows: rows(tokens, verb),
            parameters,
            target,
        })
    })
}

/// How many rows the statement whose verb stands at `verb` changes.
fn rows(tokens: &[Token], verb: usize) -> Rows {
    let inserts =
        matches!(tokens.get(verb), Some(Token::Word(word)) if word.keyword == Keyword::INSERT);
    let mut words = top_level(tokens).filter(|(at, _)| *at > verb);
    let values = words.find(|(_, word)| {
        // A name in front of it may be called anything, but a query is none.
        matches!(
            word.keyword,
            Keyword::VALUES | Keyword::SELECT | Keyword::TABLE
        )
    });
    let Some((values, word)) = values.filter(|_| inserts) else {
        return Rows::Unknown;
    };
    let combined = words.any(|(_, word)| {
        matches!(
            word.keyword,
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT
        )
    });
    if word.keyword != Keyword::VALUES || combined {
        return Rows::Unknown;
    }
    let mut depth = 0_i32;
    let more = tokens.iter().skip(values).any(|token| {
        match token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        // Also the comma between two assignments of a `DO UPDATE`, which errs on the safe side.
        depth == 0 && *token == Token::Comma
    });
    if more { Rows::Listed } else { Rows::One }
}

/// The relation behind `INSERT INTO`, `UPDATE [ONLY]`, `DELETE FROM [ONLY]`.
fn target(tokens: &[Token]) -> Option<String> {
    let mut rest = tokens.iter().skip(1).skip_while(|token| {
        unquoted(token).is_some_and(|word| {
            matches!(word.keyword, Keyword::INTO | Keyword::FROM | Keyword::ONLY)
        }) || **token == Token::LParen
    });
    let mut name = name(rest.next()?)?;
    while rest.next() == Some(&Token::Period) {
        name = self::name(rest.next()?)?;
    }
    Some(name)
}

/// A statement that starts with `WITH`: its verb is the first one outside parentheses that is not the
/// name of a common table expression.
fn with(tokens: &[Token]) -> Kind {
    let verb = top_level(tokens).find(|(at, word)| {
        let named = at.checked_sub(1).and_then(|before| tokens.get(before));
        let named = match named {
            Some(Token::Comma) => true,
            Some(token) => unquoted(token)
                .is_some_and(|word| matches!(word.keyword, Keyword::WITH | Keyword::RECURSIVE)),
            None => false,
        };
        !named
            && matches!(
                word.keyword,
                Keyword::INSERT
                    | Keyword::UPDATE
                    | Keyword::DELETE
                    | Keyword::MERGE
                    | Keyword::SELECT
                    | Keyword::VALUES
                    | Keyword::TABLE
            )
    });
    match verb {
        Some((at, word)) => match word.keyword {
            // The rows of the `WITH` count although the statement itself may return none.
            _ if modifies(&tokens[..at]) => Kind::Write,
            Keyword::INSERT | Keyword::UPDATE | Keyword::DELETE => dml(tokens, at),
            Keyword::MERGE => Kind::Write,
            _ => query(tokens),
        },
        None => Kind::Unknown,
    }
}

/// Whether a `WITH` holds a data-modifying statement. `UPDATE` is also a lock (`FOR UPDATE`, `FOR NO
/// KEY UPDATE`); what else looks like one errs on the safe side.
fn modifies(tokens: &[Token]) -> bool {
    tokens.iter().enumerate().any(|(at, token)| {
        let Some(word) = unquoted(token) else {
            return false;
        };
        let before = at
            .checked_sub(1)
            .and_then(|before| unquoted(&tokens[before]))
            .map(|word| word.keyword);
        match word.keyword {
            Keyword::INSERT | Keyword::DELETE | Keyword::MERGE => true,
            Keyword::UPDATE => !matches!(before, Some(Keyword::FOR | Keyword::KEY)),
            _ => false,
        }
    })
}

/// `SELECT`, `VALUES`, `TABLE`: a read, unless it makes a table or calls a function that may write.
fn query(tokens: &[Token]) -> Kind {
    if top_level(tokens).any(|(_, word)| word.keyword == Keyword::INTO) {
        return Kind::Write;
    }
    let calls = tokens.windows(2).enumerate().any(|(at, pair)| {
        let [Token::Word(word), Token::LParen] = pair else {
            return false;
        };
        let qualified = at.checked_sub(1).map(|before| &tokens[before]) == Some(&Token::Period);
        qualified || !HARMLESS.split(' ').any(|name| is(word, name))
    });
    if calls { Kind::Unknown } else { Kind::Read }
}

/// What stands before a parenthesis in a query and writes nothing: syntax, and the functions in most
/// queries. One that is missing here costs a transaction that only reads one more statement in its
/// `COMMIT`.
const HARMLESS: &str = "\
    ALL AND ANY ARRAY AS AVG BETWEEN BY CASE CAST COALESCE COUNT DISTINCT ELSE EXCEPT EXISTS \
    EXTRACT FILTER FROM GREATEST HAVING IN INTERSECT IS JOIN LATERAL LEAST LIKE LIMIT LOWER \
    MATERIALIZED MAX MIN NOT NOW NULLIF NUMERIC OFFSET ON OR OVER ROW SELECT SOME SUM THEN \
    UNION UPPER USING VALUES VARCHAR WHEN WHERE";

fn copy(tokens: &[Token]) -> Kind {
    if top_level(tokens).any(|(_, word)| word.keyword == Keyword::FROM) {
        Kind::Write
    } else {
        Kind::Read
    }
}

fn control(tokens: &[Token]) -> Option<Control> {
    let words: Vec<&Word> = tokens.iter().map_while(word).collect();
    let mut keywords: Vec<String> = words
        .iter()
        .map(|word| word.value.to_ascii_uppercase())
        .collect();
    // Noise, except as the name of a savepoint.
    if keywords.len() > 1
        && matches!(keywords[1].as_str(), "WORK" | "TRANSACTION")
        && !matches!(keywords[0].as_str(), "SAVEPOINT" | "RELEASE")
    {
        keywords.remove(1);
    }
    let keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
    let last = || words.last().map(|word| folded(word));
    match *keywords.as_slice() {
        ["BEGIN" | "START", ..] => Some(Control::Begin),
        ["COMMIT" | "END"] | ["COMMIT" | "END", "AND", "NO", "CHAIN"] => Some(Control::Commit),
        ["COMMIT" | "END", "AND", "CHAIN"] => Some(Control::CommitAndChain),
        // With the literal that follows, which is no word. `PREPARE name AS …` is another statement.
        ["PREPARE"] => Some(Control::Prepare),
        ["ROLLBACK" | "ABORT"] | ["ROLLBACK" | "ABORT", "AND", "NO", "CHAIN"] => {
            Some(Control::Rollback)
        }
        ["ROLLBACK" | "ABORT", "AND", "CHAIN"] => Some(Control::RollbackAndChain),
        ["SAVEPOINT", _] => last().map(Control::Savepoint),
        ["RELEASE", _] | ["RELEASE", "SAVEPOINT", _] => last().map(Control::Release),
        ["ROLLBACK", "TO", _] | ["ROLLBACK", "TO", "SAVEPOINT", _] => {
            last().map(Control::RollbackTo)
        }
        _ => None,
    }
}

/// The unquoted words outside parentheses, each with its place among all tokens.
fn top_level(tokens: &[Token]) -> impl Iterator<Item = (usize, &Word)> {
    let mut depth = 0_i32;
    tokens.iter().enumerate().filter_map(move |(at, token)| {
        match token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        unquoted(token)
            .filter(|_| depth == 0)
            .map(|word| (at, word))
    })
}

fn parameter(token: &Token) -> Option<u32> {
    let Token::Placeholder(placeholder) = token else {
        return None;
    };
    let digits = placeholder.strip_prefix('$')?;
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}

fn word(token: &Token) -> Option<&Word> {
    match token {
        Token::Word(word) => Some(word),
        _ => None,
    }
}

fn unquoted(token: &Token) -> Option<&Word> {
    word(token).filter(|word| word.quote_style.is_none())
}

fn name(token: &Token) -> Option<String> {
    word(token).map(folded)
}

/// A name as the server folds it.
fn folded(word: &Word) -> String {
    match word.quote_style {
        Some(_) => word.value.clone(),
        None => word.value.to_ascii_lowercase(),
    }
}

fn is(word: &Word, name: &str) -> bool {
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests;
