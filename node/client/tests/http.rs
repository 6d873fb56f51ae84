//! The HTTP client in front of gateways that are slow, silent or away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use weft_client::http::{Gateways, GatewaysConfig, HttpError, Put, PutAnswer};

/// Far more than the sockets' buffers take.
const LARGE: usize = 32 << 20;

#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Reads content in pieces with pauses, and answers.
    Slow,
    Prompt,
    /// Accepts, and reads nothing.
    Silent,
    /// Reads all, and says nothing.
    Mute,
    /// Ends connections.
    Closes,
}

/// A gateway that counts what it is sent.
struct Fake {
    url: String,
    received: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Fake {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (received, answered) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut tasks = JoinSet::new();
        let counters = (Arc::clone(&received), Arc::clone(&answered));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, manner, counters.clone()));
            }
        });
        Self { url, received, answered, _tasks: tasks }
    }

    fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, counters: (Arc<AtomicUsize>, Arc<AtomicUsize>)) {
    let (received, answered) = counters;
    match manner {
        Manner::Closes => return,
        Manner::Silent => return std::future::pending().await,
        Manner::Slow | Manner::Prompt | Manner::Mute => {}
    }
    let (mut head, mut piece) = (Vec::new(), vec![0; 1 << 20]);
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut left: usize = length.parse().unwrap();
    while left > 0 {
        let Ok(count @ 1..) = stream.read(&mut piece).await else { return };
        received.fetch_add(count, Ordering::Relaxed);
        left -= count;
        if matches!(manner, Manner::Slow) {
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }
    if matches!(manner, Manner::Mute) {
        return std::future::pending().await;
    }
    answered.fetch_add(1, Ordering::Relaxed);
    let body = r#"{"id":"1","length":0,"view":{"epoch":1,"revision":0,"hash":""}}"#;
    let answer = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
}

async fn put(gateways: &[&Fake], length: usize) -> Result<PutAnswer, HttpError> {
    let urls = gateways.iter().map(|gateway| gateway.url.clone()).collect();
    let hedge = Some(Duration::from_millis(50));
    let gateways = Gateways::new(GatewaysConfig { urls, hedge, ..GatewaysConfig::default() }).unwrap();
    let put = Put { key: "key".to_owned(), ..Put::default() };
    gateways.put(&put, Bytes::from(vec![7; length])).await
}

#[tokio::test]
async fn a_put_that_flows_is_asked_of_one_gateway() {
    let (slow, other) = (Fake::start(Manner::Slow).await, Fake::start(Manner::Prompt).await);
    // It takes many times as long as a first gateway is given to begin.
    put(&[&slow, &other], LARGE).await.unwrap();
    assert_eq!((slow.received(), other.received()), (LARGE, 0));
    assert_eq!((slow.answered.load(Ordering::Relaxed), other.answered.load(Ordering::Relaxed)), (1, 0));
}

#[tokio::test]
async fn a_put_to_a_silent_gateway_goes_to_another() {
    for manner in [Manner::Silent, Manner::Mute] {
        for length in [10_000, LARGE] {
            let (silent, other) = (Fake::start(manner).await, Fake::start(Manner::Prompt).await);
            put(&[&silent, &other], length).await.unwrap();
            assert_eq!(other.received(), length, "{manner:?}");
        }
    }
}

#[tokio::test]
async fn a_put_to_a_gateway_that_closes_goes_to_another_at_once() {
    let (closes, other) = (Fake::start(Manner::Closes).await, Fake::start(Manner::Prompt).await);
    put(&[&closes, &other], LARGE).await.unwrap();
    assert_eq!(other.received(), LARGE);
    assert!(matches!(put(&[&closes, &closes], 10).await, Err(HttpError::Unreachable { .. })));
}
