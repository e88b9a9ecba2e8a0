//! How are the few names that many rows repeat (agents) kept once?

use std::collections::HashMap;

use crate::sync::{Arc, RwLock};

/// Names and their codes; codes are given in order of appearance and never change.
#[derive(Debug, Default)]
pub struct Names {
    codes: RwLock<HashMap<Arc<str>, u32>>,
}

impl Names {
    /// The code of `name`, new or not. For the committer.
    pub fn intern(&self, name: &str) -> u32 {
        if let Some(code) = self.code(name) {
            return code;
        }
        let mut codes = self.codes.write();
        let code = codes.len() as u32;
        codes.insert(name.into(), code);
        code
    }

    /// The code of `name`, if any row has it.
    pub fn code(&self, name: &str) -> Option<u32> {
        self.codes.read().get(name).copied()
    }
}
