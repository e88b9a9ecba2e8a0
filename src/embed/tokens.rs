//! Which token ids does a text become?
//!
//! The model's own tokenizer, cut to the model's limit. Never fails on any text; a text without a
//! word becomes the two marker tokens. Used by `encoder`.

use tokenizers::{
    DecoderWrapper, Encoding, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer, TokenizerImpl, models::wordpiece::WordPiece,
};

use crate::error::{PulseDBError, Result};

/// How much of a long text is looked at first. Almost always enough for 256 tokens, and a
/// tokenizer takes 10 ms for the longest text that the store accepts.
const FIRST_LOOK_BYTES: usize = 4096;

/// The tokenizer of nearly every BERT.
type WordPieces = TokenizerImpl<
    WordPiece,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// A tokenizer with a length limit.
#[derive(Debug)]
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    limit: usize,
}

impl Tokens {
    /// From the bytes of a `tokenizer.json`; texts are cut to `limit` tokens, markers included.
    pub(super) fn new(json: &[u8], limit: usize) -> Result<Self> {
        let error = |e: tokenizers::Error| PulseDBError::Embedding(format!("tokenizer.json: {e}"));
        // Where the model may be any, the library reads tens of thousands of words into a tree of values first, which takes
        // several times as long.
        let mut tokenizer = match serde_json::from_slice::<WordPieces>(json) {
            Ok(tokenizer) => tokenizer.into(),
            Err(_) => Tokenizer::from_bytes(json).map_err(error)?,
        };
        // Whole texts are counted, and cut here where they are too long.
        tokenizer.with_truncation(None).map_err(error)?;
        tokenizer.with_padding(None);
        Ok(Self { tokenizer, limit })
    }

    /// How many tokens `text` has, markers included, however long it is.
    pub(super) fn count(&self, text: &str) -> Option<usize> {
        let encoding = self.tokenizer.encode_fast(text, true).ok()?;
        Some(encoding.len())
    }

    /// The ids of all of `text` in windows of the limit, each between the two markers.
    pub(super) fn windows(&self, text: &str) -> Result<Vec<Vec<u32>>> {
        Ok(windows(self.ids(text)?.get_ids(), self.limit))
    }

    /// The ids of `text`, at most the limit.
    ///
    /// Looks at a prefix first: tokens never span white space, so a prefix that ends before white
    /// space and fills the limit gives the same ids as the whole text.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut look = FIRST_LOOK_BYTES;
        loop {
            let prefix = prefix(text, look);
            let encoding = self.ids(prefix)?;
            if prefix.len() == text.len() || encoding.len() >= self.limit {
                return Ok(cut(encoding.get_ids(), self.limit));
            }
            look = look.saturating_mul(4);
        }
    }

    fn ids(&self, text: &str) -> Result<Encoding> {
        let encoding = self.tokenizer.encode_fast(text, true);
        encoding.map_err(|e| PulseDBError::Embedding(format!("tokenizer: {e}")))
    }
}

/// At most `limit` ids each, with the first and the last of `ids`, which are the markers, around
/// the others.
fn windows(ids: &[u32], limit: usize) -> Vec<Vec<u32>> {
    let [first, words @ .., last] = ids else {
        return vec![ids.to_vec()];
    };
    if ids.len() <= limit {
        return vec![ids.to_vec()];
    }
    let around = |words: &[u32]| {
        let mut window = vec![*first];
        window.extend(words);
        window.push(*last);
        window
    };
    words
        .chunks(limit.saturating_sub(2).max(1))
        .map(around)
        .collect()
}

/// At most `limit` ids, the last of which is the marker that ends a text.
fn cut(ids: &[u32], limit: usize) -> Vec<u32> {
    let kept = limit.saturating_sub(1).min(ids.len());
    match ids.split_at_checked(kept) {
        Some((kept, cut)) => kept.iter().chain(cut.last()).copied().collect(),
        None => ids.to_vec(),
    }
}

/// The longest prefix of at most `bytes` that is followed by white space; the whole text if there
/// is none.
fn prefix(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let spaces = text.match_indices(char::is_whitespace).map(|(at, _)| at);
    let end = spaces
        .take_while(|at| *at <= bytes)
        .last()
        .unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{cut, prefix, windows};

    #[test]
    fn what_is_cut_keeps_its_end() {
        assert_eq!(cut(&[1, 5, 6, 7, 2], 5), [1, 5, 6, 7, 2]);
        assert_eq!(cut(&[1, 5, 6, 7, 2], 4), [1, 5, 6, 2]);
        assert_eq!(cut(&[1, 2], 256), [1, 2]);
        assert_eq!(cut(&[], 3), [0; 0]);
    }

    #[test]
    fn every_window_has_both_markers_and_every_word_is_in_one() {
        assert_eq!(windows(&[1, 5, 6, 2], 4), [[1, 5, 6, 2]]);
        let cut = windows(&[1, 5, 6, 7, 8, 9, 2], 4);
        assert_eq!(cut, [vec![1, 5, 6, 2], vec![1, 7, 8, 2], vec![1, 9, 2]]);
        assert_eq!(windows(&[1, 2], 2), [[1, 2]]);
        assert_eq!(windows(&[], 4), [[0; 0]]);
    }

    #[test]
    fn prefix_ends_before_white_space() {
        assert_eq!(prefix("one two three", 100), "one two three");
        assert_eq!(prefix("one two three", 9), "one two");
        assert_eq!(prefix("one two three", 6), "one");
        assert_eq!(prefix("unbroken", 3), "unbroken");
        assert_eq!(prefix("中文 中文中文", 9), "中文");
    }
}
