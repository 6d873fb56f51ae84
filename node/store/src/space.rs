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
    /// Of the store's files. They don't shrink with every delete: what is still held of a segment moves to another first, and
    /// freed pages of the database are used again.
    pub file_bytes: u64,
    /// Of those, what is held: slivers, and rows as estimated from their sizes.
    pub live_bytes: u64,
    /// Size of the filesystem.
    pub capacity: u64,
    /// What may still be written to the filesystem.
    pub free: u64,
    /// Kept for deletes and for the store's own index.
    pub reserve: u64,
}

impl Usage {
    /// What growing writes may still take: what the disk has above the reserve.
    pub fn available(&self) -> u64 {
        above_reserve(self.free, self.reserve)
    }
}

/// Less free space than this is little.
pub(crate) const fn short(reserve: u64) -> u64 {
    2 * reserve
}

/// What growing writes may take of free space.
pub(crate) fn above_reserve(free: u64, reserve: u64) -> u64 {
    free.saturating_sub(reserve)
}
