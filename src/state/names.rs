//! How are the few names that many rows repeat (agents) kept once?

use std::collections::HashMap;

use crate::sync::{Arc, RwLock};

/// Names and their codes; codes are given in order of appearance and never change.
#[derive(Debug, Default)]
pub struct Names {
    known: RwLock<(Vec<Arc<str>>, HashMap<Arc<str>, u32>)>,
}

impl Names {
    /// The code of `name`, new or not. For the committer.
    pub fn intern(&self, name: &str) -> u32 {
        if let Some(code) = self.code(name) {
            return code;
        }
        let mut known = self.known.write();
        let code = known.0.len() as u32;
        let name: Arc<str> = name.into();
        known.0.push(Arc::clone(&name));
        known.1.insert(name, code);
        code
    }

    /// The code of `name`, if any row has it.
    pub fn code(&self, name: &str) -> Option<u32> {
        self.known.read().1.get(name).copied()
    }
}
