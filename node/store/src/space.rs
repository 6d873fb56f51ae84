//! Room on the disk and in the file.

/// How much room a write may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It stores new data, of about that many bytes: refused with [`crate::StoreError::Full`] when they would go into the
    /// reserve.
    Grows { bytes: u64 },
    /// A delete or a small record: may use the reserve, which is kept for it.
    Reserved,
}

impl Room {
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Grows { bytes } => bytes,
            Self::Reserved => 0,
        }
    }
}

/// Use of the volume, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Allocated to the database file. It doesn't shrink with every delete: freed pages are used again.
    pub file_bytes: u64,
    /// Of those, what rows that are there take; estimated from their sizes.
    pub live_bytes: u64,
    /// Size of the filesystem.
    pub capacity: u64,
    /// What may still be written to the filesystem.
    pub free: u64,
    /// Kept for deletes and for the store's own index.
    pub reserve: u64,
}

impl Usage {
    /// What growing writes may still take: what the disk has above the reserve, and the pages in the file that deletes
    /// left, as long as half of the reserve is there to pay for an estimate that is wrong.
    pub fn available(&self) -> u64 {
        let within = self.file_bytes.saturating_sub(self.live_bytes);
        if self.free < self.reserve / 2 {
            return 0;
        }
        self.free.saturating_sub(self.reserve) + within
    }
}
