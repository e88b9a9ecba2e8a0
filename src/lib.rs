//! PulseDB.
#![allow(dead_code)]

pub mod error;
#[doc(hidden)]
pub mod format;
pub mod model;
