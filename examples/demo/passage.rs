//! What is a passage, and how are texts cut into passages? Pure.

/// A paragraph worth remembering.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    pub(crate) text: String,
    pub(crate) kind: Kind,
    /// A crate or a repository.
    pub(crate) origin: String,
    /// A version or a commit.
    pub(crate) revision: String,
    /// Where in it, e.g. `src/lib.rs`.
    pub(crate) file: String,
    /// What it stands under: a heading, or the item that it documents.
    pub(crate) heading: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Readme,
    Documentation,
    Changelog,
    Commit,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [
        Self::Readme,
        Self::Documentation,
        Self::Changelog,
        Self::Commit,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Readme => "readme",
            Self::Documentation => "documentation",
            Self::Changelog => "changelog",
            Self::Commit => "commit",
        }
    }
}

/// Shorter texts say too little to be found, longer ones too much to be read.
const SHORTEST: usize = 80;
const LONGEST: usize = 1_200;

/// The paragraphs of a Markdown text with the headings that they stand under. Code, tables, images
/// and badges are left out; short neighbours are joined.
pub(crate) fn paragraphs(markdown: &str) -> Vec<(String, String)> {
    let mut cutter = Cutter::default();
    let mut fenced = false;
    for line in markdown.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
            fenced = !fenced;
            cutter.end_of_paragraph();
        } else if fenced {
        } else if let Some(heading) = heading(trimmed) {
            cutter.under(heading);
        } else if trimmed.is_empty() || is_furniture(trimmed) {
            cutter.end_of_paragraph();
        } else {
            let item = ["* ", "- ", "+ "]
                .iter()
                .find_map(|mark| trimmed.strip_prefix(mark));
            if item.is_some() {
                cutter.end_of_paragraph();
            }
            cutter.add(item.unwrap_or(trimmed));
        }
    }
    cutter.finish()
}

fn heading(line: &str) -> Option<String> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    ((1..=6).contains(&level) && text.starts_with(' '))
        .then(|| plain(text).trim_matches(['#', ' ']).to_owned())
}

/// Lines that say nothing in words.
fn is_furniture(line: &str) -> bool {
    let reference = line.starts_with('[') && line.contains("]: ");
    let badge = line.starts_with("[![") || line.starts_with("![");
    line.starts_with('<') || line.starts_with('|') || reference || badge || line.starts_with("---")
}

#[derive(Default)]
struct Cutter {
    heading: String,
    paragraph: String,
    /// Finished paragraphs under this heading that are too short to stand alone.
    waiting: String,
    found: Vec<(String, String)>,
}

impl Cutter {
    fn add(&mut self, line: &str) {
        if !self.paragraph.is_empty() {
            self.paragraph.push(' ');
        }
        self.paragraph.push_str(line);
    }

    fn end_of_paragraph(&mut self) {
        let text = plain(&std::mem::take(&mut self.paragraph));
        if text.is_empty() {
            return;
        }
        if !self.waiting.is_empty() {
            self.waiting.push(' ');
        }
        self.waiting.push_str(&text);
        if self.waiting.chars().count() >= SHORTEST {
            let text = std::mem::take(&mut self.waiting);
            for piece in pieces(&text) {
                self.found.push((self.heading.clone(), piece));
            }
        }
    }

    fn under(&mut self, heading: String) {
        self.end_of_paragraph();
        self.waiting.clear();
        self.heading = heading;
    }

    fn finish(mut self) -> Vec<(String, String)> {
        self.end_of_paragraph();
        self.found.retain(|(_, text)| is_prose(text));
        self.found
    }
}

/// Cuts what is too long behind sentences.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for sentence in text.split_inclusive(". ") {
        if !piece.is_empty() && piece.chars().count() + sentence.chars().count() > LONGEST {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push_str(sentence);
    }
    pieces.push(piece);
    pieces
        .into_iter()
        .map(|piece| piece.trim().chars().take(LONGEST).collect::<String>())
        .filter(|piece| piece.chars().count() >= SHORTEST)
        .collect()
}

/// Text, rather than lists of names, numbers or other writing systems that the model cannot read.
fn is_prose(text: &str) -> bool {
    let total = text.chars().count().max(1);
    let letters = text
        .chars()
        .filter(|c| c.is_ascii_alphabetic() || *c == ' ')
        .count();
    letters * 10 >= total * 8 && text.split_whitespace().count() * 12 >= total
}

/// Markdown links without their addresses, and emphasis without its marks.
fn plain(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    let markdown = without_images(markdown);
    let mut rest = markdown.as_str();
    while let Some(open) = rest.find('[') {
        let (before, link) = rest.split_at(open);
        text.push_str(before);
        let Some(close) = link.find(']') else {
            rest = link;
            break;
        };
        text.push_str(link.get(1..close).unwrap_or_default());
        rest = link.get(close + 1..).unwrap_or_default();
        for (start, end) in [('(', ')'), ('[', ']')] {
            if let Some(address) = rest.strip_prefix(start)
                && let Some((_, behind)) = address.split_once(end)
            {
                rest = behind;
                break;
            }
        }
    }
    text.push_str(rest);
    text.replace("**", "")
        .replace("__", "")
        .replace('`', "")
        .trim()
        .to_owned()
}

fn without_images(markdown: &str) -> String {
    let mut text = markdown.to_owned();
    while let Some(start) = text.find("![") {
        let image = text.get(start..).unwrap_or_default();
        // Without an address it is no image, but the mark of a macro, say.
        let end = image
            .find("](")
            .and_then(|at| image.get(at..)?.find(')').map(|len| at + len + 1));
        text.replace_range(start..start + end.unwrap_or(1), "");
    }
    text
}

/// The paragraphs of the doc comments of a Rust file, under the items that they document.
pub(crate) fn documentation(rust: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut comment = String::new();
    for line in rust.lines() {
        let trimmed = line.trim_start();
        if let Some(text) = trimmed
            .strip_prefix("///")
            .or_else(|| trimmed.strip_prefix("//!"))
        {
            comment.push_str(text.strip_prefix(' ').unwrap_or(text));
            comment.push('\n');
        } else if !comment.is_empty() && !trimmed.starts_with("#[") && !trimmed.starts_with("//") {
            let item = item_name(trimmed);
            for (heading, text) in paragraphs(&std::mem::take(&mut comment)) {
                let under = [item.as_str(), heading.as_str()];
                let under: Vec<&str> = under.into_iter().filter(|part| !part.is_empty()).collect();
                found.push((under.join(", "), text));
            }
        }
    }
    found
}

/// `pub async fn spawn<F>(…` is `spawn`.
fn item_name(line: &str) -> String {
    const KINDS: [&str; 9] = [
        "fn",
        "struct",
        "enum",
        "trait",
        "mod",
        "macro_rules!",
        "type",
        "const",
        "union",
    ];
    let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '!'));
    let mut after_kind = false;
    for word in words.filter(|word| !word.is_empty()) {
        if KINDS.contains(&word) {
            after_kind = true;
        } else if after_kind {
            return word.to_owned();
        }
    }
    String::new()
}
