//! Which choices are there about words?

use serde::{Deserialize, Serialize};

use crate::error::{PulseDBError, Result};

/// How texts are searched by their words. Changing it needs nothing: the index is made of the texts anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// The language that stop words and stems are taken from.
    pub language: TextLanguage,
    /// How much more a word counts that comes often in a text, 0–100: 0 counts it once. From the 16th time on it counts
    /// no more. 0.9 suits short texts.
    pub k1: f32,
    /// How much longer texts are held to say less with a word, 0–1. 0.2 suits short texts; long ones of very
    /// different lengths want 0.4.
    pub b: f32,
    /// When words are indexed.
    pub indexing: TextIndexing,
    /// Rows of a collective whose words are in use that may wait to be indexed, ≥ 1: the next search indexes them, some
    /// 10 µs each. Beyond it new texts wait up to `write_timeout`, then get
    /// [`Backpressure`](crate::PulseDBError::Backpressure).
    pub max_tail_rows: u32,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            language: TextLanguage::default(),
            k1: 0.9,
            b: 0.2,
            indexing: TextIndexing::default(),
            // Half a second of a search that meets them all. Indexing keeps up with some 100,000 short texts a second.
            max_tail_rows: 50_000,
        }
    }
}

impl TextConfig {
    pub(super) fn check(&self) -> Result<()> {
        for (field, value, max) in [("text.k1", self.k1, 100.0), ("text.b", self.b, 1.0)] {
            if !(0.0..=max).contains(&value) {
                return Err(PulseDBError::config(
                    field,
                    format!("{value} is outside 0..={max}"),
                ));
            }
        }
        if self.max_tail_rows == 0 {
            return Err(PulseDBError::config("text.max_tail_rows", "0 is below 1"));
        }
        Ok(())
    }
}

/// When the words of a collective are indexed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextIndexing {
    /// From the first search by words on, which reads all texts of the collective (some 10 µs each). Who
    /// never searches by words pays nothing.
    #[default]
    OnUse,
    /// From the open on, for every collective, in the background.
    Always,
}

macro_rules! languages {
    ($($(#[$doc:meta])* $name:ident $code:literal,)+) => {
        /// A language that texts are written in. Words are found in any language; this says which of them
        /// carry no meaning, and which are forms of the same one.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum TextLanguage {
            /// None in particular: every word counts, and only as it is written, but for case and accents.
            Any,
            $($(#[$doc])* $name,)+
        }

        impl TextLanguage {
            /// All of them.
            pub const ALL: &[Self] = &[Self::Any, $(Self::$name),+];

            /// Its ISO 639-1 code; `None` for [`TextLanguage::Any`].
            #[must_use]
            pub const fn code(self) -> Option<&'static str> {
                match self {
                    Self::Any => None,
                    $(Self::$name => Some($code),)+
                }
            }
        }
    };
}

languages! {
    /// Arabic.
    Arabic "ar",
    /// Basque.
    Basque "eu",
    /// Catalan.
    Catalan "ca",
    /// Danish.
    Danish "da",
    /// Dutch.
    Dutch "nl",
    /// English.
    #[default]
    English "en",
    /// Finnish.
    Finnish "fi",
    /// French.
    French "fr",
    /// German.
    German "de",
    /// Greek.
    Greek "el",
    /// Hungarian.
    Hungarian "hu",
    /// Indonesian.
    Indonesian "id",
    /// Italian.
    Italian "it",
    /// Nepali.
    Nepali "ne",
    /// Norwegian.
    Norwegian "no",
    /// Portuguese.
    Portuguese "pt",
    /// Romanian.
    Romanian "ro",
    /// Russian.
    Russian "ru",
    /// Spanish.
    Spanish "es",
    /// Swedish.
    Swedish "sv",
    /// Tamil.
    Tamil "ta",
    /// Turkish.
    Turkish "tr",
}
