//! The database, whose closing panics nobody.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::Database;

/// A database. redb writes to it when it goes, and panics where it is damaged, or where after a failure its memory and the file
/// disagree.
pub(crate) struct Closing(Option<Database>);

impl Closing {
    pub(crate) fn new(database: Database) -> Self {
        Self(Some(database))
    }
}

impl Deref for Closing {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect("there is one until it goes")
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let database = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}
