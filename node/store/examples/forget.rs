//! Removes every sliver from a volume behind its member's back, and leaves the rest as it is: for tests of challenges (R28).
//!
//! `cargo run -p weft-store --example forget -- DIR`, while no process has the volume open (it is locked).

use std::{
    env,
    error::Error,
    fs, io,
    os::unix::fs::{MetadataExt as _, chown},
    path::Path,
    sync::Arc,
};

use weft_store::{FILE, HostDisk, Options, Room, Store, StoreError, View};

/// Holdings emptied in one commit.
const PAGE: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::args().nth(1).ok_or("usage: forget DIR")?;
    if !Path::new(&dir).join(FILE).is_file() {
        return Err(format!("{dir} holds no volume").into());
    }
    let store = Store::open(Arc::new(HostDisk::new(&dir)?), &Options::default())?;
    let (mut after, mut removed) = (None, 0);
    loop {
        let page = store.view().holdings(after.as_ref(), PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        let written = store.write_blocking(Room::Reserved, move |tx| {
            let mut removed = 0;
            for (_, upload) in page {
                for (place, _) in tx.slivers(upload, None, usize::MAX)? {
                    removed += usize::from(tx.remove_sliver(&place)?);
                }
            }
            Ok::<_, StoreError>(removed)
        })?;
        removed += written.value;
    }
    store.shutdown();
    give_back(Path::new(&dir))?;
    println!("{removed} slivers removed");
    Ok(())
}

/// What was written anew belongs to whom the volume does: its member could not open it otherwise.
fn give_back(dir: &Path) -> io::Result<()> {
    let owner = fs::metadata(dir.join(FILE))?;
    for entry in fs::read_dir(dir)? {
        chown(entry?.path(), Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}
