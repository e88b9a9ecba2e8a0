//! In which order do contenders run, so that no one of them has the better half of the machine's day?
//!
//! Every round runs every contender once; each round starts one contender later than the one before, so
//! that drift and what a predecessor leaves behind hit all alike.

use anyhow::{Context, Result};

/// One thing that is measured, once per round.
pub(crate) struct Contender<'a, T> {
    pub(crate) name: &'static str,
    pub(crate) run: Box<dyn FnMut() -> Result<T> + 'a>,
}

impl<'a, T> Contender<'a, T> {
    pub(crate) fn new(name: &'static str, run: impl FnMut() -> Result<T> + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }
}

/// What the contenders did, by name and round.
pub(crate) struct Measured<T> {
    names: Vec<&'static str>,
    samples: Vec<Vec<T>>,
}

impl<T> Measured<T> {
    /// The samples of one contender in the order of the rounds.
    pub(crate) fn of(&self, name: &str) -> Result<&[T]> {
        self.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, samples)| samples)
            .with_context(|| format!("no contender is called {name:?}"))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &[T])> {
        self.names
            .iter()
            .copied()
            .zip(self.samples.iter().map(Vec::as_slice))
    }
}

/// Runs all contenders in every round; `label` tells the progress lines apart.
pub(crate) fn interleave<T>(
    label: &str,
    rounds: usize,
    mut contenders: Vec<Contender<'_, T>>,
) -> Result<Measured<T>> {
    let names: Vec<_> = contenders.iter().map(|c| c.name).collect();
    let mut samples: Vec<Vec<T>> = names.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..rounds {
        eprintln!("{label}: round {} of {rounds}", round + 1);
        for step in 0..contenders.len() {
            let turn = (round + step) % contenders.len();
            let (Some(contender), Some(samples)) =
                (contenders.get_mut(turn), samples.get_mut(turn))
            else {
                continue;
            };
            let sample =
                (contender.run)().with_context(|| format!("{label}, {}", contender.name))?;
            samples.push(sample);
        }
    }
    Ok(Measured { names, samples })
}
