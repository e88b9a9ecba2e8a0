//! How does a request become a durable change?
//!
//! The walk, top to bottom: [`validate`] (pure) → [`draft`] (vector and text become the bytes of a
//! record, off the committer) → the queue of `protocol` → [`pipeline`], the committer's side:
//! [`sequence`] (ids, row numbers, LSNs, every refusal; [`pending`] is what the requests before it in
//! the same group have decided; [`guard`] what a transaction has seen; [`revision`] what a change makes of
//! an experience; [`refusal`] why one is refused) → log → tables → snapshot → watchers → answers.
//!
//! The type carries the stage: `NewExperience → Draft → Embedded`, then `Sequenced → Durable →
//! Applied` in the pipeline.

pub mod draft;
pub mod embedding;
pub mod guard;
pub mod identity;
pub mod pending;
pub mod pipeline;
pub mod refusal;
pub mod request;
pub mod revision;
pub mod sequence;
pub mod validate;
