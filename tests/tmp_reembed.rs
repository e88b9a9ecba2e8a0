#[path = "it/reembed.rs"]
mod reembed;
#[path = "it/support.rs"]
#[allow(dead_code)]
mod support;
