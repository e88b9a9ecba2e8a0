//! Which paths does code name? Grouped imports are written out: `a::{b, c::d}` names `a::b` and
//! `a::c::d`.

/// A path as it stands in the code.
#[derive(Debug, PartialEq)]
pub(crate) struct Named {
    /// Its line, counted from 1.
    pub(crate) line: usize,
    /// How many modules written in this file are around it.
    pub(crate) inline_modules: usize,
    /// Whether it is part of a `use` declaration.
    pub(crate) import: bool,
    pub(crate) segments: Vec<String>,
}

/// All paths of two segments or more, and all imports, of code without comments and literals.
pub(crate) fn named(code: &str) -> Vec<Named> {
    let mut scan = Scan {
        chars: code.chars().collect(),
        at: 0,
        line: 1,
    };
    let mut found = Vec::new();
    // For each open brace: whether it is the body of a module.
    let mut braces: Vec<bool> = Vec::new();
    let mut import = false;
    let mut module = false;
    while let Some(c) = scan.peek() {
        match c {
            '{' => {
                braces.push(module);
                module = false;
                scan.step();
            }
            '}' => {
                braces.pop();
                scan.step();
            }
            ';' => {
                import = false;
                module = false;
                scan.step();
            }
            _ if is_word(c) => {
                let line = scan.line;
                let mut paths = Vec::new();
                scan.path(&mut Vec::new(), &mut paths);
                let alone = match paths.as_slice() {
                    [path] if path.len() == 1 => Some(path[0].clone()),
                    _ => None,
                };
                match alone.as_deref() {
                    Some("use") => import = true,
                    Some("mod") => module = true,
                    Some(_) if !import => {}
                    _ => {
                        let inline_modules = braces.iter().filter(|module| **module).count();
                        found.extend(paths.into_iter().map(|segments| Named {
                            line,
                            inline_modules,
                            import,
                            segments,
                        }));
                    }
                }
            }
            _ => scan.step(),
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Scan {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Scan {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn step(&mut self) {
        if self.peek() == Some('\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.step();
        }
    }

    fn colons(&mut self) -> bool {
        let (at, line) = (self.at, self.line);
        self.space();
        if self.chars[self.at.min(self.chars.len())..].starts_with(&[':', ':']) {
            self.at += 2;
            self.space();
            return true;
        }
        (self.at, self.line) = (at, line);
        false
    }

    /// Reads one path, or one item of a group, behind `prefix`.
    fn path(&mut self, prefix: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
        let depth = prefix.len();
        loop {
            match self.peek() {
                Some('{') if depth > 0 || !prefix.is_empty() => {
                    self.group(prefix, out);
                    prefix.truncate(depth);
                    return;
                }
                Some('*') => {
                    prefix.push("*".to_owned());
                    self.step();
                    break;
                }
                Some(c) if is_word(c) => {
                    let mut word = String::new();
                    while let Some(c) = self.peek().filter(|c| is_word(*c)) {
                        word.push(c);
                        self.step();
                    }
                    prefix.push(word);
                }
                // A turbofish: what is inside is scanned for itself.
                _ => break,
            }
            if !self.colons() {
                break;
            }
        }
        if prefix.last().is_some_and(|last| last == "self") && prefix.len() > 1 {
            prefix.pop();
        }
        out.push(prefix.clone());
        prefix.truncate(depth);
    }

    fn group(&mut self, prefix: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
        self.step();
        loop {
            self.space();
            match self.peek() {
                None => return,
                Some('}') => {
                    self.step();
                    return;
                }
                Some(',') => self.step(),
                Some(c) if is_word(c) || c == '*' || c == '{' => {
                    self.path(prefix, out);
                    self.rename();
                }
                Some(_) => self.step(),
            }
        }
    }

    /// Passes over `as name` up to the end of the item.
    fn rename(&mut self) {
        while self.peek().is_some_and(|c| !matches!(c, ',' | '}')) {
            self.step();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(code: &str) -> Vec<String> {
        named(code)
            .into_iter()
            .map(|named| named.segments.join("::"))
            .collect()
    }

    #[test]
    fn groups_are_written_out() {
        assert_eq!(
            texts("use std::{\n fs::{self, File},\n io as i, time::*,\n};\nuse tokio;"),
            [
                "std::fs",
                "std::fs::File",
                "std::io",
                "std::time::*",
                "tokio"
            ]
        );
    }

    #[test]
    fn paths_in_expressions_are_found() {
        assert_eq!(
            texts("fn f(x: crate::log::Place) -> Vec<a::B> { let y = x; std::fs::read(y) }"),
            ["crate::log::Place", "a::B", "std::fs::read"]
        );
    }

    #[test]
    fn lines_and_modules_are_told() {
        let found = named("mod a {\n  fn f() { super::b::c(); }\n}\nfn g() { super::d(); }");
        assert_eq!((found[0].line, found[0].inline_modules), (2, 1));
        assert_eq!((found[1].line, found[1].inline_modules), (4, 0));
    }
}
