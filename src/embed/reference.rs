//! How does candle run a BERT?
//!
//! `BertModel` of candle-transformers, one text at a time. It takes models of shapes that the
//! kernels of `bert` do not (odd widths, other activations), several times slower, and it is what
//! they are tested against.

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, DTYPE};

/// A model as its authors' users run it.
pub(super) struct Reference(BertModel);

impl Reference {
    /// From the bytes of a safetensors file.
    pub(super) fn load(config: &Config, weights: &[u8]) -> Result<Self> {
        let weights = VarBuilder::from_slice_safetensors(weights, DTYPE, &Device::Cpu)?;
        Ok(Self(BertModel::load(weights, config)?))
    }

    /// The last layer's rows of one text.
    pub(super) fn forward(&self, text: &[u32]) -> Result<Vec<f32>> {
        let ids = Tensor::new(text, &Device::Cpu)?.unsqueeze(0)?;
        let last = self.0.forward(&ids, &ids.zeros_like()?, None)?;
        last.flatten_all()?.to_vec1()
    }
}
