//! A member's process: the real node on the volume of the stage.

use std::{io, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use turmoil::net::TcpListener;
use weft_node::{
    env::Env,
    member::WhoAmI,
    serve::{Node, ServeError},
};
use weft_store::{Disk, Options, Writer};

use super::{
    Bug,
    dice::Dice,
    env::{SimClock, SimEntropy},
    net::{self, PORT, SimConnector},
    planted::LyingDisk,
    stage::{FLEET, Shared, Who, host_of},
    trace::elapsed,
};

/// What the process of a small volume needs.
const CACHE_BYTES: usize = 1 << 20;

/// Small, so that segments are emptied in the little that a simulation stores.
const SEGMENT_BYTES: u64 = 128 << 10;

/// Runs until it is killed, or can't go on: then the kubelet starts it again.
pub(super) async fn run(stage: Shared, who: Who) -> turmoil::Result {
    let ended = serve(&stage, who).await;
    let stage = stage.borrow();
    match ended {
        Ok(()) => stage.trace.event(elapsed(), "process", format_args!("{} ends", host_of(who))),
        Err(error) => {
            let error = weft_node::run::chain(&error);
            stage.trace.event(elapsed(), "process", format_args!("{} can't go on: {error}", host_of(who)));
        }
    }
    Ok(())
}

async fn serve(stage: &Shared, who: Who) -> Result<(), ServeError> {
    let (disk, env, trust, trace) = prepare(stage, who);
    let segment_bytes = Some(SEGMENT_BYTES);
    let options = Options { cache_bytes: CACHE_BYTES, writer: Writer::Inline, segment_bytes, ..Options::default() };
    let readmit = stage.borrow().readmits(who);
    let me = WhoAmI { fleet: FLEET, member: who.0, incarnation: who.1, readmit, trust };
    let node = Node::open(disk, me, env, &options).await?;
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await.map_err(listen)?;
    if let Some(member) = node.member() {
        stage.borrow_mut().members.insert(who, member);
    }
    let mut tasks = JoinSet::new();
    let calls = net::accept(listener, host_of(who), trace, &mut tasks);
    node.run_on(calls, tasks, std::future::pending()).await
}

fn listen(source: io::Error) -> ServeError {
    ServeError::Listen { address: ([0, 0, 0, 0], PORT).into(), source }
}

fn prepare(stage: &Shared, who: Who) -> (Arc<dyn Disk>, Env, weft_protocol::PublicKey, super::trace::Trace) {
    let mut stage = stage.borrow_mut();
    let starts = stage.starts.entry(who).or_default();
    *starts += 1;
    let purpose = format!("process {} {starts}", host_of(who));
    let uri = format!("weft://{FLEET}/member/{}/{}", who.0, who.1);
    let env = Env {
        clock: Arc::new(SimClock),
        entropy: Arc::new(SimEntropy::new(Dice::new(stage.seed, &purpose))),
        connector: Arc::new(SimConnector::new(uri, stage.trace.clone(), stage.endpoints.clone())),
        // So that they are collected while puts, views and losses go on.
        keep_tombstones: Duration::from_secs(5),
    };
    let disk = stage.volume(who);
    let disk: Arc<dyn Disk> = if stage.bug == Some(Bug::NoFsync) { Arc::new(LyingDisk(disk)) } else { Arc::new(disk) };
    stage.trace.event(elapsed(), "process", format_args!("{} starts", host_of(who)));
    (disk, env, stage.key.public(), stage.trace.clone())
}
