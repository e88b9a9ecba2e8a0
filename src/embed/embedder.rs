//! What must something be able to do, so that the store can turn texts into vectors with it?
//!
//! The contract is asynchronous and in batches, and names no runtime. It is compiled whatever the
//! features are, since an application may bring an embedder of its own.

use std::{fmt::Debug, pin::Pin};

use crate::{config::Precision, error::Result, model::EmbedderIdentity};

/// The answer of [`Embedder::embed`] to come: one vector per text, in their order.
pub type EmbedFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<Vec<f32>>>> + Send + 'a>>;

/// Whether somebody waits for the answer, and what the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Priority {
    /// The text is a question; it goes before everything that is merely to be stored.
    Query,
    /// The text is to be stored.
    Ingest,
}

/// Makes vectors of texts.
///
/// Equal texts of one [`Priority`] must give equal vectors whatever else is in their batch: the store keeps
/// vectors of texts that were embedded lately ([`Config::cache_size_mb`](crate::Config::cache_size_mb)). Vectors of two
/// embedders with the same identity must be comparable: the store refuses to mix identities, and
/// trusts in what they say.
///
/// ```
/// use pulsedb::{EmbedFuture, Embedder, Priority, model::EmbedderIdentity};
///
/// /// Counts letters. Good for a test, and for finding anagrams.
/// #[derive(Debug)]
/// struct Letters(EmbedderIdentity);
///
/// impl Embedder for Letters {
///     fn identity(&self) -> Option<&EmbedderIdentity> {
///         Some(&self.0)
///     }
///
///     fn dimension(&self) -> usize {
///         26
///     }
///
///     fn embed(&self, texts: Vec<String>, _: Priority) -> EmbedFuture<'_> {
///         let count = |text: &String| {
///             let mut vector = vec![0.0; 26];
///             for letter in text.bytes().filter(u8::is_ascii_alphabetic) {
///                 vector[usize::from(letter.to_ascii_lowercase() - b'a')] += 1.0;
///             }
///             vector
///         };
///         let vectors = texts.iter().map(count).collect();
///         Box::pin(async move { Ok(vectors) })
///     }
/// }
///
/// let letters = Letters(EmbedderIdentity {
///     provider: "example".into(),
///     model: "letters".into(),
///     fingerprint: "1".into(),
/// });
/// assert_eq!(letters.dimension(), 26);
/// ```
pub trait Embedder: Send + Sync + Debug {
    /// Which model this is. Answered at once, without I/O; `None` only where it is not known
    /// before the model is loaded. Once an [`embed`](Self::embed) of at least one text has
    /// succeeded it is known, and it never changes.
    fn identity(&self) -> Option<&EmbedderIdentity>;

    /// Components of every vector.
    fn dimension(&self) -> usize;

    /// Vectors of `texts`, in their order, each finite and [`dimension`](Self::dimension) long.
    ///
    /// All or none: one text that cannot be embedded fails the call. Neither this call nor a poll
    /// of the future may compute for long or block; the work belongs on threads of the embedder.
    /// Dropping the future gives the work up where it has not begun, and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Embedding`](crate::PulseDBError::Embedding) if a text cannot be embedded,
    /// [`Backpressure`](crate::PulseDBError::Backpressure) if too many texts wait already.
    fn embed(&self, texts: Vec<String>, priority: Priority) -> EmbedFuture<'_>;

    /// What products with the model's weights are computed in, [`Precision::F32`] or [`Precision::Bf16`]; `None` where that is not
    /// known, or not known yet. Collectives tell which they were
    /// ([`Collective::precisions`](crate::model::Collective::precisions)).
    fn precision(&self) -> Option<Precision> {
        None
    }

    /// How many tokens a text has, all of it; `None` where that is not known, or not known yet. Called on
    /// threads that may compute, not wait.
    fn count_tokens(&self, text: &str) -> Option<usize> {
        let _ = text;
        None
    }
}
