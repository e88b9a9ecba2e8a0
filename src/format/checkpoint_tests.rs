//! Properties of checkpoints.
