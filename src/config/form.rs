//! How is each kind of choice written as text, and read back?
//!
//! Files and variables give text; a form makes a value of it, or says in a few words why it cannot. What a form
//! writes it reads back as the same value. Called by the table of keys alone.

use std::{fmt::Debug, str::FromStr, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{EmbeddingDimension, EmbeddingProvider};
use crate::model::RecallWeights;

/// A way to write values of type `T`.
pub(super) trait Form<T> {
    /// What is to be written, for documents.
    const NAME: &'static str;
    /// Whether TOML has it without quotes.
    const BARE: bool = false;

    /// Puts what `text` says in the place of `value`.
    fn read(value: &mut T, text: &str) -> Result<(), String>;

    /// The text of `value`; `None` where nothing is chosen.
    fn write(value: &T) -> Result<Option<String>, String>;
}

/// A number that counts something.
pub(super) struct Number;
/// Bytes.
pub(super) struct Size;
/// A span of time.
pub(super) struct Span;
/// A span of time that is kept in milliseconds.
pub(super) struct Millis;
/// On or off.
pub(super) struct Switch;
/// One of a few names.
pub(super) struct Choice;
/// A name, or none.
pub(super) struct Name;
/// Components of a vector.
pub(super) struct Dimension;
/// Who embeds.
pub(super) struct Provider;
/// Where the built-in model is.
pub(super) struct ModelPath;
/// The weight of similarity.
pub(super) struct Similarity;
/// The weight of energy.
pub(super) struct Energy;

impl<T: FromStr + Debug> Form<T> for Number {
    const NAME: &'static str = "number";
    const BARE: bool = true;

    fn read(value: &mut T, text: &str) -> Result<(), String> {
        *value = text
            .parse()
            .map_err(|_| "is not a number that fits".to_owned())?;
        Ok(())
    }

    fn write(value: &T) -> Result<Option<String>, String> {
        // Debug, since it tells a float of any size in few digits.
        Ok(Some(format!("{value:?}")))
    }
}

impl Form<bool> for Switch {
    const NAME: &'static str = "true or false";
    const BARE: bool = true;

    fn read(value: &mut bool, text: &str) -> Result<(), String> {
        *value = text
            .parse()
            .map_err(|_| "is neither true nor false".to_owned())?;
        Ok(())
    }

    fn write(value: &bool) -> Result<Option<String>, String> {
        Ok(Some(value.to_string()))
    }
}

/// Units of bytes; the first that divides a size is the one that it is written with.
const SIZES: &[(&str, u128)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

/// Units of time, in nanoseconds.
const SPANS: &[(&str, u128)] = &[
    ("d", 24 * 60 * 60 * NANOS_PER_SECOND),
    ("h", 60 * 60 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", NANOS_PER_MS),
    ("us", 1_000),
    ("ns", 1),
];

const NANOS_PER_SECOND: u128 = 1_000_000_000;
const NANOS_PER_MS: u128 = 1_000_000;

impl<T: TryFrom<u128> + TryInto<u128> + Copy> Form<T> for Size {
    const NAME: &'static str = "size";

    fn read(value: &mut T, text: &str) -> Result<(), String> {
        let bytes = measure(text, SIZES, Some(1), "64MiB")?;
        *value = T::try_from(bytes).map_err(|_| too_large())?;
        Ok(())
    }

    fn write(value: &T) -> Result<Option<String>, String> {
        let bytes = (*value).try_into().map_err(|_| too_large())?;
        Ok(Some(measured(bytes, SIZES)))
    }
}

impl Form<Duration> for Span {
    const NAME: &'static str = "duration";

    fn read(value: &mut Duration, text: &str) -> Result<(), String> {
        let nanos = measure(text, SPANS, None, "30s")?;
        let seconds = u64::try_from(nanos / NANOS_PER_SECOND).map_err(|_| too_large())?;
        *value = Duration::new(seconds, (nanos % NANOS_PER_SECOND) as u32);
        Ok(())
    }

    fn write(value: &Duration) -> Result<Option<String>, String> {
        Ok(Some(measured(value.as_nanos(), SPANS)))
    }
}

impl Form<u64> for Millis {
    const NAME: &'static str = "duration, or milliseconds";

    fn read(value: &mut u64, text: &str) -> Result<(), String> {
        let nanos = measure(text, SPANS, Some(NANOS_PER_MS), "100ms")?;
        if !nanos.is_multiple_of(NANOS_PER_MS) {
            return Err("is not a whole number of milliseconds".into());
        }
        *value = u64::try_from(nanos / NANOS_PER_MS).map_err(|_| too_large())?;
        Ok(())
    }

    fn write(value: &u64) -> Result<Option<String>, String> {
        Ok(Some(measured(u128::from(*value) * NANOS_PER_MS, SPANS)))
    }
}

fn too_large() -> String {
    "is too large".into()
}

/// A whole number with a unit; a bare one counts in units of `bare`, if it may be bare.
fn measure(
    text: &str,
    units: &[(&str, u128)],
    bare: Option<u128>,
    example: &str,
) -> Result<u128, String> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(format!("is not a number with a unit, like {example}"));
    }
    let number: u128 = digits.parse().map_err(|_| too_large())?;
    let unit = unit.trim();
    let factor = if unit.is_empty() {
        // Nothing is nothing, whatever it is counted in.
        bare.or((number == 0).then_some(1))
    } else {
        let known = units
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit));
        known.map(|(_, factor)| *factor)
    };
    let Some(factor) = factor else {
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "needs one of the units {}, like {example}",
            names.join(", ")
        ));
    };
    number.checked_mul(factor).ok_or_else(too_large)
}

/// The same the other way, in the largest unit that leaves no rest.
fn measured(number: u128, units: &[(&str, u128)]) -> String {
    let divides = |(_, factor): &&(&str, u128)| number >= *factor && number.is_multiple_of(*factor);
    match units.iter().find(divides) {
        Some((unit, factor)) => format!("{}{unit}", number / factor),
        None => "0".into(),
    }
}

impl<T: Serialize + DeserializeOwned> Form<T> for Choice {
    const NAME: &'static str = "name";

    fn read(value: &mut T, text: &str) -> Result<(), String> {
        *value = serde_json::from_value(text.into())
            .map_err(|error| format!("cannot be chosen: {error}"))?;
        Ok(())
    }

    fn write(value: &T) -> Result<Option<String>, String> {
        match serde_json::to_value(value) {
            Ok(serde_json::Value::String(name)) => Ok(Some(name)),
            other => Err(format!("has no name: {other:?}")),
        }
    }
}

impl Form<Option<String>> for Name {
    const NAME: &'static str = "text; empty for none";

    fn read(value: &mut Option<String>, text: &str) -> Result<(), String> {
        *value = Some(text.to_owned()).filter(|text| !text.is_empty());
        Ok(())
    }

    fn write(value: &Option<String>) -> Result<Option<String>, String> {
        Ok(value.clone())
    }
}

impl Form<EmbeddingDimension> for Dimension {
    const NAME: &'static str = "number";
    const BARE: bool = true;

    fn read(value: &mut EmbeddingDimension, text: &str) -> Result<(), String> {
        let mut components = 0_usize;
        Number::read(&mut components, text)?;
        *value = match components {
            384 => EmbeddingDimension::D384,
            768 => EmbeddingDimension::D768,
            other => EmbeddingDimension::Custom(other),
        };
        Ok(())
    }

    fn write(value: &EmbeddingDimension) -> Result<Option<String>, String> {
        Ok(Some(value.get().to_string()))
    }
}

#[cfg(not(feature = "embed"))]
const NO_MODEL: &str = "cannot be had: this build lacks the feature `embed`";

impl Form<EmbeddingProvider> for Provider {
    const NAME: &'static str = "`builtin` or `external`";

    fn read(value: &mut EmbeddingProvider, text: &str) -> Result<(), String> {
        match text {
            "external" => *value = EmbeddingProvider::External,
            #[cfg(feature = "embed")]
            "builtin" => {
                // A path that a layer below has chosen stays.
                if *value == EmbeddingProvider::External {
                    *value = EmbeddingProvider::Builtin { model_path: None };
                }
            }
            #[cfg(not(feature = "embed"))]
            "builtin" => return Err(NO_MODEL.into()),
            _ => return Err("is neither builtin nor external".into()),
        }
        Ok(())
    }

    fn write(value: &EmbeddingProvider) -> Result<Option<String>, String> {
        let name = match value {
            #[cfg(feature = "embed")]
            EmbeddingProvider::Builtin { .. } => "builtin",
            EmbeddingProvider::External => "external",
        };
        Ok(Some(name.into()))
    }
}

impl Form<EmbeddingProvider> for ModelPath {
    const NAME: &'static str = "path; empty for none";

    #[cfg(feature = "embed")]
    fn read(value: &mut EmbeddingProvider, text: &str) -> Result<(), String> {
        match value {
            EmbeddingProvider::Builtin { model_path } => {
                *model_path = (!text.is_empty()).then(|| text.into());
                Ok(())
            }
            EmbeddingProvider::External if text.is_empty() => Ok(()),
            EmbeddingProvider::External => Err("needs embedding_provider = \"builtin\"".into()),
        }
    }

    #[cfg(not(feature = "embed"))]
    fn read(_: &mut EmbeddingProvider, text: &str) -> Result<(), String> {
        if text.is_empty() {
            Ok(())
        } else {
            Err(NO_MODEL.into())
        }
    }

    #[cfg(feature = "embed")]
    fn write(value: &EmbeddingProvider) -> Result<Option<String>, String> {
        match value {
            EmbeddingProvider::Builtin {
                model_path: Some(path),
            } => match path.to_str() {
                Some(path) => Ok(Some(path.to_owned())),
                None => Err("is not Unicode".into()),
            },
            EmbeddingProvider::Builtin { model_path: None } | EmbeddingProvider::External => {
                Ok(None)
            }
        }
    }

    #[cfg(not(feature = "embed"))]
    fn write(_: &EmbeddingProvider) -> Result<Option<String>, String> {
        Ok(None)
    }
}

/// Both weights are there or none: the first that is given brings the other, which counts nothing.
const NO_WEIGHTS: RecallWeights = RecallWeights {
    similarity: 0.0,
    energy: 0.0,
};

impl Form<Option<RecallWeights>> for Similarity {
    const NAME: &'static str = "number";
    const BARE: bool = true;

    fn read(value: &mut Option<RecallWeights>, text: &str) -> Result<(), String> {
        Number::read(&mut value.get_or_insert(NO_WEIGHTS).similarity, text)
    }

    fn write(value: &Option<RecallWeights>) -> Result<Option<String>, String> {
        Ok(value.map(|weights| format!("{:?}", weights.similarity)))
    }
}

impl Form<Option<RecallWeights>> for Energy {
    const NAME: &'static str = "number";
    const BARE: bool = true;

    fn read(value: &mut Option<RecallWeights>, text: &str) -> Result<(), String> {
        Number::read(&mut value.get_or_insert(NO_WEIGHTS).energy, text)
    }

    fn write(value: &Option<RecallWeights>) -> Result<Option<String>, String> {
        Ok(value.map(|weights| format!("{:?}", weights.energy)))
    }
}
