//! One volume, one process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::Arc;

use weft_store::fake::FakeDisk;
use weft_store::{HostDisk, Options, Store, StoreError, Writer};

use crate::open;

const HOLD: &str = "WEFT_STORE_TEST_HOLD";

#[test]
fn a_second_handle_is_refused_until_the_first_is_closed() {
    let disk = FakeDisk::new(1);
    let store = open(&disk, Writer::Thread).unwrap();
    assert!(matches!(open(&disk, Writer::Thread), Err(StoreError::Locked { .. })));
    drop(store);
    open(&disk, Writer::Thread).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(HostDisk::new(directory.path().join("volume")).unwrap());
    let store = Store::open(disk.clone(), &Options::default()).unwrap();
    assert!(matches!(Store::open(disk.clone(), &Options::default()), Err(StoreError::Locked { .. })));
    drop(store);
    Store::open(disk, &Options::default()).unwrap();
}

/// The other process of [`a_second_process_is_refused`]: without its variable it does nothing.
#[test]
fn other_process() {
    let Some(directory) = std::env::var_os(HOLD) else { return };
    let _store = Store::open(Arc::new(HostDisk::new(directory).unwrap()), &Options::default()).unwrap();
    println!("\nheld");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
}

#[test]
fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lock::other_process", "--nocapture"])
        .env(HOLD, directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"));
    let disk = Arc::new(HostDisk::new(directory.path()).unwrap());
    assert!(matches!(Store::open(disk.clone(), &Options::default()), Err(StoreError::Locked { .. })));
    // A killed process leaves no lock.
    holder.kill().unwrap();
    holder.wait().unwrap();
    Store::open(disk, &Options::default()).unwrap();
}
