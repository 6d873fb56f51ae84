//! Processes that end with the bench.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use crate::{Failure, network};

/// For a condition to come true.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process whose output goes to a file. Killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self, Failure> {
        let log = File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        Ok(Self(child.map_err(|error| format!("{}: {error}", command.get_program().display()))?))
    }
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// An address that nobody listens at, and of a port that the kernel gives to no connection meanwhile.
pub(crate) fn free_address() -> Result<SocketAddr, Failure> {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if port > 30_000 {
            return Err("no port is free".into());
        }
        if let Ok(listener) = TcpListener::bind((network::HOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
}

/// Waits until something comes of it.
pub(crate) async fn eventually<T, F: Future<Output = Result<Option<T>, Failure>>>(
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Failure> {
    let started = Instant::now();
    loop {
        let last = match attempt().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => "not yet".to_owned(),
            Err(error) => error.to_string(),
        };
        if started.elapsed() > PATIENCE {
            return Err(format!("waited too long until {what}: {last}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
