//! How does a text become a vector?
//!
//! [`Embedder`] is the contract that the store writes and searches by; an application may inject
//! its own. With the feature `embed` there is [`Builtin`]: a BERT on threads of its own. [`Cached`]
//! stands before either.
//! No file here knows of the log, the tables or a runtime.

#[cfg(feature = "embed")]
mod bert;
#[cfg(feature = "embed")]
mod builtin;
mod cache;
#[cfg(feature = "embed")]
mod description;
mod embedder;
#[cfg(feature = "embed")]
mod encoder;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "embed")]
mod kernels;
#[cfg(feature = "embed")]
mod model_files;
#[cfg(feature = "embed")]
mod pool;
#[cfg(feature = "embed")]
mod reference;
#[cfg(feature = "embed")]
mod request;
#[cfg(feature = "embed")]
mod tokens;
#[cfg(feature = "embed")]
mod weight_file;
#[cfg(feature = "embed")]
mod weights;

#[cfg(feature = "embed")]
pub use builtin::Builtin;
pub(crate) use cache::Cached;
pub use embedder::{EmbedFuture, Embedder, Priority};
#[cfg(feature = "hub")]
pub use hub::{DownloadProgress, DownloadReport, DownloadedFile, HubModel};
