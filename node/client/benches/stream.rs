//! A put of a long generated stream, and the memory that the client takes for it. The members, in a process of their own, check what they are sent and
//! forget it.

#[path = "../tests/fleet/fake/mod.rs"]
#[expect(dead_code, reason = "the fleet of the tests does more than is needed here")]
mod fake;

use std::{
    env, fs,
    io::{BufRead, BufReader, IsTerminal, Read},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use bytes::Bytes;
use fake::{FakeFleet, Fault};
use futures::{StreamExt, stream};
use tikv_jemallocator::Jemalloc;
use weft_client::PutRequest;

/// That of gateways.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What the client may take, in MiB.
const MOST: u64 = 256;
const CHUNK: usize = 1 << 20;

#[tokio::main]
async fn main() -> ExitCode {
    let gib: u64 = env::var("GIB").ok().and_then(|gib| gib.parse().ok()).unwrap_or(20);
    if env::args().any(|argument| argument == "--members") { members().await } else { put(gib).await }
}

/// Serves until the other process ends.
async fn members() -> ExitCode {
    let fleet = FakeFleet::start().await;
    fleet.all(Fault::Forgets);
    println!("{}", fleet.seeds().join(" "));
    let waited = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
    waited.expect("waiting doesn't panic").expect("a pipe can be read");
    ExitCode::SUCCESS
}

async fn put(gib: u64) -> ExitCode {
    let program = env::current_exe().expect("a program has a path");
    let mut members = Command::new(program)
        .arg("--members")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program can be started again");
    let mut seeds = String::new();
    BufReader::new(members.stdout.take().expect("a pipe")).read_line(&mut seeds).expect("the members' addresses");
    let client = FakeFleet::client_of(seeds.split_whitespace().map(str::to_owned).collect());

    let chunks = gib << 10;
    let start = Instant::now();
    let content = stream::iter(0..chunks).map(move |chunk| {
        if chunk % (1 << 10) == 0 && std::io::stderr().is_terminal() {
            eprint!("\r{} of {gib} GiB", chunk >> 10);
        }
        // Each chunk is another, so that nothing is made once for all.
        let mut bytes = vec![0; CHUNK];
        blake3::Hasher::new().update(&chunk.to_le_bytes()).finalize_xof().fill(&mut bytes[..64]);
        bytes.copy_within(..64, CHUNK / 2);
        Ok(Bytes::from(bytes))
    });
    let stored = client.put(PutRequest::default(), content).await;
    let seconds = start.elapsed().as_secs_f64();
    drop(members.stdin.take());
    members.wait().expect("the members end");
    let stored = match stored {
        Ok(stored) => stored,
        Err(error) => {
            println!("the put failed: {error}");
            return ExitCode::FAILURE;
        }
    };
    assert_eq!(stored.metadata.length(), gib << 30);
    let peak = peak_memory();
    println!(
        "a put of {gib} GiB took {seconds:.0} s ({:.0} MB/s) and at most {peak} MiB of memory",
        (gib << 30) as f64 / seconds / 1e6
    );
    if peak > MOST {
        println!("that is more than {MOST} MiB");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The most memory that this process had, in MiB (`proc_pid_status(5)`).
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells the peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
}
