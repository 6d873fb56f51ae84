//! Serving symbols, slivers and stripe hashes to peers: many a stream, in signed batches.

use std::{iter::repeat, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use weft_proto::v1::{
    SliverItem, SliverRequest, SliversRequest, StripeHashesRequest, StripeItem, StripesRequest, SymbolBatch,
    SymbolItem, SymbolsRequest,
};
use weft_redstuff::{BlobId, Hash};

use super::caller::Caller;
use crate::{
    member::{Member, Wanted, sliver_axis},
    repair::{request_digest, statement},
};

/// Bytes of symbols after which a batch is signed and sent.
const BATCH_BYTES: usize = 1 << 20;

/// After which a batch is sent that has fewer.
const LATEST: Duration = Duration::from_secs(1);

/// Symbols that are made in one go, but for an item that alone asks for more.
const AT_ONCE: usize = 64;

/// Replies that may wait for a slow caller; but for what is made in one go, the rest waits on disk.
const WINDOW: usize = 2;

type Replies<T> = ReceiverStream<Result<T, Status>>;

/// What one request may hold: a bound on what a peer can make this member remember.
const MAX_ITEMS: usize = 1 << 16;

/// Slivers that cross one: there are never more shards.
const MAX_HELPERS: usize = u8::MAX as usize;

fn bounded(items: usize) -> Result<(), Status> {
    if items <= MAX_ITEMS {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("{items} items in one request; the most is {MAX_ITEMS}")))
}

pub(crate) fn symbols(
    member: Arc<Member>,
    caller: Caller,
    request: SymbolsRequest,
) -> Result<Replies<SymbolBatch>, Status> {
    // An item without helpers takes its lookups all the same.
    bounded(request.items.iter().map(|item| item.helpers.len().max(1)).sum())?;
    if request.items.iter().any(|item| item.helpers.len() > MAX_HELPERS) {
        return Err(Status::invalid_argument(format!("an item names at most {MAX_HELPERS} helpers")));
    }
    let (sender, receiver) = mpsc::channel(WINDOW);
    tokio::spawn(async move {
        // A caller that went away needs no answer.
        let _gone = send_symbols(&member, caller, &request, sender).await;
    });
    Ok(ReceiverStream::new(receiver))
}

/// The caller is gone.
struct Gone;

async fn send_symbols(
    member: &Arc<Member>,
    caller: Caller,
    request: &SymbolsRequest,
    sender: mpsc::Sender<Result<SymbolBatch, Status>>,
) -> Result<(), Gone> {
    let mut batches = Batches::new(member, sender, request_digest(request));
    for some in pieces(&request.items) {
        if batches.sender.is_closed() {
            return Err(Gone);
        }
        let wanted = some.iter().map(|item| wanted(member, caller, item)).collect();
        let found = member.symbols(wanted).await.into_iter().chain(repeat(Vec::new()));
        for (item, mut symbols) in some.iter().zip(found) {
            symbols.resize(item.helpers.len(), Bytes::new());
            for symbol in symbols {
                batches.push(symbol).await?;
            }
        }
        // Who waits is to see that there is something to wait for.
        if batches.sent.elapsed() >= LATEST {
            batches.send().await?;
        }
    }
    batches.send().await
}

/// Symbols on their way to a caller.
struct Batches<'a> {
    member: &'a Member,
    sender: mpsc::Sender<Result<SymbolBatch, Status>>,
    request: Hash,
    number: u32,
    symbols: Vec<Bytes>,
    bytes: usize,
    /// When the last batch was.
    sent: Instant,
}

impl<'a> Batches<'a> {
    fn new(member: &'a Member, sender: mpsc::Sender<Result<SymbolBatch, Status>>, request: Hash) -> Self {
        Self { member, sender, request, number: 0, symbols: Vec::new(), bytes: 0, sent: Instant::now() }
    }

    /// Adds a symbol, and sends the batch if it has enough.
    async fn push(&mut self, symbol: Bytes) -> Result<(), Gone> {
        self.bytes += symbol.len();
        self.symbols.push(symbol);
        if self.bytes >= BATCH_BYTES { self.send().await } else { Ok(()) }
    }

    /// Signs and sends what there is, and begins another.
    async fn send(&mut self) -> Result<(), Gone> {
        if self.symbols.is_empty() {
            return Ok(());
        }
        let symbols = std::mem::take(&mut self.symbols);
        self.member.metrics().transfer_sent("repair", std::mem::take(&mut self.bytes));
        let signed = self.member.sign_now(statement(&self.request, self.number, &symbols));
        self.number += 1;
        let batch = SymbolBatch { symbols, signature: signed.encode().into() };
        self.sender.send(Ok(batch)).await.map_err(|_| Gone)?;
        self.sent = Instant::now();
        Ok(())
    }
}

/// Items in their order, as many at a time as are read together.
fn pieces(items: &[SymbolItem]) -> impl Iterator<Item = &[SymbolItem]> {
    let mut left = items;
    std::iter::from_fn(move || {
        let mut symbols = 0;
        let fits = |item: &&SymbolItem| {
            symbols += item.helpers.len();
            symbols <= AT_ONCE
        };
        let (some, rest) = left.split_at(left.iter().take_while(fits).count().max(1).min(left.len()));
        left = rest;
        (!some.is_empty()).then_some(some)
    })
}

/// What an item asks for, where the caller may know it.
fn wanted(member: &Member, caller: Caller, item: &SymbolItem) -> Option<Wanted> {
    let (blob, axis) = (BlobId::from_slice(&item.blob)?, sliver_axis(item.axis)?);
    if caller.is_closed(member, &blob) {
        return None;
    }
    let index = u16::try_from(item.index).ok()?;
    let helpers = item.helpers.iter().map(|helper| u16::try_from(*helper).ok()).collect::<Option<_>>()?;
    Some(Wanted { blob, stripe: item.stripe, axis, index, helpers })
}

pub(crate) fn slivers(
    member: Arc<Member>,
    caller: Caller,
    request: SliversRequest,
) -> Result<Replies<SliverItem>, Status> {
    bounded(request.items.len())?;
    let (sender, receiver) = mpsc::channel(WINDOW);
    tokio::spawn(async move {
        for (at, item) in request.items.iter().enumerate() {
            let data = one_sliver(&member, caller, item).await;
            member.metrics().transfer_sent("migrate", data.as_ref().map_or(0, Bytes::len));
            let held = data.is_some();
            let reply = SliverItem { item: at as u32, data: data.unwrap_or_default(), held };
            if sender.send(Ok(reply)).await.is_err() {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

async fn one_sliver(member: &Member, caller: Caller, item: &SliverRequest) -> Option<Bytes> {
    let (blob, axis) = (BlobId::from_slice(&item.blob)?, sliver_axis(item.axis)?);
    if caller.is_closed(member, &blob) {
        return None;
    }
    member.read_sliver(&blob, item.stripe, axis, u16::try_from(item.index).ok()?).await.ok()?
}

pub(crate) fn stripes(member: Arc<Member>, request: StripesRequest) -> Result<Replies<StripeItem>, Status> {
    bounded(request.items.len())?;
    let (sender, receiver) = mpsc::channel(WINDOW);
    tokio::spawn(async move {
        for (at, item) in request.items.iter().enumerate() {
            let mut reply = one_stripe(&member, item).await.unwrap_or_default();
            reply.item = at as u32;
            member.metrics().transfer_sent("repair", reply.hashes.len());
            if sender.send(Ok(reply)).await.is_err() {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

async fn one_stripe(member: &Member, item: &StripeHashesRequest) -> Option<StripeItem> {
    let blob = BlobId::from_slice(&item.blob)?;
    let (symbol_size, hashes) = member.stripe_hashes(&blob, item.stripe).ok()??;
    let path = member.stripe_path(&blob, item.stripe).await.ok()??;
    Some(StripeItem {
        item: 0,
        held: true,
        hashes: hashes.encode().into(),
        path: path.iter().map(|hash| Bytes::copy_from_slice(hash.as_bytes())).collect(),
        symbol_size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_all_items_in_order_and_few_symbols_each_but_for_what_alone_has_many() {
        let cut = |helpers: &[usize]| -> Vec<Vec<usize>> {
            let items: Vec<SymbolItem> =
                helpers.iter().map(|count| SymbolItem { helpers: vec![7; *count], ..SymbolItem::default() }).collect();
            pieces(&items).map(|piece| piece.iter().map(|item| item.helpers.len()).collect()).collect()
        };
        assert_eq!(cut(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(cut(&[64]), [[64]]);
        assert_eq!(cut(&[0, 65, 1, 63, 1, 0]), [vec![0], vec![65], vec![1, 63], vec![1, 0]]);
        assert_eq!(cut(&[255, 255]), [[255], [255]]);
        assert_eq!(cut(&[10; 20]), [vec![10; 6], vec![10; 6], vec![10; 6], vec![10; 2]]);
    }
}
