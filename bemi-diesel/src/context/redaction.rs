//! Which members are secrets, by their keys.

use std::borrow::Cow;
use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::Context;

/// What stands in a context in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// The keys that are secret by default, in the form that [`normalized`] gives.
const SECRETS: [&str; 44] = [
    "accesskey",
    "accesstoken",
    "apikey",
    "apikeys",
    "authorization",
    "authtoken",
    "bearer",
    "cardnumber",
    "clientsecret",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "creditcard",
    "csrf",
    "csrftoken",
    "currentpassword",
    "cvc",
    "cvv",
    "encryptionkey",
    "idtoken",
    "jwt",
    "newpassword",
    "oldpassword",
    "otp",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "passwordconfirmation",
    "passwordhash",
    "passwords",
    "privatekey",
    "pwd",
    "refreshtoken",
    "secret",
    "secretkey",
    "secrets",
    "sessionid",
    "signingkey",
    "ssn",
    "token",
    "tokens",
    "xsrf",
];

/// Takes the values of secret keys out of a context: each becomes [`REDACTED`], whatever it was.
///
/// A key is secret when one of the names is among its words, however they are joined: `password` finds
/// `password`, `user_password`, `passwordConfirmation` and `X-PASSWORD`, `api_key` also finds `apiKey`
/// and `apikey`, and neither finds `secretary`. Objects are searched at every depth, in arrays too; a
/// text is searched for the parameters of a query string, as in `/login?token=…` or `user=a&password=…`.
///
/// `bemi_actix` applies it to the contexts of requests; for others there is
/// [`SharedContext::with_redaction`](crate::SharedContext::with_redaction).
///
/// The default knows `password`, `passphrase`, `passcode`, `pwd`, `secret`, `token`, `authorization`,
/// `bearer`, `cookie`, `credentials`, `api_key`, `access_key`, `private_key`, `secret_key`,
/// `signing_key`, `encryption_key`, `session_id`, `csrf`, `xsrf`, `jwt`, `otp`, `card_number`,
/// `credit_card`, `cvv`, `cvc`, `ssn`, and the usual plurals and compounds.
///
/// ```
/// use bemi_diesel::{Context, Redaction};
/// use serde_json::json;
///
/// let redaction = Redaction::default().with_key("iban");
/// let mut context = Context::new()
///     .with("login", json!({"user": "ann", "newPassword": "hunter2", "accounts": [{"IBAN": "DE…"}]}))
///     .with("url", "/a?page=2&access_token=abc");
/// redaction.apply(&mut context);
/// assert_eq!(
///     context.get("login"),
///     Some(&json!({"user": "ann", "newPassword": "[redacted]", "accounts": [{"IBAN": "[redacted]"}]}))
/// );
/// assert_eq!(context.get("url"), Some(&json!("/a?page=2&access_token=[redacted]")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    keys: BTreeSet<Cow<'static, str>>,
    longest: usize,
}

impl Redaction {
    /// One that lets everything pass.
    #[must_use]
    pub fn none() -> Self {
        Self {
            keys: BTreeSet::new(),
            longest: 0,
        }
    }

    /// Also takes out the values of `key`, in any way of writing it. A key without letters and digits
    /// adds nothing.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        let key = normalized(key).concat();
        if !key.is_empty() {
            self.longest = self.longest.max(key.len());
            self.keys.insert(Cow::Owned(key));
        }
        self
    }

    /// Whether values of `key` are taken out.
    #[must_use]
    pub fn is_secret(&self, key: &str) -> bool {
        let words = normalized(key);
        (0..words.len()).any(|first| {
            let mut joined = String::new();
            for word in &words[first..] {
                joined.push_str(word);
                if joined.len() > self.longest {
                    return false;
                }
                if self.keys.contains(joined.as_str()) {
                    return true;
                }
            }
            false
        })
    }

    /// Takes the secrets out of `context`.
    pub fn apply(&self, context: &mut Context) {
        if !self.keys.is_empty() {
            self.members(&mut context.members);
        }
    }

    fn members(&self, members: &mut Map<String, Value>) {
        for (key, value) in members {
            if self.is_secret(key) {
                *value = Value::from(REDACTED);
            } else {
                self.value(value);
            }
        }
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::Object(members) => self.members(members),
            Value::Array(elements) => elements.iter_mut().for_each(|element| self.value(element)),
            Value::String(text) => {
                if let Cow::Owned(redacted) = self.query(text) {
                    *text = redacted;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// `text` without the secrets among the `key=value` in it, which stand at its beginning or behind
    /// `?`, `&`, `;` or `#`, with the key percent-encoded or not.
    #[must_use]
    pub fn query<'a>(&self, text: &'a str) -> Cow<'a, str> {
        const SEPARATORS: [char; 4] = ['?', '&', ';', '#'];
        let mut redacted = String::new();
        let mut copied = 0;
        let mut at = 0;
        for part in text.split_inclusive(SEPARATORS) {
            let end = at + part.len();
            let bare = part.trim_end_matches(SEPARATORS);
            if let Some((key, value)) = bare.split_once('=')
                && !value.is_empty()
                // Of a sentence the last word, as in `SET password = 'a'`.
                && let Some(word) = key.split_whitespace().next_back()
                && self.is_secret(&percent_decode_str(word).decode_utf8_lossy())
            {
                let value_at = at + key.len() + 1;
                redacted.push_str(&text[copied..value_at]);
                redacted.push_str(REDACTED);
                copied = value_at + value.len();
            }
            at = end;
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        redacted.push_str(&text[copied..]);
        Cow::Owned(redacted)
    }
}

impl Default for Redaction {
    fn default() -> Self {
        Self {
            keys: SECRETS.into_iter().map(Cow::Borrowed).collect(),
            longest: SECRETS.iter().map(|key| key.len()).max().unwrap_or(0),
        }
    }
}

/// The words of `key` in lower case. A word ends at whatever is no letter or digit, between letters and
/// digits, and before a capital that begins another: `X-apiKey2HTTPToken` is `x`, `api`, `key`, `2`,
/// `http`, `token`.
fn normalized(key: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut previous = None;
    let mut characters = key.chars().peekable();
    while let Some(character) = characters.next() {
        let begins = previous.is_some_and(|previous: char| {
            let capital = character.is_uppercase()
                && (!previous.is_uppercase()
                    || characters.peek().is_some_and(|next| next.is_lowercase()));
            capital || previous.is_numeric() != character.is_numeric()
        });
        if (begins || !character.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        }
        previous = Some(character);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
