//! What can fail in the store.

use std::io;
use std::sync::Arc;

use crate::tables::Table;
use crate::{FILE, UploadNumber};

/// A failure of the store. Cloneable, since one failed commit answers every write that was grouped into it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database file couldn't be opened, created or locked by the disk.
    #[error("opening {file}: {source}")]
    OpenFile { file: String, source: Arc<io::Error> },
    /// The name of the database file couldn't be made durable.
    #[error("fsync of the volume's directory: {source}")]
    SyncDirectory { source: Arc<io::Error> },
    /// Another process or handle has the volume open.
    #[error("{file} is in use by another process")]
    Locked { file: String },
    /// redb refused the file: not a database, or damaged where it can't do without.
    #[error("opening the database: {source}")]
    OpenDatabase { source: Arc<redb::Error> },
    /// The file is a database, but not one of this store.
    #[error("the database holds tables that are not this store's: {found}")]
    NotAStore { found: String },
    /// The volume was written by a newer version. It is left as it is.
    #[error("the volume has format {found}, this version reads up to {known}: run a version that knows it")]
    NewerFormat { found: u32, known: u32 },
    /// The volume is of an older format, and too full to be made one of this. It is left as it is.
    #[error(
        "the volume's next format takes {needed} bytes, and {free} are free: enlarge the volume, or run the version before"
    )]
    NoRoomToUpgrade { needed: u64, free: u64 },
    /// A commit is missing, or damaged, that others came after: the volume isn't what it was. Its data is as good as lost.
    #[error("the volume's log is damaged: {segment} {what}; replace the volume, and its data is rebuilt")]
    LogDamaged { segment: String, what: String },
    /// The disk couldn't return bytes of the log that an open needs.
    #[error("reading {file}: {source}")]
    ReadLog { file: String, source: Arc<io::Error> },
    /// There are segments, and not the database that they belong to.
    #[error(
        "the volume has segments of a log, and {FILE} isn't theirs: put theirs back, or replace the volume, and its data is rebuilt"
    )]
    ForeignLog,
    /// The thread for commits couldn't be started.
    #[error("starting the writer: {source}")]
    StartWriter { source: Arc<io::Error> },
    /// Asking the disk for its space failed.
    #[error("asking the disk for its free space: {source}")]
    Space { source: Arc<io::Error> },
    /// A write, fsync or commit failed earlier, so the outcome of writes on this file is unknown; reads go on.
    #[error("the store is read-only since a failure: {reason}")]
    ReadOnly { reason: Arc<str> },
    /// The write would leave less than the reserve free. Writes that don't grow are still taken.
    #[error("the disk is full: {needed} bytes are needed, {available} are left above the reserve")]
    Full { needed: u64, available: u64 },
    /// The disk couldn't return bytes that this read needs.
    #[error("reading {table}: {source}")]
    Read { table: Table, source: Arc<io::Error> },
    /// Bytes were read, but aren't those that were written.
    #[error("damaged data in {table}: {what}")]
    Corrupt { table: Table, what: String },
    /// No session or holding has that upload number (any more), so slivers written to it would belong to nobody.
    #[error("upload {number} is not open")]
    UnknownUpload { number: UploadNumber },
    /// No such upload session.
    #[error("there is no such upload session")]
    UnknownSession,
    /// The blob is already held, under another upload.
    #[error("the blob is already held, as upload {number}")]
    AlreadyHeld { number: UploadNumber },
    /// A sliver, or all those of one write, larger than the store takes.
    #[error("slivers of {bytes} bytes are more than the {most} that one write may bring")]
    SliverTooLarge { bytes: u64, most: u64 },
    /// The closure given to a write panicked. It had no effect.
    #[error("the write panicked: {what}")]
    Panicked { what: String },
    /// The store was shut down before this write began.
    #[error("the store is shut down")]
    Closed,
}

impl StoreError {
    /// The error of a redb operation on `table`.
    pub(crate) fn of_redb(table: Table, error: redb::Error) -> Self {
        match error {
            redb::Error::Io(source) => Self::Read { table, source: Arc::new(source) },
            other => Self::Corrupt { table, what: other.to_string() },
        }
    }
}
