//! How do a weight file's tensors become what a forward multiplies with?
//!
//! Weights are transposed at load: it is the layout that a product of few rows reads in place,
//! where it would have to copy the weights as they are stored (a query takes 4.8 ms, not 9.5).
//! Used by `encoder`.

use std::collections::HashMap;

use candle_core::{Device, Result, Tensor};

use super::{
    encoder::read_values,
    kernels::{self, Norm},
};

/// A product with a matrix of weights, and what is added to it.
pub(super) struct Linear {
    weight: Tensor,
    pub(super) bias: Vec<f32>,
}

impl Linear {
    pub(super) fn product(&self, rows: &Tensor) -> Result<Tensor> {
        rows.matmul(&self.weight)
    }
}

/// The tensors of a weight file by name; each is taken once.
pub(super) struct Parts(HashMap<String, Tensor>);

impl Parts {
    /// Those of a safetensors file.
    pub(super) fn of(file: &[u8]) -> Result<Self> {
        Ok(Self(candle_core::safetensors::load_buffer(
            file,
            &Device::Cpu,
        )?))
    }

    pub(super) fn take(&mut self, name: &str) -> Result<Tensor> {
        let found = self.0.remove(name);
        found.ok_or_else(|| candle_core::Error::Msg(format!("no tensor {name}")))
    }

    pub(super) fn values(&mut self, name: &str) -> Result<Vec<f32>> {
        self.take(name)?.flatten_all()?.to_vec1()
    }

    pub(super) fn norm(&mut self, name: &str, epsilon: f32) -> Result<Norm> {
        Ok(Norm {
            scale: self.values(&format!("{name}.weight"))?,
            shift: self.values(&format!("{name}.bias"))?,
            epsilon,
        })
    }

    pub(super) fn linear(&mut self, name: &str) -> Result<Linear> {
        let weight = self.take(&format!("{name}.weight"))?;
        Ok(Linear {
            weight: transpose(&weight)?,
            bias: self.values(&format!("{name}.bias"))?,
        })
    }

    /// The three products that attention starts with, as one.
    pub(super) fn attention_input(&mut self, name: &str, scale: f64) -> Result<Linear> {
        let mut part = |part: &str, scale: f64| {
            let weight = self.take(&format!("{name}.{part}.weight"))?;
            let bias = self.take(&format!("{name}.{part}.bias"))?;
            Result::Ok(((weight * scale)?, (bias * scale)?))
        };
        let (query, key, value) = (
            part("query", scale)?,
            part("key", 1.0)?,
            part("value", 1.0)?,
        );
        Ok(Linear {
            weight: transpose(&Tensor::cat(&[query.0, key.0, value.0], 0)?)?,
            bias: Tensor::cat(&[query.1, key.1, value.1], 0)?.to_vec1()?,
        })
    }
}

/// As a copy of candle's transposed view would be, which takes 20 ms longer for this model.
fn transpose(weight: &Tensor) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let values = read_values(weight, |values| kernels::transpose(values, inputs))?;
    Tensor::from_vec(values, (inputs, outputs), &Device::Cpu)
}
