//! Certificates and receipts (R8).

use thiserror::Error;
use weft_redstuff::{BlobId, Hash};

use crate::{
    ShardSet,
    codec::{DecodeError, Decoder, Encoder},
    statement::{Signed, Statement, Subject},
    tally::{Tally, TallyError},
    view::View,
};

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateError {
    #[error("the certificate is of view {named}, not of {given}")]
    OtherView { named: Hash, given: Hash },
    #[error("an ack or receipt does not count: {0}")]
    Statement(#[from] TallyError),
    #[error("{wanting} shards are wanting for a quorum of the view")]
    NoQuorum { wanting: u16 },
}

/// Acks of n − f shards of one view: the proof that a blob is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub view: Hash,
    pub blob: BlobId,
    pub acks: Vec<Signed>,
}

/// Gathers acks until they make a certificate.
#[derive(Debug, Clone)]
pub struct Acks<'v> {
    view: Hash,
    blob: BlobId,
    tally: Tally<'v>,
    counted: Vec<Signed>,
}

impl<'v> Acks<'v> {
    pub fn new(view: &'v View, blob: BlobId) -> Self {
        Self { view: view.hash(), blob, tally: Tally::new(view), counted: Vec::new() }
    }

    /// Counts an ack of this blob under this view.
    pub fn add(&mut self, ack: Signed) -> Result<(), TallyError> {
        self.tally.add(&ack, |statement| shards_of(statement, &self.view, &self.blob))?;
        self.counted.push(ack);
        Ok(())
    }

    /// How many shards are still wanting for a certificate.
    pub fn wanting(&self) -> u16 {
        self.tally.wanting()
    }

    /// The certificate, if the acks suffice.
    pub fn certificate(self) -> Result<Certificate, CertificateError> {
        match self.tally.wanting() {
            0 => Ok(Certificate { view: self.view, blob: self.blob, acks: self.counted }),
            wanting => Err(CertificateError::NoQuorum { wanting }),
        }
    }
}

/// The shards that an ack speaks for; `None` of anything else.
fn shards_of(statement: &Statement, of: &Hash, acked: &BlobId) -> Option<ShardSet> {
    match statement {
        Statement::Ack { view, blob, shards } if (view, blob) == (of, acked) => Some(*shards),
        _ => None,
    }
}

impl Certificate {
    /// Makes a certificate of acks, if they suffice.
    pub fn new(view: &View, blob: BlobId, acks: Vec<Signed>) -> Result<Self, CertificateError> {
        let mut gathered = Acks::new(view, blob);
        for ack in acks {
            gathered.add(ack)?;
        }
        gathered.certificate()
    }

    /// Checks every ack; gives the shards that acked.
    pub fn check(&self, view: &View) -> Result<ShardSet, CertificateError> {
        if view.hash() != self.view {
            return Err(CertificateError::OtherView { named: self.view, given: view.hash() });
        }
        let mut tally = Tally::new(view);
        for ack in &self.acks {
            tally.add(ack, |statement| shards_of(statement, &self.view, &self.blob))?;
        }
        match tally.wanting() {
            0 => Ok(tally.shards()),
            wanting => Err(CertificateError::NoQuorum { wanting }),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        Encoder::new()
            .fixed(self.view.as_bytes())
            .fixed(self.blob.as_bytes())
            .list(&self.acks, |to, ack| to.bytes(&ack.encode()))
            .finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("certificate", bytes);
        let certificate = Self {
            view: Hash(from.fixed()?),
            blob: BlobId(from.fixed()?),
            acks: from.list(|from| Signed::decode(from.bytes()?))?,
        };
        from.finish()?;
        Ok(certificate)
    }
}

/// Counts the receipts that a 201 or a 204 rests on.
#[derive(Debug, Clone)]
pub struct Receipts<'v> {
    view: Hash,
    subject: Subject,
    tally: Tally<'v>,
}

impl<'v> Receipts<'v> {
    pub fn new(view: &'v View, subject: Subject) -> Self {
        Self { view: view.hash(), subject, tally: Tally::new(view) }
    }

    /// A receipt speaks for all shards that the view gives its signer.
    pub fn add(&mut self, receipt: &Signed) -> Result<(), CertificateError> {
        let expected = Statement::Receipt { view: self.view, subject: self.subject };
        self.tally.add(receipt, |statement| (*statement == expected).then(|| ShardSet::first(255)))?;
        Ok(())
    }

    /// Whether the caller may be answered: n − f shards of this one view have receipted (R8, R13).
    pub fn suffice(&self) -> bool {
        self.tally.is_quorum()
    }

    pub fn wanting(&self) -> u16 {
        self.tally.wanting()
    }
}
