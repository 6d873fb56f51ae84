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
    address: String,
    process: Process,
}

impl Minio {
    pub(crate) async fn start(folder: &Path) -> Result<Self, Failure> {
        let program =
            PathBuf::from(std::env::var("MINIO").map_err(|_| "MINIO names no program: use `make bench-node`")?);
        for drive in 1..=MEMBERS {
            fs::create_dir_all(folder.join(format!("drive-{drive}")))?;
        }
        let address = free_address()?.to_string();
        let console = free_address()?.to_string();
        let mut command = Command::new(&program);
        command
            .args(["server", "--quiet", "--address", &address, "--console-address", &console])
            .arg(folder.join(format!("drive-{{1...{MEMBERS}}}")))
            .env("HOME", folder)
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", PASSWORD)
            .env("MINIO_STORAGE_CLASS_STANDARD", "EC:3")
            // Durable before it answers, as here.
            .env("MINIO_FS_OSYNC", "on")
            .env("MINIO_BROWSER", "off")
            // Drives on the system's own disk are refused otherwise.
            .env("MINIO_CI_CD", "1");
        let process = Process::start(&mut command, &folder.join("log"))?;
        let minio = Self { address, process };
        eventually("MinIO makes a bucket", || async { minio.signed(&["-X", "PUT"], "bench").map(Some) }).await?;
        let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],"Resource":["arn:aws:s3:::bench/*"]}]}"#;
        minio.signed(&["-X", "PUT", "--data-binary", policy], "bench?policy=")?;
        Ok(minio)
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
        vec![self.process.id()]
    }
}
