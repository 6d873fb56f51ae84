//! Puts, gets and repairs of a fleet of eight members on this machine, each a process with a volume in a folder of its own, beside
//! `MinIO` with as many drives, in one run: in one process, without a network between its drives, and as a fleet of as many.
//! `make bench-node` runs it; ARCHITECTURE.md ("How fast it is") says what is measured.

mod beside;
#[path = "../../tests/node/fleet/certificates.rs"]
mod certificates;
#[expect(dead_code, reason = "memory is measured of the operator")]
#[path = "../../../operator/benches/operator/figures.rs"]
mod figures;
mod fleet;
mod heal;
mod load;
mod minio;
mod network;
mod process;
mod report;

use std::{env, error::Error, path::Path, process::ExitCode, time::Duration};

use weft_redstuff::Code;

use crate::{
    heal::Healed,
    load::{Load, Target},
    report::{Cell, Report},
};

type Failure = Box<dyn Error + Send + Sync>;

/// Members, and drives.
const MEMBERS: u16 = 8;

/// What is asked for by the environment.
#[derive(Clone, Debug)]
struct Wish {
    /// How long each cell of the table is measured.
    seconds: Duration,
    code: Code,
    sizes: Vec<usize>,
    clients: Vec<usize>,
}

impl Wish {
    fn read() -> Result<Self, Failure> {
        let seconds = Duration::from_secs(number("SECONDS", 10)?);
        // Four shards a member, as a committee has by default; reads survive three lost members of eight: 2f ≥ 3 · 4.
        let code = Code::new(number("SHARDS", 4 * u64::from(MEMBERS))? as u16, number("FAULTS", 6)? as u16)?;
        if code.shards() % MEMBERS != 0 {
            return Err(format!("SHARDS must be a multiple of {MEMBERS}").into());
        }
        let list = |name, silent: &str| {
            let text = env::var(name).unwrap_or_else(|_| silent.to_owned());
            let numbers: Result<Vec<usize>, _> = text.split_whitespace().map(str::parse).collect();
            numbers.map_err(|error| format!("{name} are numbers: {error}"))
        };
        Ok(Self { seconds, code, sizes: list("SIZES", "4096 1048576 67108864")?, clients: list("CLIENTS", "1 16")? })
    }
}

fn number(name: &str, silent: u64) -> Result<u64, Failure> {
    match env::var(name) {
        Ok(text) => text.parse().map_err(|error| format!("{name} is a number: {error}").into()),
        Err(_) => Ok(silent),
    }
}

fn main() -> ExitCode {
    let measured = network::enter().and_then(|()| {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(measure())
    });
    match measured {
        Ok(report) => {
            println!("\n{}", report.markdown());
            let broken = report.broken();
            for sentence in &broken {
                eprintln!("{sentence}");
            }
            if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("could not be measured: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<Report, Failure> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let wish = Wish::read()?;
    let folder = tempfile::Builder::new().prefix("bench-node").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut report = Report::new(wish.code, disk_bandwidth(folder.path())?);
    eprintln!("the disk takes {:.0} MB/s, synced", report.disk / 1e6);
    let fleet = fleet::Fleet::start(&folder.path().join("weft"), wish.code).await?;
    let minio = minio::Minio::start(&folder.path().join("minio"), 1).await?;
    let minios = minio::Minio::start(&folder.path().join("minios"), MEMBERS).await?;
    for size in &wish.sizes {
        for clients in &wish.clients {
            let load = Load { size: *size, clients: *clients, seconds: wish.seconds };
            let run = async |target: &dyn Target| {
                let measured = load.run(target).await?;
                eprintln!("{}", measured.line(&load));
                Ok::<_, Failure>(measured)
            };
            let (weft, minio) = (run(&fleet).await?, [run(&minio).await?, run(&minios).await?]);
            report.cells.push(Cell { size: *size, clients: *clients, weft, minio });
        }
    }
    drop((fleet, minio, minios));
    for size in &wish.sizes {
        let healed = Healed::measure(&folder.path().join(format!("heal-{size}")), wish.code, *size).await?;
        eprintln!("{}", healed.line());
        report.healed.push(healed);
    }
    let beside = beside::measure(&folder.path().join("beside"), wish.code, wish.seconds).await?;
    eprintln!("{}", beside.line());
    report.beside = Some(beside);
    Ok(report)
}

/// Bytes a second that the disk takes from as many writers as there are members, fsync included.
fn disk_bandwidth(folder: &Path) -> Result<f64, Failure> {
    const BYTES: usize = 64 << 20;
    let content = load::content(0, BYTES);
    let started = std::time::Instant::now();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..MEMBERS)
            .map(|writer| {
                let (content, path) = (&content, folder.join(format!("bandwidth-{writer}")));
                scope.spawn(move || {
                    let file = std::fs::File::create(&path)?;
                    std::io::Write::write_all(&mut &file, content)?;
                    file.sync_all()?;
                    std::fs::remove_file(&path)
                })
            })
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().map_err(|_| "a writer panicked")?.map_err(Failure::from))
    })?;
    Ok(f64::from(MEMBERS) * BYTES as f64 / started.elapsed().as_secs_f64())
}
