//! Which characters of a Rust file are code, and which are comment or literal?

/// What to keep besides code.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Literals {
    Keep,
    Blank,
}

/// The text with every character of a comment (and of a literal, if asked) turned into a space;
/// line breaks stay.
pub(crate) fn code(text: &str, literals: Literals) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let (end, keep) = match token(&chars, at) {
            Token::Code => (at + 1, true),
            Token::Comment(end) => (end, false),
            Token::Literal(end) => (end, literals == Literals::Keep),
        };
        for &c in &chars[at..end.min(chars.len())] {
            out.push(if keep || c == '\n' { c } else { ' ' });
        }
        at = end;
    }
    out
}

enum Token {
    Code,
    /// Ends before this index.
    Comment(usize),
    /// Ends before this index.
    Literal(usize),
}

fn token(chars: &[char], at: usize) -> Token {
    let get = |i: usize| chars.get(i).copied().unwrap_or('\0');
    match (get(at), get(at + 1)) {
        ('/', '/') => {
            let end = (at..chars.len()).find(|&i| chars[i] == '\n');
            Token::Comment(end.unwrap_or(chars.len()))
        }
        ('/', '*') => Token::Comment(block_comment_end(chars, at)),
        ('"', _) => Token::Literal(string_end(chars, at)),
        ('r', '"' | '#') if !is_word_before(chars, at) => raw_string(chars, at),
        ('\'', '\\') => {
            let end = (at + 3..chars.len()).find(|&i| chars[i] == '\'');
            Token::Literal(end.map_or(chars.len(), |end| end + 1))
        }
        // One character between two quotes; anything else is a lifetime.
        ('\'', _) if get(at + 2) == '\'' => Token::Literal(at + 3),
        _ => Token::Code,
    }
}

/// Whether `r` ends a longer word. The prefixes of byte and C strings are not words.
fn is_word_before(chars: &[char], at: usize) -> bool {
    let word = |i: usize| {
        chars
            .get(i)
            .is_some_and(|c| c.is_alphanumeric() || *c == '_')
    };
    match at {
        0 => false,
        _ if matches!(chars[at - 1], 'b' | 'c') => at >= 2 && word(at - 2),
        _ => word(at - 1),
    }
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => {
                depth += 1;
                at += 2;
            }
            ('*', '/') => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn raw_string(chars: &[char], start: usize) -> Token {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        // A raw identifier.
        return Token::Code;
    }
    let close = (open + 1..chars.len()).find(|&i| {
        chars[i] == '"'
            && chars[i + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
    });
    Token::Literal(close.map_or(chars.len(), |close| close + 1 + hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_go() {
        let text =
            "a /* x /* y */ z */ b \"c // \\\" d\" e // f\ng r#\"h \" i\"# j b\"k\" 'l' '\\'' m";
        let found = code(text, Literals::Blank);
        let words: Vec<&str> = found.split_whitespace().collect();
        assert_eq!(words, ["a", "b", "e", "g", "j", "b", "m"]);
        assert_eq!(found.lines().count(), 2);
        assert_eq!(found.chars().count(), text.chars().count());
    }

    #[test]
    fn lifetimes_and_raw_identifiers_stay() {
        let found = code(
            "fn f<'a>(r#type: &'a str, bar: r#fn) -> &'a str { '\u{e9}' }",
            Literals::Blank,
        );
        assert_eq!(
            found,
            "fn f<'a>(r#type: &'a str, bar: r#fn) -> &'a str {     }"
        );
    }

    #[test]
    fn literals_stay_where_asked() {
        let found = code("const A: &str = \"//x\"; // y", Literals::Keep);
        assert_eq!(found.trim_end(), "const A: &str = \"//x\";");
    }
}
