//! PulseDB.
#![allow(dead_code, unreachable_pub)]
mod config;
mod embed;
mod error;
pub mod model;
pub use config::*;
pub use embed::*;
pub use error::{PulseDBError, Result};
