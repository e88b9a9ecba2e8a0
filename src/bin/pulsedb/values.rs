//! How are vectors, marks and kinds written on a command line?
//!
//! Each function reads one argument, for clap, and says what it should have been.

use std::{fmt, fs};

use pulsedb::{ExperienceKind, ExperienceType, model::limits};

/// A vector: a list of numbers as JSON, or the name of a file with one.
#[derive(Clone, Debug)]
pub(crate) struct Vector(pub(crate) Vec<f32>);

pub(crate) fn vector(argument: &str) -> Result<Vector, String> {
    let text = if argument.trim_start().starts_with('[') {
        argument.to_owned()
    } else {
        read(argument).map_err(|error| format!("no list of numbers, and no such file: {error}"))?
    };
    let vector: Vec<f32> = serde_json::from_str(&text).map_err(wrong)?;
    match vector.len() {
        1..=limits::MAX_DIMENSION => Ok(Vector(vector)),
        other => Err(format!(
            "{other} components; there must be 1 to {}",
            limits::MAX_DIMENSION
        )),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a file that the user named, not one of a database"
)]
fn read(path: &str) -> std::io::Result<String> {
    fs::read_to_string(path)
}

pub(crate) fn mark(argument: &str) -> Result<(String, String), String> {
    let (key, value) = argument.split_once('=').ok_or("it must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// An object with its `kind`, as exports have it; anything else is a category of the application's own.
pub(crate) fn experience_type(argument: &str) -> Result<ExperienceType, String> {
    if argument.trim_start().starts_with('{') {
        return serde_json::from_str(argument).map_err(wrong);
    }
    Ok(ExperienceType::Generic {
        category: Some(argument.to_owned()),
    })
}

pub(crate) fn kind(argument: &str) -> Result<ExperienceKind, String> {
    serde_json::from_value(argument.into()).map_err(wrong)
}

fn wrong(error: impl fmt::Display) -> String {
    error.to_string()
}
