//! A hub on this machine, for tests: it answers as the Hugging Face hub does, or worse.
//!
//! Small files come over a redirect to another path of the hub, weights over one to a path that stands for somebody
//! else's server, whose tags are no checksums. What it does to each content is in the queue of its file.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a server on threads, of which each test binary uses its part"
)]

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit that every branch has.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const REPOSITORY: &str = "somebody/small-bert";

/// What becomes of one answer.
#[derive(Clone, Debug)]
pub enum Mood {
    /// Nothing but this status.
    Status(u16),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// After so many bytes of the body nothing comes for so long.
    Silent(usize, Duration),
    /// All of it, whatever range was asked for.
    Whole,
    /// The last byte is another.
    Wrong,
    /// It is said to have so many bytes.
    Claimed(u64),
    /// It leads to itself.
    Circle,
}

/// A request for a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub file: String,
    pub revision: String,
    /// First byte, if a range was asked for.
    pub from: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    moods: BTreeMap<String, VecDeque<Mood>>,
    asked: Vec<Asked>,
    /// Path and header of each request that had one.
    tokens: Vec<(String, String)>,
    is_plain: bool,
    repository: String,
}

#[derive(Clone, Debug)]
pub struct Hub {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// Serves files for as long as the process lives.
    pub fn with(files: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hub = Self {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            state: Arc::default(),
        };
        hub.be_named(REPOSITORY);
        for (name, bytes) in files {
            hub.put(name, bytes);
        }
        let answering = hub.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let hub = answering.clone();
                // Clients hang up as they like.
                thread::spawn(move || stream.and_then(|stream| hub.answer(stream)));
            }
        });
        hub
    }

    fn state<T>(&self, see: impl FnOnce(&mut State) -> T) -> T {
        see(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.state(|state| state.files.insert(name.into(), bytes));
    }

    /// What becomes of the next answers with a content of this file.
    pub fn moods(&self, file: &str, moods: impl IntoIterator<Item = Mood>) {
        let moods = moods.into_iter();
        self.state(|state| state.moods.entry(file.into()).or_default().extend(moods));
    }

    /// The repository that the files are in.
    pub fn be_named(&self, repository: &str) {
        self.state(|state| state.repository = repository.into());
    }

    /// Neither commits nor checksums from now on, as a server of plain files.
    pub fn be_plain(&self) {
        self.state(|state| state.is_plain = true);
    }

    /// The requests for contents so far, which are forgotten.
    pub fn asked(&self) -> Vec<Asked> {
        self.state(|state| std::mem::take(&mut state.asked))
    }

    pub fn tokens(&self) -> Vec<(String, String)> {
        self.state(|state| state.tokens.clone())
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut from = None;
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "range" => {
                    from = value
                        .trim_matches(|c: char| !c.is_ascii_digit())
                        .parse()
                        .ok()
                }
                "authorization" => {
                    let token = (path.clone(), value.to_owned());
                    self.state(|state| state.tokens.push(token));
                }
                _ => {}
            }
        }
        let bare = path.split('?').next().unwrap_or_default();
        let resolve = self.state(|state| format!("/{}/resolve/", state.repository));
        if let Some(rest) = bare.strip_prefix(&resolve) {
            let (revision, file) = rest.split_once('/').unwrap_or_default();
            return self.lead(&mut stream, revision, file);
        }
        for place in ["/near/", "/far/"] {
            if let Some((revision, file)) = bare.strip_prefix(place).and_then(|p| p.split_once('/'))
            {
                return self.content(&mut stream, place == "/near/", revision, file, from);
            }
        }
        write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        )
    }

    /// The answer of the hub's own path.
    fn lead(&self, stream: &mut TcpStream, revision: &str, file: &str) -> std::io::Result<()> {
        let known = self.state(|state| state.files.get(file).cloned());
        let is_plain = self.state(|state| state.is_plain);
        let Some(bytes) = known else {
            self.state(|state| {
                let (file, revision) = (file.to_owned(), revision.to_owned());
                state.asked.push(Asked {
                    file,
                    revision,
                    from: None,
                });
            });
            return write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
        };
        let is_large = file.ends_with(".safetensors");
        let place = if is_large { "far" } else { "near" };
        let said = match (is_plain, is_large) {
            (true, _) => String::new(),
            (false, true) => format!(
                "x-repo-commit: {COMMIT}\r\nx-linked-etag: \"{:x}\"\r\nx-linked-size: {}\r\n",
                Sha256::digest(&bytes),
                bytes.len()
            ),
            (false, false) => format!("x-repo-commit: {COMMIT}\r\n"),
        };
        write!(
            stream,
            "HTTP/1.1 302 Found\r\n{said}location: /{place}/{revision}/{file}?Signature=secret\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        )
    }

    /// The content itself.
    fn content(
        &self,
        stream: &mut TcpStream,
        is_near: bool,
        revision: &str,
        file: &str,
        from: Option<u64>,
    ) -> std::io::Result<()> {
        let (bytes, mood, is_plain) = self.state(|state| {
            let asked = Asked {
                file: file.into(),
                revision: revision.into(),
                from,
            };
            state.asked.push(asked);
            let mood = state.moods.get_mut(file).and_then(VecDeque::pop_front);
            (
                state.files.get(file).cloned().unwrap_or_default(),
                mood,
                state.is_plain,
            )
        });
        let tag = match is_near {
            true => {
                let mut blob = Sha1::new();
                blob.update(format!("blob {}\0", bytes.len()));
                blob.update(&bytes);
                format!("{:x}", blob.finalize())
            }
            // As long as a SHA-256, and none of the content.
            false => format!("{:x}", Sha256::digest(Sha256::digest(&bytes))),
        };
        let commit = match is_near && !is_plain {
            true => format!("x-repo-commit: {COMMIT}\r\n"),
            false => String::new(),
        };
        let mut head = format!("connection: close\r\netag: \"{tag}\"\r\n{commit}");
        let from = from.filter(|_| !matches!(mood, Some(Mood::Whole)));
        let start = from.unwrap_or(0) as usize;
        let total = bytes.len();
        let mut body = bytes.get(start..).unwrap_or_default().to_vec();
        let mut status = match from {
            Some(_) if start >= total => 416,
            Some(_) => 206,
            None => 200,
        };
        match mood {
            Some(Mood::Status(other)) => {
                status = other;
                body.clear();
            }
            Some(Mood::Circle) => {
                status = 302;
                head.push_str(&format!(
                    "location: /{}/{revision}/{file}\r\n",
                    if is_near { "near" } else { "far" }
                ));
                body.clear();
                // So that it goes on.
                self.moods(file, [Mood::Circle]);
            }
            Some(Mood::Wrong) => {
                if let Some(last) = body.last_mut() {
                    *last ^= 1;
                }
            }
            _ => {}
        }
        if status == 206 {
            head.push_str(&format!(
                "content-range: bytes {start}-{}/{total}\r\n",
                total - 1
            ));
        }
        let claimed = match mood {
            Some(Mood::Claimed(bytes)) => bytes,
            _ => body.len() as u64,
        };
        write!(
            stream,
            "HTTP/1.1 {status} Such\r\n{head}content-length: {claimed}\r\n\r\n"
        )?;
        match mood {
            Some(Mood::Cut(bytes)) => stream.write_all(body.get(..bytes).unwrap_or(&body)),
            Some(Mood::Silent(bytes, pause)) => {
                let (now, later) = body.split_at(bytes.min(body.len()));
                stream.write_all(now)?;
                thread::sleep(pause);
                stream.write_all(later)
            }
            _ => stream.write_all(&body),
        }
    }
}
