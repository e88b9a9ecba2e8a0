//! How do a weight file's tensors become what a forward multiplies with?
//!
//! Matrices are packed here, once. Every shape is
//! checked against the configuration, so that the forward need not. Used by `encoder` and `bert`.

use std::cell::RefCell;

use candle_core::Result;

use super::{kernels::Norm, weight_file::WeightFile};
use crate::simd::matmul::{
    self, Onto, Panels, Rows,
    bf16::{self, Pair, Pairs},
};

/// A product with a matrix of weights, and what is added to it.
pub(super) struct Linear {
    weights: Weights,
    pub(super) bias: Vec<f32>,
}

enum Weights {
    F32(Panels),
    Bf16(&'static bf16::Kernels, Panels<Pair>),
}

impl Linear {
    /// Of all of `rows`, `width` wide, into rows of `out_width`. `pairs` is room for rounded rows.
    pub(super) fn product(
        &self,
        rows: &[f32],
        width: usize,
        onto: Onto<'_>,
        out: &mut [f32],
        out_width: usize,
        pairs: &mut Pairs,
    ) {
        let count = rows.len() / width;
        let rows = Rows {
            values: rows,
            stride: width,
        };
        match &self.weights {
            Weights::F32(panels) => matmul::product(rows, count, panels, onto, out, out_width),
            Weights::Bf16(kernels, panels) => {
                kernels.round(rows, count, width, pairs);
                kernels.product(pairs, panels, onto, out, out_width);
            }
        }
    }
}

/// The tensors of a weight file by name.
pub(super) struct Parts<'a> {
    file: &'a WeightFile,
    /// What multiplies with the matrices, if they are rounded.
    rounding: Option<&'static bf16::Kernels>,
    /// What the names of a model that was saved with its head begin with.
    prefix: &'static str,
    /// Matrices on their way, one after the other: memory that is used again costs no page faults.
    matrix: RefCell<Vec<f32>>,
}

impl<'a> Parts<'a> {
    /// Those of a file, whose matrices are packed in f32 or for these kernels.
    pub(super) fn of(file: &'a WeightFile, rounding: Option<&'static bf16::Kernels>) -> Self {
        let with_head = file.has("bert.embeddings.word_embeddings.weight");
        let prefix = if with_head { "bert." } else { "" };
        Self {
            file,
            rounding,
            prefix,
            matrix: RefCell::default(),
        }
    }

    /// The numbers of a tensor of this shape.
    pub(super) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        self.append(name, shape, &mut values)?;
        Ok(values)
    }

    fn append(&self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<()> {
        let name = format!("{}{name}", self.prefix);
        self.file.append(&name, shape, values)
    }

    pub(super) fn norm(&self, name: &str, width: usize, epsilon: f32) -> Result<Norm> {
        Ok(Norm {
            scale: self.values(&format!("{name}.weight"), &[width])?,
            shift: self.values(&format!("{name}.bias"), &[width])?,
            epsilon,
        })
    }

    pub(super) fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let mut matrix = self.matrix.borrow_mut();
        matrix.clear();
        self.append(&format!("{name}.weight"), &[outputs, inputs], &mut matrix)?;
        Ok(Linear {
            weights: self.packed(&matrix, inputs),
            bias: self.values(&format!("{name}.bias"), &[outputs])?,
        })
    }

    /// The three products that attention starts with, as one.
    pub(super) fn attention_input(&self, name: &str, width: usize, scale: f32) -> Result<Linear> {
        let mut matrix = self.matrix.borrow_mut();
        matrix.clear();
        let mut biases = Vec::with_capacity(3 * width);
        for part in ["query", "key", "value"] {
            self.append(
                &format!("{name}.{part}.weight"),
                &[width, width],
                &mut matrix,
            )?;
            self.append(&format!("{name}.{part}.bias"), &[width], &mut biases)?;
        }
        let query = matrix.iter_mut().take(width * width);
        query
            .chain(biases.iter_mut().take(width))
            .for_each(|x| *x *= scale);
        Ok(Linear {
            weights: self.packed(&matrix, width),
            bias: biases,
        })
    }

    fn packed(&self, columns: &[f32], depth: usize) -> Weights {
        match self.rounding {
            None => Weights::F32(Panels::of_columns(columns, depth)),
            Some(kernels) => Weights::Bf16(kernels, kernels.panels_of_columns(columns, depth)),
        }
    }
}
