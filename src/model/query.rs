//! What is looked for?

use serde::{Deserialize, Serialize};

/// What a search looks for: words, a vector, or both.
///
/// Of a text, words are looked for, and its meaning too where the store embeds texts itself. `+word` asks for
/// experiences that have the word, `-word` for those that do not, `"a phrase"` for words behind each
/// other, `wor*` for any ending; all other words make experiences with more of them better. Operators
/// count at the beginning of a word only; [`Query::plain`] takes a text as it is.
///
/// ```
/// use pulsedb::Query;
/// let words = Query::from("retry +jitter -sleep \"thundering herd\" back*");
/// let vector = Query::from([0.6_f32, 0.8]);
/// let both = Query::plain("Why do all clients come back at once?").with_vector(vec![0.6, 0.8]);
/// # let _ = (words, vector, both);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// Words, up to 100 KiB.
    pub text: Option<String>,
    /// Whether operators in the text are text like the rest.
    pub plain: bool,
    /// Whether the text is for its words only, although the store could embed it.
    pub words_only: bool,
    /// A vector of the collective's dimension; it stands for the text's meaning where there is one.
    pub vector: Option<Vec<f32>>,
}

impl Query {
    /// A text with operators.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// A text as it is, without operators: what a person or an agent has said.
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            plain: true,
            ..Self::text(text)
        }
    }

    /// A text with operators, by its words alone.
    pub fn words(text: impl Into<String>) -> Self {
        Self {
            words_only: true,
            ..Self::text(text)
        }
    }

    /// A vector.
    pub fn vector(vector: impl Into<Vec<f32>>) -> Self {
        Self {
            vector: Some(vector.into()),
            ..Self::default()
        }
    }

    /// The same with this vector.
    #[must_use]
    pub fn with_vector(self, vector: impl Into<Vec<f32>>) -> Self {
        Self {
            vector: Some(vector.into()),
            ..self
        }
    }
}

macro_rules! from {
    ($make:ident: $($type:ty $(, $size:ident)?;)+) => {$(
        impl$(<const $size: usize>)? From<$type> for Query {
            fn from(from: $type) -> Self {
                Self::$make(from)
            }
        }
    )+};
}

from! { text: &str; String; &String; }
from! { vector: Vec<f32>; &[f32]; [f32; N], N; &[f32; N], N; }

impl From<&Vec<f32>> for Query {
    fn from(vector: &Vec<f32>) -> Self {
        Self::vector(vector.as_slice())
    }
}
