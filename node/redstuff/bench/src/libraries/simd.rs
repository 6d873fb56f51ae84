//! `reed-solomon-simd`: an FFT code over GF(2¹⁶), Walrus's library, in its best arrangement.

use codec_engine::{Arrangement, Engine, Field, Library, Line, Lines, Shape, Task, Tiled};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

/// `reed-solomon-simd`, tile by tile.
#[derive(Debug, Clone, Copy)]
pub struct Simd;

impl Library for Simd {
    fn name(&self) -> &'static str {
        "reed-solomon-simd"
    }

    fn field(&self) -> Field {
        Field::Other
    }

    fn arrangements(&self, task: &Task) -> Vec<Arrangement> {
        codec_engine::candidates(task)
    }

    fn engine(&self, shape: Shape, arrangement: Arrangement) -> Box<dyn Engine> {
        Box::new(Tiled::new(self, shape, arrangement))
    }
}

impl Lines for Simd {
    fn line(&self, k: usize, n: usize, f: usize, _tile: usize) -> Box<dyn Line> {
        Box::new(SimdLine::new(k, n, f))
    }
}

/// One code, with its workspaces kept from call to call.
pub(super) struct SimdLine {
    k: usize,
    n: usize,
    f: usize,
    encoder: ReedSolomonEncoder,
    /// Bytes of a shard that the encoder is set to.
    encoded: usize,
    decoder: ReedSolomonDecoder,
    decoded: usize,
}

/// Any valid length, until the first call says which.
const SHARD: usize = 64;

impl SimdLine {
    pub(super) fn new(k: usize, n: usize, f: usize) -> Self {
        let encoder = ReedSolomonEncoder::new(k, n - k, SHARD).expect("a code of up to 255 shards");
        let decoder = ReedSolomonDecoder::new(k, n - k, SHARD).expect("a code of up to 255 shards");
        Self { k, n, f, encoder, encoded: SHARD, decoder, decoded: SHARD }
    }

    /// Encodes, and gives the parity shards.
    pub(super) fn parity<'a>(
        &mut self,
        data: impl Iterator<Item = &'a [u8]>,
        length: usize,
        mut each: impl FnMut(usize, &[u8]),
    ) {
        if self.encoded != length {
            self.encoder.reset(self.k, self.n - self.k, length).expect("an even length");
            self.encoded = length;
        }
        for shard in data {
            self.encoder.add_original_shard(shard).expect("k shards of one length");
        }
        let result = self.encoder.encode().expect("k shards");
        for (index, shard) in result.recovery_iter().enumerate() {
            each(index, shard);
        }
    }
}

impl Line for SimdLine {
    fn expand(&mut self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        self.parity(data.iter().copied(), data[0].len(), |index, shard| parity[index].copy_from_slice(shard));
    }

    fn expand_one(&mut self, data: &[&[u8]], target: usize, out: &mut [u8]) {
        let wanted = target - self.k;
        self.parity(data.iter().copied(), out.len(), |index, shard| {
            if index == wanted {
                out.copy_from_slice(shard);
            }
        });
    }

    fn restore(&mut self, given: &[&[u8]], out: &mut [&mut [u8]]) {
        let length = given[0].len();
        if self.decoded != length {
            self.decoder.reset(self.k, self.n - self.k, length).expect("an even length");
            self.decoded = length;
        }
        for (index, shard) in (self.f..).zip(given) {
            let added = match index.checked_sub(self.k) {
                None => self.decoder.add_original_shard(index, shard),
                Some(index) => self.decoder.add_recovery_shard(index, shard),
            };
            added.expect("k different shards of one length");
        }
        let result = self.decoder.decode().expect("k shards");
        for (index, out) in out.iter_mut().enumerate() {
            out.copy_from_slice(result.restored_original(index).expect("the shard was lost"));
        }
    }
}
