//! `MinIO`: one process with eight drives, three of which may be lost, syncing to disk.

use std::{
    fs,
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
    address: String,
    /// None between two lives.
    process: Option<Process>,
}

impl Minio {
    pub(crate) async fn start(folder: &Path) -> Result<Self, Failure> {
        let mut minio = Self { folder: folder.to_owned(), address: free_address()?.to_string(), process: None };
        for drive in 1..=MEMBERS {
            fs::create_dir_all(minio.drive(drive))?;
        }
        minio.begin()?;
        eventually("MinIO makes a bucket", || async { minio.signed(&["-X", "PUT"], "bench").map(Some) }).await?;
        let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],"Resource":["arn:aws:s3:::bench/*"]}]}"#;
        minio.signed(&["-X", "PUT", "--data-binary", policy], "bench?policy=")?;
        Ok(minio)
    }

    fn drive(&self, drive: u16) -> PathBuf {
        self.folder.join(format!("drive-{drive}"))
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let program =
            PathBuf::from(std::env::var("MINIO").map_err(|_| "MINIO names no program: use `make bench-node`")?);
        let console = free_address()?.to_string();
        let mut command = Command::new(&program);
        command
            .args(["server", "--quiet", "--address", &self.address, "--console-address", &console])
            .arg(self.folder.join(format!("drive-{{1...{MEMBERS}}}")))
            .env("HOME", &self.folder)
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", PASSWORD)
            .env("MINIO_STORAGE_CLASS_STANDARD", "EC:3")
            // Durable before it answers, as here.
            .env("MINIO_FS_OSYNC", "on")
            .env("MINIO_BROWSER", "off")
            // Drives on the system's own disk are refused otherwise.
            .env("MINIO_CI_CD", "1");
        self.process = Some(Process::start(&mut command, &self.folder.join("log"))?);
        Ok(())
    }

    /// Ends it, empties a drive, and starts it again.
    pub(crate) async fn lose(&mut self, drive: u16) -> Result<(), Failure> {
        drop(self.process.take());
        fs::remove_dir_all(self.drive(drive))?;
        fs::create_dir(self.drive(drive))?;
        self.begin()?;
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

    /// Bytes that it has read since it was started.
    pub(crate) fn read(&self) -> Result<u64, Failure> {
        let process = self.process.as_ref().ok_or("MinIO doesn't run")?;
        let told = fs::read_to_string(format!("/proc/{}/io", process.id()))?;
        let read = told.lines().find_map(|line| line.strip_prefix("rchar: ")).ok_or("no rchar in /proc/…/io")?;
        Ok(read.trim().parse()?)
    }

    /// One request that it takes from its owner alone.
    fn signed(&self, arguments: &[&str], path: &str) -> Result<(), Failure> {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--aws-sigv4", "aws:amz:us-east-1:s3"])
            .args(["--user", &format!("{USER}:{PASSWORD}"), "--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
            .args(arguments)
            .arg(format!("http://{}/{path}", self.address))
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let told = [output.stdout, output.stderr].concat();
        Err(String::from_utf8_lossy(&told).into_owned().into())
    }

    fn uri(&self, number: u64) -> Result<Uri, Failure> {
        Ok(format!("http://{}/bench/{number:08}", self.address).parse()?)
    }
}

impl Target for Minio {
    fn name(&self) -> &'static str {
        "MinIO"
    }

    fn put(&self, number: u64) -> Result<(Method, Uri), Failure> {
        Ok((Method::PUT, self.uri(number)?))
    }

    fn stored(&self, number: u64, _answer: &Bytes) -> Result<Uri, Failure> {
        self.uri(number)
    }

    fn processes(&self) -> Vec<u32> {
        self.process.iter().map(Process::id).collect()
    }
}
