//! The local cluster, by hand and from the Makefile.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use weft_e2e::{Cluster, Image, Isolation, Options, RunId};

/// A Kubernetes cluster on this host: a control plane and workers that can be taken away.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Which cluster; several run side by side.
    #[arg(long, global = true, default_value = "local", env = "WEFT_CLUSTER")]
    name: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start it and wait until it is ready; what is up already stays.
    Up {
        /// How many workers.
        #[arg(long, default_value_t = 4, env = "WORKERS")]
        workers: usize,
        /// Seconds of silence after which a Node is not Ready.
        #[arg(long, default_value_t = Options::default().node_monitor_grace)]
        node_monitor_grace: u32,
    },
    /// End it, whatever is left of it.
    Down {
        /// All clusters that this run started, instead of one by its name.
        #[arg(long)]
        run: Option<RunId>,
    },
    /// Print the path of its kubeconfig.
    Kubeconfig,
    /// Take a worker's power away.
    CutPower { worker: usize },
    /// Give a worker its power back.
    Restore { worker: usize },
    /// Cut a worker off while it keeps running.
    Isolate {
        worker: usize,
        /// From what.
        #[arg(long, value_enum, default_value_t = Cut::Everything)]
        from: Cut,
    },
    /// Undo `isolate`.
    Reconnect { worker: usize },
    /// Delete all volumes on a worker's disk.
    DeleteVolumes { worker: usize },
    /// Offer volumes that grow, in the class `growing`; `build.sh growth` builds what it takes.
    OfferGrowth,
    /// Load an image into every machine.
    Load { tar: PathBuf },
    /// Print what a pod's interface has carried, in bytes.
    Counters { worker: usize, namespace: String, pod: String },
    /// Print the names of the clusters that are up.
    List {
        /// Those that this run started.
        #[arg(long)]
        run: Option<RunId>,
    },
    /// Fail if any cluster has left something on this host.
    CheckClean,
    /// Make the image of static weft-operator, weft-node and weft.
    Image {
        /// Where cargo put them.
        #[arg(long)]
        from: PathBuf,
        /// The image's name.
        #[arg(long, default_value = "localhost/weft:dev")]
        image: String,
        /// Where to write it.
        tar: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Cut {
    Everything,
    ApiServer,
    Workers,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            let causes = std::iter::successors(error.source(), |&cause| cause.source());
            let told = causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"));
            eprintln!("weft-cluster: {told}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let name = arguments.name;
    let find = || Cluster::find(&name);
    match arguments.command {
        Command::Up { workers, node_monitor_grace } => {
            let options = Options { name, workers, node_monitor_grace, ..Options::default() };
            let started = Instant::now();
            let cluster = match Cluster::find(&options.name) {
                Ok(cluster) if *cluster.options() == options && cluster.is_ready() => cluster,
                _ => Cluster::up(&options)?,
            };
            println!("up with {workers} workers after {:.1} s", started.elapsed().as_secs_f64());
            println!("export KUBECONFIG={}", cluster.kubeconfig().display());
        }
        Command::Down { run: None } => Cluster::down(&name)?,
        Command::Down { run: Some(run) } => {
            for name in Cluster::names_of(&run)? {
                println!("ending the cluster {name}");
                Cluster::down(&name)?;
            }
        }
        Command::Kubeconfig => println!("{}", find()?.kubeconfig().display()),
        Command::CutPower { worker } => find()?.cut_power(worker)?,
        Command::Restore { worker } => find()?.restore(worker)?,
        Command::Isolate { worker, from } => {
            let from = match from {
                Cut::Everything => Isolation::Everything,
                Cut::ApiServer => Isolation::ApiServer,
                Cut::Workers => Isolation::Workers,
            };
            find()?.isolate(worker, from)?;
        }
        Command::Reconnect { worker } => find()?.reconnect(worker)?,
        Command::DeleteVolumes { worker } => find()?.delete_volumes(worker)?,
        Command::OfferGrowth => find()?.offer_growth()?,
        Command::Load { tar } => find()?.load_image(&tar)?,
        Command::Counters { worker, namespace, pod } => match find()?.pod_counters(worker, &namespace, &pod)? {
            Some(counters) => println!("received {}\nsent {}", counters.received, counters.sent),
            None => return Err(format!("no pod {namespace}/{pod} runs on worker {worker}").into()),
        },
        Command::List { run } => {
            let names = run.as_ref().map_or_else(Cluster::names, Cluster::names_of)?;
            for name in names {
                println!("{name}");
            }
        }
        Command::CheckClean => {
            let leftovers = Cluster::leftovers(None)?;
            for leftover in &leftovers {
                println!("{leftover}");
            }
            if !leftovers.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Image { from, image, tar } => Image::weft(&image, &from)?.write(&tar)?,
    }
    Ok(ExitCode::SUCCESS)
}
