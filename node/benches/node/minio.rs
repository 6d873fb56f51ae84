//! `MinIO`: eight drives, three of which may be lost, syncing to disk; all in one process, or each in one of its own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use hyper::{Method, Uri};

use crate::{
    Failure, MEMBERS,
    load::Target,
    process::{Process, eventually, free_address},
};

const USER: &str = "bench";
const PASSWORD: &str = "bench-bench";

pub(crate) struct Minio {
    folder: PathBuf,
    servers: Vec<Server>,
}

struct Server {
    address: SocketAddr,
    /// None between two lives.
    process: Option<Process>,
}

impl Minio {
    /// Shares the drives out among so many processes.
    pub(crate) async fn start(folder: &Path, processes: u16) -> Result<Self, Failure> {
        let servers = (0..processes).map(|_| Ok(Server { address: free_address()?, process: None }));
        let mut minio = Self { folder: folder.to_owned(), servers: servers.collect::<Result<_, Failure>>()? };
        for drive in 1..=MEMBERS {
            fs::create_dir_all(minio.drive(drive))?;
        }
        for server in 0..minio.servers.len() {
            minio.begin(server)?;
        }
        eventually("MinIO makes a bucket", || async { minio.signed(&["-X", "PUT"], "bench").map(Some) }).await?;
        let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],"Resource":["arn:aws:s3:::bench/*"]}]}"#;
        minio.signed(&["-X", "PUT", "--data-binary", policy], "bench?policy=")?;
        // Every process is to know of it.
        let http = crate::load::http();
        for number in 0..u64::from(processes) {
            eventually("MinIO takes puts", || async {
                let some = Bytes::from_static(b"some");
                crate::load::ask(&http, Method::PUT, minio.uri(number)?, some).await?;
                crate::load::ask(&http, Method::DELETE, minio.uri(number)?, Bytes::new()).await.map(Some)
            })
            .await?;
        }
        Ok(minio)
    }

    fn drive(&self, drive: u16) -> PathBuf {
        self.folder.join(format!("drive-{drive}"))
    }

    /// Which process has a drive.
    fn server(&self, drive: u16) -> usize {
        usize::from(drive - 1) * self.servers.len() / usize::from(MEMBERS)
    }

    /// A drive as its processes are told of it: with an address where they are many.
    fn endpoint(&self, drive: u16) -> String {
        let path = self.drive(drive).display().to_string();
        if self.servers.len() == 1 {
            path
        } else {
            format!("http://{}{path}", self.servers[self.server(drive)].address)
        }
    }

    fn begin(&mut self, server: usize) -> Result<(), Failure> {
        let program =
            PathBuf::from(std::env::var("MINIO").map_err(|_| "MINIO names no program: use `make bench-node`")?);
        let console = free_address()?.to_string();
        let mut command = Command::new(&program);
        command
            .args(["server", "--quiet", "--address", &self.servers[server].address.to_string()])
            .args(["--console-address", &console])
            .args((1..=MEMBERS).map(|drive| self.endpoint(drive)))
            .env("HOME", &self.folder)
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", PASSWORD)
            .env("MINIO_STORAGE_CLASS_STANDARD", "EC:3")
            // Durable before it answers, as here.
            .env("MINIO_FS_OSYNC", "on")
            .env("MINIO_BROWSER", "off")
            // Drives on the system's own disk are refused otherwise.
            .env("MINIO_CI_CD", "1");
        let log = self.folder.join(format!("log-{server}"));
        self.servers[server].process = Some(Process::start(&mut command, &log)?);
        Ok(())
    }

    /// Ends the process that has a drive, empties the drive, and starts it again.
    pub(crate) async fn lose(&mut self, drive: u16) -> Result<(), Failure> {
        let server = self.server(drive);
        drop(self.servers[server].process.take());
        fs::remove_dir_all(self.drive(drive))?;
        fs::create_dir(self.drive(drive))?;
        self.begin(server)?;
        eventually("MinIO is there again", || async { self.signed(&["-I"], "bench").map(Some) }).await
    }

    /// Bytes of objects on a drive.
    pub(crate) fn held(&self, drive: u16) -> Result<u64, Failure> {
        let mut folders = vec![self.drive(drive).join("bench")];
        let mut held = 0;
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let entry = entry?;
                // What is renamed meanwhile is counted the next time.
                match entry.metadata() {
                    Ok(found) if found.is_dir() => folders.push(entry.path()),
                    Ok(found) => held += found.len(),
                    Err(_) => {}
                }
            }
        }
        Ok(held)
    }

    /// Bytes that its processes have read since they were started.
    pub(crate) fn read(&self) -> Result<u64, Failure> {
        let read = |process: u32| -> Result<u64, Failure> {
            let told = fs::read_to_string(format!("/proc/{process}/io"))?;
            let read = told.lines().find_map(|line| line.strip_prefix("rchar: ")).ok_or("no rchar in /proc/…/io")?;
            Ok(read.trim().parse()?)
        };
        self.processes().into_iter().map(read).sum()
    }

    /// One request that it takes from its owner alone.
    fn signed(&self, arguments: &[&str], path: &str) -> Result<(), Failure> {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--aws-sigv4", "aws:amz:us-east-1:s3"])
            .args(["--user", &format!("{USER}:{PASSWORD}"), "--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
            .args(arguments)
            .arg(format!("http://{}/{path}", self.servers[0].address))
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let told = [output.stdout, output.stderr].concat();
        Err(String::from_utf8_lossy(&told).into_owned().into())
    }

    /// Requests go to its processes in turn.
    fn uri(&self, number: u64) -> Result<Uri, Failure> {
        let server = &self.servers[number as usize % self.servers.len()];
        Ok(format!("http://{}/bench/{number:08}", server.address).parse()?)
    }
}

impl Target for Minio {
    fn name(&self) -> &'static str {
        if self.servers.len() == 1 { "MinIO" } else { "MinIOs" }
    }

    fn put(&self, number: u64) -> Result<(Method, Uri), Failure> {
        Ok((Method::PUT, self.uri(number)?))
    }

    fn stored(&self, number: u64, _answer: &Bytes) -> Result<Uri, Failure> {
        self.uri(number)
    }

    fn processes(&self) -> Vec<u32> {
        self.servers.iter().filter_map(|server| server.process.as_ref()).map(Process::id).collect()
    }
}
