//! How do token ids become rows of a BERT encoder's last layer?
//!
//! The forward of Devlin et al. 2018 over *packed* rows: the tokens of all texts of a batch stand
//! below one another in one matrix, nothing is padded, and only attention looks at each text by
//! itself. So a vector does not depend on what else is in its batch, and mixed lengths cost
//! nothing. Rows pass through a layer in blocks that stay in the second cache from one product to
//! the next, and what lies between the products (`kernels`) runs over them while they are there.
//! Sums go straight onto the rows that they are added to.
//!
//! Products with weights are of f32 or of bf16, as the weights were packed. All else is f32 in either case: attention, whose
//! products are small ones, and whatever adds up over the layers.
//!
//! A [`Bert`] is immutable and shared by all threads; a forward uses one thread and the
//! [`Scratch`] that it is given, which the next one uses again.

use candle_transformers::models::bert::{Config, HiddenAct};

use super::{
    kernels::{self, Norm},
    weights::{Linear, Parts},
};
use crate::simd::matmul::{self, COLUMNS, Onto, Panels, Rows, bf16::Pairs};

/// Rows that go through a layer together. Less fits better into caches but reads the weights more
/// often; 96 is a multiple of every tile's height.
const BLOCK_ROWS: usize = 96;

/// The layers and tables.
pub(super) struct Bert {
    hidden: usize,
    /// Numbers between the two products that widen and narrow a row.
    wide: usize,
    heads: usize,
    words: Vec<f32>,
    /// With the first type's added.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    /// Query, key and value side by side; the query is scaled by 1/√(head width) already.
    input: Linear,
    attended: Linear,
    attended_norm: Norm,
    wide: Linear,
    narrow: Linear,
    output_norm: Norm,
}

/// What a forward writes on; memory that is used again costs no page faults.
#[derive(Default)]
pub(super) struct Scratch {
    rows: Vec<f32>,
    input: Vec<f32>,
    context: Vec<f32>,
    wide: Vec<f32>,
    pairs: Pairs,
    scores: Vec<f32>,
    /// What scores begin with: minus infinity where a panel of keys is only padding.
    mask: Vec<f32>,
    keys: Panels,
    values: Panels,
}

impl Bert {
    /// Whether these kernels can run such a model. The widths of all common ones are multiples of 16.
    pub(super) fn can_run(config: &Config) -> bool {
        let heads = config.num_attention_heads;
        config.hidden_act == HiddenAct::Gelu
            && heads > 0
            && config.hidden_size.is_multiple_of(heads * COLUMNS)
            && config.intermediate_size.is_multiple_of(COLUMNS)
            && config.hidden_size > 0
            && config.intermediate_size > 0
    }

    /// Packs the weights of a model that [`can_run`](Self::can_run).
    pub(super) fn assemble(config: &Config, parts: &Parts<'_>) -> candle_core::Result<Self> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let heads = config.num_attention_heads;
        let epsilon = config.layer_norm_eps as f32;
        let types = parts.values(
            "embeddings.token_type_embeddings.weight",
            &[config.type_vocab_size, hidden],
        )?;
        let mut positions = parts.values(
            "embeddings.position_embeddings.weight",
            &[config.max_position_embeddings, hidden],
        )?;
        for row in positions.chunks_exact_mut(hidden) {
            row.iter_mut().zip(&types).for_each(|(x, t)| *x += t);
        }
        let scale = 1.0 / ((hidden / heads) as f32).sqrt();
        let layers = (0..config.num_hidden_layers)
            .map(|number| {
                let at = |name: &str| format!("encoder.layer.{number}.{name}");
                Ok(Layer {
                    input: parts.attention_input(&at("attention.self"), hidden, scale)?,
                    attended: parts.linear(&at("attention.output.dense"), hidden, hidden)?,
                    attended_norm: parts.norm(
                        &at("attention.output.LayerNorm"),
                        hidden,
                        epsilon,
                    )?,
                    wide: parts.linear(&at("intermediate.dense"), hidden, wide)?,
                    narrow: parts.linear(&at("output.dense"), wide, hidden)?,
                    output_norm: parts.norm(&at("output.LayerNorm"), hidden, epsilon)?,
                })
            })
            .collect::<candle_core::Result<_>>()?;
        Ok(Self {
            hidden,
            wide,
            heads,
            words: parts.values(
                "embeddings.word_embeddings.weight",
                &[config.vocab_size, hidden],
            )?,
            positions,
            norm: parts.norm("embeddings.LayerNorm", hidden, epsilon)?,
            layers,
        })
    }

    /// The last layer's rows of `texts`, below one another; `None` if an id or a position is none of
    /// the model's. `pause` is called every few milliseconds.
    pub(super) fn forward<'s>(
        &self,
        texts: &[&[u32]],
        scratch: &'s mut Scratch,
        pause: &dyn Fn(),
    ) -> Option<&'s [f32]> {
        self.embed(texts, &mut scratch.rows)?;
        let count = scratch.rows.len() / self.hidden;
        // What was there before is written over, and not read.
        scratch.input.resize(count * 3 * self.hidden, 0.0);
        scratch.context.resize(count * self.hidden, 0.0);
        scratch.wide.resize(count.min(BLOCK_ROWS) * self.wide, 0.0);
        for layer in &self.layers {
            layer.look(self.hidden, scratch, pause);
            let mut first = 0;
            for text in texts {
                self.attend(first, text.len(), scratch);
                first += text.len();
                pause();
            }
            layer.think(self.hidden, self.wide, scratch, pause);
        }
        Some(&scratch.rows)
    }

    /// Word plus position plus type, normalised: the rows that the first layer sees.
    fn embed(&self, texts: &[&[u32]], rows: &mut Vec<f32>) -> Option<()> {
        let row = |table: &'_ [f32], number: usize| -> Option<std::ops::Range<usize>> {
            let start = number.checked_mul(self.hidden)?;
            (start + self.hidden <= table.len()).then_some(start..start + self.hidden)
        };
        rows.clear();
        for text in texts {
            for (position, id) in text.iter().enumerate() {
                let word = self.words.get(row(&self.words, *id as usize)?)?;
                let place = self.positions.get(row(&self.positions, position)?)?;
                rows.extend(word.iter().zip(place).map(|(w, p)| w + p));
            }
        }
        kernels::bias_norm(rows, &[], &self.norm);
        Some(())
    }

    /// Scaled dot-product attention of one text with itself.
    fn attend(&self, first: usize, length: usize, scratch: &mut Scratch) {
        let (hidden, width) = (self.hidden, self.hidden / self.heads);
        let stride = 3 * hidden;
        let padded = length.next_multiple_of(COLUMNS);
        let Scratch {
            input,
            context,
            scores,
            mask,
            keys,
            values,
            ..
        } = scratch;
        scores.resize(length * padded, 0.0);
        mask.clear();
        mask.resize(length, 0.0);
        mask.resize(padded, f32::NEG_INFINITY);
        let (_, input) = input.split_at(first * stride);
        let (_, context) = context.split_at_mut(first * hidden);
        for head in 0..self.heads {
            let (_, query) = input.split_at(head * width);
            let (_, key) = query.split_at(hidden);
            let (_, value) = key.split_at(hidden);
            keys.set_columns(key, stride, length, width);
            let query = Rows {
                values: query,
                stride,
            };
            matmul::product(query, length, keys, Onto::Bias(mask), scores, padded);
            kernels::softmax(scores, padded);
            values.set_rows(value, stride, width, length);
            let scores = Rows {
                values: scores,
                stride: padded,
            };
            let (_, out) = context.split_at_mut(head * width);
            matmul::product(scores, length, values, Onto::Nothing, out, hidden);
        }
    }
}

impl Layer {
    /// What each row asks, offers and tells.
    fn look(&self, hidden: usize, scratch: &mut Scratch, pause: &dyn Fn()) {
        let blocks = scratch.rows.chunks(BLOCK_ROWS * hidden);
        let inputs = scratch.input.chunks_mut(BLOCK_ROWS * 3 * hidden);
        for (rows, input) in blocks.zip(inputs) {
            let bias = Onto::Bias(&self.input.bias);
            let pairs = &mut scratch.pairs;
            self.input
                .product(rows, hidden, bias, input, 3 * hidden, pairs);
            pause();
        }
    }

    /// What each row makes of what it attended to.
    fn think(&self, hidden: usize, width: usize, scratch: &mut Scratch, pause: &dyn Fn()) {
        let blocks = scratch.rows.chunks_mut(BLOCK_ROWS * hidden);
        let contexts = scratch.context.chunks(BLOCK_ROWS * hidden);
        for (rows, context) in blocks.zip(contexts) {
            let pairs = &mut scratch.pairs;
            self.attended
                .product(context, hidden, Onto::Itself, rows, hidden, pairs);
            kernels::bias_norm(rows, &self.attended.bias, &self.attended_norm);
            let (wide, _) = scratch.wide.split_at_mut(rows.len() / hidden * width);
            let bias = Onto::Bias(&self.wide.bias);
            self.wide.product(rows, hidden, bias, wide, width, pairs);
            kernels::gelu(wide);
            self.narrow
                .product(wide, width, Onto::Itself, rows, hidden, pairs);
            kernels::bias_norm(rows, &self.narrow.bias, &self.output_norm);
            pause();
        }
    }
}
