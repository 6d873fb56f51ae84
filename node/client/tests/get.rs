//! `weft get` from gateways that break off.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// What is asked for at one time.
const PART: usize = 16 << 20;

/// A gateway that has one blob.
struct Fake {
    url: String,
    content: Bytes,
    /// The first bytes of the ranges that were asked for.
    asked: Arc<Mutex<Vec<usize>>>,
    breaks: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Fake {
    async fn start(length: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let content: Bytes = (0..length).map(|at| (at / 7 % 251) as u8).collect();
        let (asked, breaks) = (Arc::<Mutex<Vec<usize>>>::default(), Arc::<AtomicBool>::default());
        let mut tasks = JoinSet::new();
        let served = (content.clone(), Arc::clone(&asked), Arc::clone(&breaks));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (content, asked, breaks) = served.clone();
                connections.spawn(serve(stream, content, asked, breaks));
            }
        });
        Self { url, content, asked, breaks, _tasks: tasks }
    }

    /// Runs the command, and gives what it says.
    async fn get(&self, file: &Path) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(["get", ID, "--no-retry", "--gateway", &self.url]).arg(file);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    fn asked(&self) -> Vec<usize> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.sort_unstable();
        asked
    }
}

/// One request; where it breaks, half of what is behind the first part doesn't come.
async fn serve(mut stream: TcpStream, content: Bytes, asked: Arc<Mutex<Vec<usize>>>, breaks: Arc<AtomicBool>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="));
    let range = range.map(|range| range.split_once('-').unwrap());
    let range = range.map(|(first, last)| first.parse::<usize>().unwrap()..last.parse::<usize>().unwrap() + 1);
    let (status, body) = match &range {
        Some(range) => ("206 Partial Content", content.slice(range.clone())),
        None => ("200 OK", content.clone()),
    };
    let digest = blake3::hash(&content);
    let told = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nweft-digest: blake3={digest}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(told.as_bytes()).await.unwrap();
    let Some(range) = range else {
        assert!(head.starts_with("head "), "only what is known of a blob is asked for without a range");
        return;
    };
    asked.lock().unwrap().push(range.start);
    let sent = if breaks.load(Ordering::Relaxed) && range.start > 0 { body.len() / 2 } else { body.len() };
    // The command may be gone.
    let _gone = stream.write_all(&body[..sent]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_goes_on_where_it_was() {
    let gateway = Fake::start(2 * PART + 12_345).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("content");
    gateway.breaks.store(true, Ordering::Relaxed);
    let output = gateway.get(&file).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("goes on from there"), "{told}");
    assert!(!file.exists(), "nothing looks complete");
    let part = folder.path().join(format!("content.{}.part", &ID[..12]));
    assert_eq!(fs::metadata(&part).unwrap().len(), PART as u64);
    assert!(gateway.asked().starts_with(&[0, PART]));

    gateway.breaks.store(false, Ordering::Relaxed);
    let output = gateway.get(&file).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(gateway.asked(), [PART, 2 * PART]);
    assert!(fs::read(&file).unwrap() == gateway.content);
    assert!(!part.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_by_something_else_is_fetched_anew() {
    let gateway = Fake::start(PART + 1000).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, part) = (folder.path().join("content"), folder.path().join(format!("content.{}.part", &ID[..12])));
    for left in [vec![1; 5000], vec![1; PART + 1000], vec![1; 2 * PART]] {
        fs::write(&part, left).unwrap();
        let output = gateway.get(&file).await;
        assert!(output.status.success(), "{output:?}");
        assert!(fs::read(&file).unwrap() == gateway.content);
        assert!(!part.exists());
        fs::remove_file(&file).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_blob_is_an_empty_file() {
    let gateway = Fake::start(0).await;
    let folder = tempfile::tempdir().unwrap();
    let output = gateway.get(&folder.path().join("content")).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(folder.path().join("content")).unwrap(), b"");
    assert_eq!(gateway.asked(), [0; 0]);
}
