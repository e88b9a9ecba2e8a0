//! How do files and the environment become a configuration, and it a file?
//!
//! Each source is a layer: a list of keys with their texts, and where each stands. A layer is put above what a
//! configuration says already; its preset comes first, then its keys in the order of the table. What nobody knows is
//! an error, so that a typo does not silently leave a default.

use std::{
    borrow::Cow,
    env,
    ffi::OsString,
    fmt::{self, Write as _},
    path::Path,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Config,
    keys::{KEYS, PREFIX, variable},
    preset::Preset,
};
use crate::error::{PulseDBError, Result};

/// The key that names a preset.
const PRESET: &str = "preset";

/// Variables that are not about a `Config`, or beginnings of such: of the model's lookup, and of this project's tests
/// and benches, whose environment a program under test inherits.
pub(super) const OTHERS: &[&str] = &[
    "PULSEDB_BENCH_",
    "PULSEDB_CRASH_",
    "PULSEDB_EVAL_",
    "PULSEDB_FOLLOW_",
    "PULSEDB_FUZZ_",
    "PULSEDB_KILL_",
    "PULSEDB_MAKE",
    "PULSEDB_MODEL_DIR",
    "PULSEDB_TEST_",
];

/// Longest unknown name that a known one is sought for.
const MAX_TYPO_CHARS: usize = 64;

/// Files and the environment.
///
/// A key is the path of a field: `sync_mode`, or `ef_search` in the section `[hnsw]`. Its variable is `PULSEDB_` and
/// the key in upper case, with two underscores for the dot: `PULSEDB_HNSW__EF_SEARCH`. Sizes and durations have units
/// (`"64MiB"`, `"30s"`); a size without one is in bytes. `preset` names one of [`Config::durability_first`],
/// [`Config::latency_first`] and [`Config::bulk_ingest`], which the other keys of the same layer then refine.
/// `docs/configuration.md` lists all keys.
///
/// ```
/// use pulsedb::{Config, SyncMode};
///
/// # fn main() -> pulsedb::Result<()> {
/// // Defaults, below them a file, above that what the environment says.
/// let config = Config::default()
///     .with_toml_str("sync_mode = \"fast\"\n[hnsw]\nef_search = 100")?
///     .with_variables([("PULSEDB_HNSW__EF_SEARCH", "200")])?;
/// assert_eq!((config.sync_mode, config.hnsw.ef_search), (SyncMode::Fast, 200));
///
/// let error = Config::from_toml_str("[hnsw]\nef_serch = 100").unwrap_err().to_string();
/// assert!(error.contains("line 2") && error.contains("did you mean hnsw.ef_search"), "{error}");
/// # Ok(())
/// # }
/// ```
impl Config {
    /// The defaults with what a TOML document says above them.
    ///
    /// # Errors
    /// [`PulseDBError::Config`] naming the key and its line, for what is no TOML, an unknown key, and a value that
    /// cannot work.
    pub fn from_toml_str(text: &str) -> Result<Self> {
        Self::default().with_toml_str(text)
    }

    /// The same of a file.
    ///
    /// # Errors
    /// As [`Config::from_toml_str`], naming the file, too; [`PulseDBError::Io`] where it cannot be read.
    pub fn from_toml_file(path: impl AsRef<Path>) -> Result<Self> {
        Self::default().with_toml_file(path)
    }

    /// The defaults with what the variables `PULSEDB_*` of the environment say above them.
    ///
    /// # Errors
    /// [`PulseDBError::Config`] naming the variable, for an unknown one and for a value that cannot work.
    pub fn from_env() -> Result<Self> {
        Self::default().with_env()
    }

    /// What a TOML document says, above what is chosen already.
    ///
    /// # Errors
    /// As [`Config::from_toml_str`].
    pub fn with_toml_str(self, text: &str) -> Result<Self> {
        Layer::of_toml(text, None)?.above(self)
    }

    /// What a file says, above what is chosen already.
    ///
    /// # Errors
    /// As [`Config::from_toml_file`].
    pub fn with_toml_file(self, path: impl AsRef<Path>) -> Result<Self> {
        #![allow(clippy::disallowed_methods, reason = "read before there is a database")]
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(PulseDBError::io("read", path))?;
        Layer::of_toml(&text, Some(path))?.above(self)
    }

    /// What the environment says, above what is chosen already.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn with_env(self) -> Result<Self> {
        Layer::of_variables(env::vars_os())?.above(self)
    }

    /// What variables say, above what is chosen already; for programs that get them from elsewhere. Those that do not
    /// begin with `PULSEDB_` are passed over.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn with_variables<K, V>(self, variables: impl IntoIterator<Item = (K, V)>) -> Result<Self>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables.into_iter();
        Layer::of_variables(variables.map(|(name, value)| (name.into(), value.into())))?.above(self)
    }

    /// A TOML document with every key and what it does, that [`Config::from_toml_str`] reads back as this configuration.
    ///
    /// # Errors
    /// [`PulseDBError::Config`] where the model's path is not Unicode, which TOML is.
    pub fn to_toml(&self) -> Result<String> {
        let mut document = String::new();
        let mut current = "";
        for key in KEYS {
            let (section, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
            if section != current {
                let _ = writeln!(document, "\n[{section}]");
                current = section;
            }
            let _ = writeln!(document, "# {} ({})", key.what, key.form);
            let text = (key.write)(self).map_err(|what| PulseDBError::config(key.name, what))?;
            let _ = match text {
                Some(text) if key.bare => writeln!(document, "{name} = {text}"),
                Some(text) => writeln!(document, "{name} = {}", quoted(&text)),
                None => writeln!(document, "# {name} ="),
            };
        }
        Ok(document)
    }
}

/// Where a choice stands.
#[derive(Clone)]
enum Origin<'a> {
    Line(Option<&'a Path>, usize),
    Variable(String),
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(Some(path), line) => write!(f, "{}, line {line}", path.display()),
            Self::Line(None, line) => write!(f, "line {line}"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// A key with its value's text.
struct Chosen<'a> {
    key: String,
    text: Cow<'a, str>,
    origin: Origin<'a>,
}

impl Chosen<'_> {
    fn refused(&self, what: &str) -> PulseDBError {
        PulseDBError::config(
            &self.key,
            format!("{:?} {what} ({})", self.text, self.origin),
        )
    }
}

/// What one source says.
struct Layer<'a>(Vec<Chosen<'a>>);

impl<'a> Layer<'a> {
    fn of_toml(text: &'a str, path: Option<&'a Path>) -> Result<Self> {
        let line = |at: usize| {
            let before = text.as_bytes().get(..at).unwrap_or_default();
            let breaks = before.iter().filter(|byte| **byte == b'\n').count();
            Origin::Line(path, breaks + 1)
        };
        let table = DeTable::parse(text).map_err(|error| {
            let origin = line(error.span().map_or(0, |span| span.start));
            PulseDBError::config("toml", format!("{} ({origin})", error.message()))
        })?;
        let mut layer = Self(Vec::new());
        layer.flatten("", table.into_inner(), &line)?;
        Ok(layer)
    }

    /// Takes the keys of a table and of the tables in it.
    fn flatten(
        &mut self,
        section: &str,
        table: DeTable<'a>,
        line: &impl Fn(usize) -> Origin<'a>,
    ) -> Result<()> {
        for (name, value) in table {
            let origin = line(name.span().start);
            let key = match section {
                "" => name.into_inner().into_owned(),
                section => format!("{section}.{}", name.into_inner()),
            };
            match Spanned::into_inner(value) {
                DeValue::Table(inner) => {
                    if !is_section(&key) {
                        return Err(unknown(&key, "no such section", &key, &origin, sections()));
                    }
                    self.flatten(&key, inner, line)?;
                }
                value => {
                    let text = scalar(value);
                    let chosen = Chosen {
                        key,
                        text: text.clone().unwrap_or_default(),
                        origin,
                    };
                    chosen.check_known(&chosen.key)?;
                    if text.is_none() {
                        return Err(
                            chosen.refused("is neither text nor a number nor true or false")
                        );
                    }
                    self.0.push(chosen);
                }
            }
        }
        Ok(())
    }

    fn of_variables(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Self> {
        let mut layer = Self(Vec::new());
        for (name, value) in variables {
            let name = name.to_string_lossy().into_owned();
            let Some(key) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if OTHERS.iter().any(|other| name.starts_with(other)) {
                continue;
            }
            let chosen = Chosen {
                key: key.replace("__", ".").to_ascii_lowercase(),
                text: value.to_string_lossy().into_owned().into(),
                origin: Origin::Variable(name.clone()),
            };
            // A variable in lower case is somebody's mistake, not another name of the key.
            if variable(&chosen.key) != name {
                return Err(unknown_variable(&name));
            }
            chosen.check_known(&name)?;
            if value.to_str().is_none() {
                return Err(chosen.refused("is not Unicode"));
            }
            layer.0.push(chosen);
        }
        Ok(layer)
    }

    fn get(&self, key: &str) -> Option<&Chosen<'a>> {
        self.0.iter().find(|chosen| chosen.key == key)
    }

    /// Puts what it says above `config`.
    fn above(self, mut config: Config) -> Result<Config> {
        if let Some(chosen) = self.get(PRESET) {
            let preset = Preset::named(&chosen.text).ok_or_else(|| {
                let names: Vec<_> = Preset::ALL.iter().map(|preset| preset.name()).collect();
                chosen.refused(&format!("is none of the presets {}", names.join(", ")))
            })?;
            preset.apply(&mut config);
        }
        for key in KEYS {
            if let Some(chosen) = self.get(key.name) {
                (key.read)(&mut config, &chosen.text).map_err(|what| chosen.refused(&what))?;
            }
        }
        config.check().map_err(|error| match error {
            PulseDBError::Config { field, what } => match self.get(&field) {
                Some(chosen) => PulseDBError::config(field, format!("{what} ({})", chosen.origin)),
                None => PulseDBError::config(field, what),
            },
            other => other,
        })?;
        Ok(config)
    }
}

impl Chosen<'_> {
    /// Refuses a key that is not in the table, calling it as it is `written`.
    fn check_known(&self, written: &str) -> Result<()> {
        if self.key == PRESET || KEYS.iter().any(|key| key.name == self.key) {
            return Ok(());
        }
        match &self.origin {
            Origin::Variable(_) => Err(unknown_variable(written)),
            origin if is_section(&self.key) => Err(PulseDBError::config(
                written,
                format!("it is a section, not a key ({origin})"),
            )),
            origin => {
                let names = KEYS.iter().map(|key| key.name.to_owned());
                let names = names.chain([PRESET.to_owned()]);
                Err(unknown(written, "no such key", &self.key, origin, names))
            }
        }
    }
}

/// A TOML string, which is a JSON string but for one character that TOML has escaped.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

/// The text of a value that is no list, table or date.
fn scalar(value: DeValue<'_>) -> Option<Cow<'_, str>> {
    match value {
        DeValue::String(text) => Some(text),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned().into()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string().into()),
        DeValue::Float(number) => Some(number.as_str().to_owned().into()),
        DeValue::Boolean(flag) => Some(if flag { "true" } else { "false" }.into()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn is_section(name: &str) -> bool {
    let inside = |key: &str| {
        key.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    KEYS.iter().any(|key| inside(key.name))
}

fn sections() -> impl Iterator<Item = String> {
    KEYS.iter()
        .filter_map(|key| Some(key.name.rsplit_once('.')?.0.to_owned()))
}

fn unknown_variable(name: &str) -> PulseDBError {
    let names = KEYS.iter().map(|key| key.variable());
    let names = names.chain([variable(PRESET)]);
    unknown(
        name,
        "no such variable",
        name,
        &Origin::Variable(name.to_owned()),
        names,
    )
}

/// Refuses a name, saying which of the known ones is meant if one is like it.
fn unknown(
    written: &str,
    what: &str,
    name: &str,
    origin: &Origin<'_>,
    known: impl Iterator<Item = String>,
) -> PulseDBError {
    let short = name.chars().count() <= MAX_TYPO_CHARS;
    let nearest = known
        .filter(|_| short)
        .map(|known| (distance(&name.to_lowercase(), &known.to_lowercase()), known))
        .min()
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(2));
    let hint = match nearest {
        Some((_, known)) => format!("; did you mean {known}?"),
        None => String::new(),
    };
    PulseDBError::config(written, format!("{what} ({origin}){hint}"))
}

/// Insertions, deletions and replacements that make one of the other (Levenshtein, 1965).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
