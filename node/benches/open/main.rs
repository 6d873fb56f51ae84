//! How long a member takes to open a volume with ENTRIES entries in its registry, and with what memory. `make bench-open` runs it.
//!
//! The entries are those of blobs that nobody put: all but the signatures is as it would be, and nobody checks those of what is stored
//! already. The volume is first opened without an index, as one of before there was any. Each opening is a process of its own.

use std::{
    env,
    error::Error,
    fs, io,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::Instant,
};

use futures::future::BoxFuture;
use tonic::transport::Channel;
use weft_client::{ConnectError, Connector};
use weft_node::{
    env::Env,
    member::{Member, Opened, WhoAmI},
};
use weft_protocol::{
    BatchHeader, Certificate, Entry, FleetId, Incarnation, MemberId, ShardSet, SigningKey, Statement, VolumeId,
    sign_batch,
};
use weft_redstuff::{Code, Hash, Labels, Layout, Metadata};
use weft_store::{HostDisk, Options, Room, Store, StoreError, Totals, View as _};

type Failure = Box<dyn Error + Send + Sync>;

const FLEET: FleetId = FleetId([7; 16]);

/// Entries of one commit.
const BATCH: u64 = 8192;

/// Blobs that members ack in one commit.
const TOGETHER: u64 = 8;

/// Openings after the first.
const OPENINGS: usize = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let done = match arguments.iter().position(|argument| argument == "--open") {
        Some(at) => open(Path::new(&arguments[at + 1])).await,
        None => measure().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<(), Failure> {
    let entries = number("ENTRIES", 1_000_000)?;
    let acks = number("ACKS", 5)?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    drop(opened(folder.path()).await?);
    let start = Instant::now();
    let bytes = fill(folder.path(), entries, acks as u8)?;
    println!("{entries} entries of {bytes} bytes were written in {:.0} s", start.elapsed().as_secs_f64());
    for opening in 0..=OPENINGS {
        let what = if opening == 0 { "making the index" } else { "opening" };
        let told =
            Command::new(env::current_exe()?).arg("--open").arg(folder.path()).stdout(Stdio::piped()).output()?;
        if !told.status.success() {
            return Err(format!("{what} failed").into());
        }
        println!("{what}: {}", String::from_utf8(told.stdout)?.trim());
    }
    Ok(())
}

fn number(name: &str, silent: u64) -> Result<u64, Failure> {
    let text = env::var(name).ok().filter(|text| !text.is_empty());
    Ok(text.map_or(Ok(silent), |text| text.parse()).map_err(|error| format!("{name} is a number: {error}"))?)
}

async fn opened(folder: &Path) -> Result<Arc<Member>, Failure> {
    let who = WhoAmI {
        fleet: FLEET,
        member: MemberId(0),
        incarnation: 1,
        readmit: None,
        trust: SigningKey::from_seed([100; 32]).public(),
    };
    let store = Store::open(Arc::new(HostDisk::new(folder)?), &Options::default())?;
    match Member::open(store, who, Env::host(Arc::new(Nobody))).await? {
        Opened::Ours(member) => Ok(member),
        Opened::Foreign(found) => Err(format!("the volume is of {found}").into()),
    }
}

/// Opens the member, and tells how long it took.
async fn open(folder: &Path) -> Result<(), Failure> {
    let start = Instant::now();
    let member = opened(folder).await?;
    let took = start.elapsed();
    let levels = member.levels()?;
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("the kernel tells no peak")?;
    println!("{:.3} s, {} blobs, {} of memory at most", took.as_secs_f64(), levels.blobs, peak.trim());
    Ok(())
}

/// Writes the entries alone, each with so many acks. Returns the length of one.
fn fill(folder: &Path, entries: u64, acks: u8) -> Result<usize, Failure> {
    let store = Store::open(Arc::new(HostDisk::new(folder)?), &Options::default())?;
    let mut length = 0;
    for first in (0..entries).step_by(BATCH as usize) {
        let mut batch = Vec::with_capacity(BATCH as usize);
        for first in (first..entries.min(first + BATCH)).step_by(TOGETHER as usize) {
            batch.extend(entries_from(first, acks)?);
        }
        batch.truncate((entries - first) as usize);
        length = batch[0].encode().len();
        let written = store.write_blocking(Room::Reserved, move |tx| {
            for entry in &batch {
                tx.put_entry(&entry.blob().0, entry.encode())?;
            }
            Ok::<_, StoreError>(())
        });
        written?;
        if (first / BATCH).is_multiple_of(100) {
            eprint!("\r{first} of {entries} entries");
        }
    }
    eprintln!();
    let without_index = store.write_blocking(Room::Reserved, |tx| {
        tx.remove_state("sums");
        Ok::<_, StoreError>(())
    });
    without_index?;
    let Totals { entries: written, .. } = store.view().totals();
    if written == entries { Ok(length) } else { Err(format!("{written} entries were written").into()) }
}

/// Blobs of one stripe, acked by so many members with four shards each, `TOGETHER` in one commit of theirs.
fn entries_from(first: u64, members: u8) -> Result<Vec<Entry>, Failure> {
    let (code, view, key) = (Code::with_shards(28)?, Hash([9; 32]), SigningKey::from_seed([1; 32]));
    let layout = Layout::sliced(code, 100_000)?;
    let metadata: Vec<Metadata> = (first..first + TOGETHER)
        .map(|number| {
            let (name, labels) = (Hash::of(&number.to_le_bytes()), Labels::default());
            let nonce = u128::from(number).to_le_bytes();
            Metadata { root: name, layout, labels, expiry: None, digest: name, nonce }
        })
        .collect();
    let mut acks = vec![Vec::new(); metadata.len()];
    for member in 0..members {
        let shards: ShardSet = (4 * member..4 * member + 4).collect();
        let incarnation = Incarnation { number: 1, volume: VolumeId([member; 16]) };
        let header = BatchHeader { fleet: FLEET, member: MemberId(member.into()), incarnation, sequence: first };
        let statements = metadata.iter().map(|metadata| Statement::Ack { view, blob: metadata.id(), shards });
        for (acks, ack) in acks.iter_mut().zip(sign_batch(header, statements.collect(), &key)) {
            acks.push(ack);
        }
    }
    let entry = |(metadata, acks): (Metadata, _)| {
        let certificate = Certificate { view, blob: metadata.id(), acks };
        Entry::Live { metadata, inline: None, certificate }
    };
    Ok(metadata.into_iter().zip(acks).map(entry).collect())
}

/// Reaches nobody.
#[derive(Debug)]
struct Nobody;

impl Connector for Nobody {
    fn channel(&self, _: &str) -> Result<Channel, ConnectError> {
        unreachable!("opening a volume calls nobody")
    }

    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        unreachable!("opening a volume calls nobody")
    }
}
