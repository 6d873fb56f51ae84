//! The cluster that all scenarios share: it is started by the first and ended after the last.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use weft_e2e::demo::{DemoError, Run, Scale, Stage, Story};
use weft_e2e::{Cluster, Disks, Enforcer, Options, RunId};

const CLUSTER: &str = "fleet";
pub(crate) const IMAGE: &str = "localhost/weft:dev";
pub(crate) const PREVIOUS: &str = "localhost/weft:previous";
pub(crate) const INSTALL: Duration = Duration::from_secs(180);

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// Whether others may play at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Side by side with others, each in its namespace.
    Shared,
    /// It takes machines away, which are everybody's.
    Alone,
    /// Alone too, and only when `make test-long` asks for it.
    Long,
}

/// What is there between the first scenario and the last.
#[derive(Clone)]
struct Open {
    stage: Stage,
    /// All scenarios play under the network policies that the chart and the operator make.
    enforcer: Arc<Enforcer>,
}

/// Clones share the cluster.
#[derive(Clone)]
pub(crate) struct Theatre {
    runtime: Arc<Runtime>,
    open: Arc<Mutex<Option<Open>>>,
    turns: Arc<RwLock<()>>,
    times: Arc<Mutex<Vec<(&'static str, Duration)>>>,
}

impl Theatre {
    pub(crate) fn closed() -> Self {
        let runtime = Arc::new(Runtime::new().expect("a runtime"));
        Self { runtime, open: Arc::default(), turns: Arc::default(), times: Arc::default() }
    }

    /// Plays one scenario when its turn comes.
    pub(crate) fn play(&self, name: &'static str, numbers: &[u8], turn: Turn, scenario: crate::Scenario) -> Outcome {
        // A scenario that failed has left the lock in order.
        let _shared = (turn == Turn::Shared).then(|| self.turns.read().unwrap_or_else(PoisonError::into_inner));
        let _alone = (turn != Turn::Shared).then(|| self.turns.write().unwrap_or_else(PoisonError::into_inner));
        self.open()?;
        let started = Instant::now();
        let noted = weft_e2e::Scenario::begins(name, numbers);
        let outcome = scenario(self);
        if outcome.is_ok() {
            noted.ends();
        }
        self.times.lock().unwrap_or_else(PoisonError::into_inner).push((name, started.elapsed()));
        outcome
    }

    /// Prints how long each scenario took.
    pub(crate) fn print_times(&self) {
        for (name, took) in self.times.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            println!("{:>5} s  {name}", took.as_secs());
        }
    }

    /// Waits for a scenario's work.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Brings the image of the release before to the machines.
    pub(crate) async fn load_previous(&self) -> Result<(), DemoError> {
        self.stage()?.load_image(variable("WEFT_PREVIOUS_IMAGE_TAR")?).await
    }

    /// A Ready committee in a namespace of its own, with files in it.
    pub(crate) async fn run(&self, namespace: &str, scale: Scale) -> Result<Run, DemoError> {
        Run::start(&self.stage()?, namespace, &weft()?, scale, &Story::begin()).await
    }

    /// Ends the cluster, if there is one.
    pub(crate) fn close(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Open { stage, enforcer }) = open else { return };
        drop(enforcer);
        if let Some(cluster) = stage.cluster()
            && let Err(error) = Cluster::down(&cluster.options().name)
        {
            eprintln!("end the cluster: {error}");
        }
    }

    pub(crate) fn stage(&self) -> Result<Stage, DemoError> {
        self.now().map(|open| open.stage)
    }

    /// Who sees to it that network policies are followed.
    pub(crate) fn enforcer(&self) -> Result<Arc<Enforcer>, DemoError> {
        self.now().map(|open| open.enforcer)
    }

    fn now(&self) -> Result<Open, DemoError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        open.ok_or_else(|| DemoError::Unfit("the cluster did not start".to_owned()))
    }

    /// Starts the cluster with the operator, unless it is up.
    fn open(&self) -> Outcome {
        // Those that come meanwhile wait for the first.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_some() {
            return Ok(());
        }
        let tar = variable("WEFT_IMAGE_TAR")?;
        let name = RunId::cluster(CLUSTER)?;
        let cluster = Cluster::up(&Options { name, disks: Disks::of_tests(), ..Options::default() })?;
        let stage = self.wait(Stage::local(cluster))?;
        // From here on it is ended, whatever comes.
        let cluster = stage.cluster().cloned().ok_or("a cluster of this machine's own")?;
        let enforcer = self.wait(async { Enforcer::begin(stage.client(), cluster) });
        *open = Some(Open { stage: stage.clone(), enforcer: Arc::new(enforcer) });
        self.wait(stage.load_image(tar))?;
        self.wait(stage.install(IMAGE, INSTALL))?;
        Ok(())
    }
}

/// The `weft` command.
pub(crate) fn weft() -> Result<PathBuf, DemoError> {
    variable("WEFT")
}

fn variable(name: &str) -> Result<PathBuf, DemoError> {
    let unset = || DemoError::Unfit(format!("{name} is not set: run this with `make test`"));
    env::var_os(name).map(PathBuf::from).ok_or_else(unset)
}

/// An error with its causes.
pub(crate) fn told(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}
