//! Voids (R12): the proof that a certificate was never acknowledged, or that its blob is gone.
//!
//! Whoever is synced to a view knows every blob that was acknowledged up to it (R9), and no receipt of the view can
//! follow. So one honest member that is synced to a view and lacks a certificate of it proves that nobody was ever
//! answered on it; f + 1 shards have one.

use weft_redstuff::{BlobId, Hash};

use crate::{
    ShardSet,
    certificate::CertificateError,
    codec::{DecodeError, Decoder, Encoder},
    statement::Signed,
    tally::Tally,
    view::{View, ViewId},
};

/// Statements, by holders of f + 1 shards of one view, that they are synced to `view` and lack `blob`: its certificates
/// of views up to that one are void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Void {
    pub view: ViewId,
    pub blob: BlobId,
    /// The view whose shards are counted: `view` or a later one.
    pub counted: Hash,
    pub lacks: Vec<Signed>,
}

impl Void {
    /// Makes a void of statements, if they suffice.
    pub fn new(view: ViewId, blob: BlobId, counted: &View, lacks: Vec<Signed>) -> Result<Self, CertificateError> {
        let void = Self { view, blob, counted: counted.hash(), lacks };
        void.check(counted)?;
        Ok(void)
    }

    /// Checks every statement; `counted` is the view of that hash.
    pub fn check(&self, counted: &View) -> Result<(), CertificateError> {
        let hash = counted.hash();
        // An older view's keys may have been out of their holders' hands for long.
        if hash != self.counted || counted.position() < self.view.position() {
            return Err(CertificateError::OtherView { named: self.counted, given: hash });
        }
        let mut tally = Tally::new(counted);
        for lack in &self.lacks {
            tally
                .add(lack, |statement| statement.says_lacking(&self.view, &self.blob).then(|| ShardSet::first(255)))?;
        }
        let needed = counted.code.fault_tolerance() + 1;
        match needed.saturating_sub(tally.shards().len()) {
            0 => Ok(()),
            wanting => Err(CertificateError::NoQuorum { wanting }),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let to = self.view.encode(Encoder::new()).fixed(self.blob.as_bytes()).fixed(self.counted.as_bytes());
        to.list(&self.lacks, |to, lack| to.bytes(&lack.encode())).finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("void", bytes);
        let void = Self {
            view: ViewId::decode(&mut from)?,
            blob: BlobId(from.fixed()?),
            counted: Hash(from.fixed()?),
            lacks: from.list(|from| Signed::decode(from.bytes()?))?,
        };
        from.finish()?;
        Ok(void)
    }
}
