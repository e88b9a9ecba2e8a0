//! How is a weight file read?
//!
//! In pieces through one small buffer, tensor by tensor, and from end to end for its digest. The system holds the file in memory
//! anyway; fresh memory for all of it would take longer than everything else that is done with it. Nothing of a file is
//! believed: a header that does not fit the file, and a tensor whose bytes do not fit its shape, are errors. Used by `weights` and `encoder`.

use std::{fs::File, ops::Range, os::unix::fs::FileExt, path::Path};

use candle_core::{DType, Device, Result, Tensor, bail};
use safetensors::tensor::Metadata;
use sha2::{Digest, Sha256, digest::Output};

/// Bytes that are read at once: they stay in the second cache until they are used, are whole numbers of every type, and allocators
/// give and take so many without asking the system.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes of a header that safetensors allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A safetensors file.
pub(super) struct WeightFile {
    file: File,
    len: u64,
    header: Metadata,
    /// Where the tensors begin.
    start: u64,
}

impl WeightFile {
    /// Reads the header.
    #[allow(
        clippy::disallowed_methods,
        reason = "model files are not the database's"
    )]
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut header_len = [0; 8];
        file.read_exact_at(&mut header_len, 0)?;
        let header_len = u64::from_le_bytes(header_len);
        if header_len > MAX_HEADER_BYTES.min(len) {
            bail!("its header has {header_len} bytes, and the file {len}");
        }
        let mut header = vec![0; header_len as usize];
        file.read_exact_at(&mut header, 8)?;
        let header: Metadata = match serde_json::from_slice(&header) {
            Ok(header) => header,
            Err(error) => bail!("its header cannot be read: {error}"),
        };
        let start = 8 + header_len;
        let end = start + header.data_len() as u64;
        if end != len {
            bail!("its tensors end at byte {end}, and the file at {len}");
        }
        Ok(Self {
            file,
            len,
            header,
            start,
        })
    }

    /// SHA-256 of all of it.
    pub(super) fn digest(&self) -> Result<Output<Sha256>> {
        let mut digest = Sha256::new();
        self.pieces(0..self.len, |piece| {
            digest.update(piece);
            Ok(())
        })?;
        Ok(digest.finalize())
    }

    /// All of it, for candle.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.len as usize];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Whether there is a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// Appends the numbers of a tensor of this shape, whatever they are numbers of.
    pub(super) fn append(&self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<()> {
        let Some(info) = self.header.info(name) else {
            bail!("there is no {name}");
        };
        if info.shape != shape {
            bail!("{name} is {:?}, not {shape:?}", info.shape);
        }
        let dtype = DType::try_from(info.dtype)?;
        let (from, to) = info.data_offsets;
        let count = shape.iter().product::<usize>();
        if Some(to - from) != count.checked_mul(dtype.size_in_bytes()) {
            bail!("{name} has {} bytes for {count} numbers", to - from);
        }
        values.reserve(count);
        self.pieces(self.start + from as u64..self.start + to as u64, |piece| {
            if dtype == DType::F32 {
                let numbers = piece.as_chunks().0.iter();
                values.extend(numbers.map(|bytes| f32::from_le_bytes(*bytes)));
            } else {
                let count = piece.len() / dtype.size_in_bytes();
                let tensor = Tensor::from_raw_buffer(piece, dtype, &[count], &Device::Cpu)?;
                values.extend(tensor.to_dtype(DType::F32)?.to_vec1::<f32>()?);
            }
            Ok(())
        })
    }

    /// Shows the bytes of `range`, a piece at a time.
    fn pieces(&self, range: Range<u64>, mut see: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; PIECE_BYTES];
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(PIECE_BYTES as u64);
            let (piece, _) = buffer.split_at_mut(len as usize);
            self.file.read_exact_at(piece, at)?;
            see(piece)?;
            at += len;
        }
        Ok(())
    }
}
