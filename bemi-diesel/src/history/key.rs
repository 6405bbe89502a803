//! Primary keys as the trail holds them.

use std::fmt;

use chrono::{DateTime, NaiveDateTime, Timelike, Utc};
use uuid::Uuid;

/// A [primary key](crate::Change::primary_key) as text.
///
/// Keys of one column come from texts, integers, `bool`, [`Uuid`], dates and times, keys of several from tuples
/// in the key's order. Any other value goes in as the text that PostgreSQL writes it as.
///
/// ```
/// use bemi_diesel::history::Key;
///
/// assert_eq!(Key::from(7).as_str(), "7");
/// assert_eq!(Key::from((7, "a")).as_str(), r#"["7","a"]"#);
/// assert_eq!(Key::from(true).as_str(), "t");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of several columns, or of one.
    pub(crate) fn of_columns<const N: usize>(parts: [Key; N]) -> Self {
        if let [Self(part)] = &parts[..] {
            return Self(part.clone());
        }
        let parts = parts.map(|Self(part)| part);
        Self(serde_json::Value::from(parts.to_vec()).to_string())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl From<bool> for Key {
    fn from(value: bool) -> Self {
        Self(if value { "t" } else { "f" }.to_owned())
    }
}

impl From<&bool> for Key {
    fn from(value: &bool) -> Self {
        Self::from(*value)
    }
}

impl From<NaiveDateTime> for Key {
    fn from(time: NaiveDateTime) -> Self {
        // PostgreSQL writes as many digits as there are.
        let micros = format!("{:06}", time.nanosecond() / 1000);
        let micros = micros.trim_end_matches('0');
        let point = if micros.is_empty() { "" } else { "." };
        Self(format!(
            "{}{point}{micros}",
            time.format("%Y-%m-%d %H:%M:%S")
        ))
    }
}

impl From<DateTime<Utc>> for Key {
    fn from(time: DateTime<Utc>) -> Self {
        let Self(text) = time.naive_utc().into();
        Self(text + "+00")
    }
}

impl From<&NaiveDateTime> for Key {
    fn from(time: &NaiveDateTime) -> Self {
        Self::from(*time)
    }
}

impl From<&DateTime<Utc>> for Key {
    fn from(time: &DateTime<Utc>) -> Self {
        Self::from(*time)
    }
}

impl From<Key> for String {
    fn from(Key(text): Key) -> Self {
        text
    }
}

macro_rules! from_display {
    ($($ty:ty)*) => {$(
        impl From<$ty> for Key {
            fn from(value: $ty) -> Self {
                Self(value.to_string())
            }
        }

        impl From<&$ty> for Key {
            fn from(value: &$ty) -> Self {
                Self(value.to_string())
            }
        }
    )*};
}

from_display!(i16 i32 i64 u32 Uuid String chrono::NaiveDate);

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

macro_rules! from_tuple {
    ($($ty:ident $at:tt),*) => {
        impl<$($ty: Into<Key>),*> From<($($ty,)*)> for Key {
            fn from(parts: ($($ty,)*)) -> Self {
                Self::of_columns([$(parts.$at.into()),*])
            }
        }
    };
}

from_tuple!(A 0, B 1);
from_tuple!(A 0, B 1, C 2);
from_tuple!(A 0, B 1, C 2, D 3);
