//! How do a weight file's tensors become what a forward multiplies with?
//!
//! candle reads them, whatever they are numbers of; matrices are packed here, once. Every shape is
//! checked against the configuration, so that the forward need not. Used by `encoder` and `bert`.

use candle_core::{DType, Device, Result, safetensors::SliceSafetensors};

use super::kernels::Norm;
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
    file: SliceSafetensors<'a>,
    /// What multiplies with the matrices, if they are rounded.
    rounding: Option<&'static bf16::Kernels>,
    /// What the names of a model that was saved with its head begin with.
    prefix: &'static str,
}

impl<'a> Parts<'a> {
    /// Those of a safetensors file, whose matrices are packed in f32 or for these kernels.
    pub(super) fn of(file: &'a [u8], rounding: Option<&'static bf16::Kernels>) -> Result<Self> {
        let file = SliceSafetensors::new(file)?;
        let with_head = file.get("bert.embeddings.word_embeddings.weight").is_ok();
        let prefix = if with_head { "bert." } else { "" };
        Ok(Self {
            file,
            rounding,
            prefix,
        })
    }

    /// The numbers of a tensor of this shape.
    pub(super) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let name = format!("{}{name}", self.prefix);
        let view = self.file.get(&name)?;
        if view.shape() != shape {
            candle_core::bail!("{name} is {:?}, not {shape:?}", view.shape());
        }
        if DType::try_from(view.dtype())? == DType::F32 {
            let numbers = view.data().as_chunks().0.iter();
            return Ok(numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect());
        }
        let tensor = self.file.load(&name, &Device::Cpu)?;
        tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
    }

    pub(super) fn norm(&self, name: &str, width: usize, epsilon: f32) -> Result<Norm> {
        Ok(Norm {
            scale: self.values(&format!("{name}.weight"), &[width])?,
            shift: self.values(&format!("{name}.bias"), &[width])?,
            epsilon,
        })
    }

    pub(super) fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = self.values(&format!("{name}.weight"), &[outputs, inputs])?;
        Ok(Linear {
            weights: self.packed(&weight, inputs),
            bias: self.values(&format!("{name}.bias"), &[outputs])?,
        })
    }

    /// The three products that attention starts with, as one.
    pub(super) fn attention_input(&self, name: &str, width: usize, scale: f32) -> Result<Linear> {
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for (part, scale) in [("query", scale), ("key", 1.0), ("value", 1.0)] {
            let weight = self.values(&format!("{name}.{part}.weight"), &[width, width])?;
            weights.extend(weight.iter().map(|x| x * scale));
            let bias = self.values(&format!("{name}.{part}.bias"), &[width])?;
            biases.extend(bias.iter().map(|x| x * scale));
        }
        Ok(Linear {
            weights: self.packed(&weights, width),
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
