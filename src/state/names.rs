//! How are the few names that many rows repeat (agents) kept once?

use std::collections::HashMap;

use crate::sync::{Arc, RwLock};

/// Names and their codes; codes are given in order of appearance and never change.
#[derive(Debug, Default)]
pub struct Names {
    codes: RwLock<HashMap<Arc<str>, u32>>,
}

impl Names {
    /// These names, with the codes from 0 on.
    #[must_use]
    pub fn of(names: &[String]) -> Self {
        let codes = names.iter().map(|name| name.as_str().into()).zip(0..);
        Self {
            codes: RwLock::new(codes.collect()),
        }
    }

    /// All names, by code.
    pub fn all(&self) -> Vec<Arc<str>> {
        let codes = self.codes.read();
        let mut names: Vec<(u32, Arc<str>)> = codes
            .iter()
            .map(|(name, code)| (*code, Arc::clone(name)))
            .collect();
        drop(codes);
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name).collect()
    }

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
