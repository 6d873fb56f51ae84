//! Asking peers for symbols, and checking whose they are (R18).

use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;
use tonic::Status;
use weft_proto::v1::{SymbolBatch, SymbolItem, SymbolsRequest, peers_client::PeersClient};
use weft_protocol::{MemberId, Signed, Statement, View};
use weft_redstuff::Hash;

use crate::{
    answer::{Answer, Asked},
    member::Member,
};

/// What a batch's signature speaks of: its place in the answer to this request.
pub(crate) fn statement(request: &Hash, batch: u32, symbols: &[Bytes]) -> Statement {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&batch.to_be_bytes());
    for symbol in symbols {
        hasher.update(&(symbol.len() as u64).to_be_bytes());
        hasher.update(symbol);
    }
    Statement::Symbols { request: *request, payload: Hash(*hasher.finalize().as_bytes()) }
}

/// The digest under which a request's answers are signed.
pub(crate) fn request_digest(request: &SymbolsRequest) -> Hash {
    Hash::of(&request.encode_to_vec())
}

/// What one peer gave.
pub(super) struct Given {
    /// As many as were asked for, in order of (item, helper), empty where the peer has none.
    pub(super) symbols: Vec<Bytes>,
    /// The peer took at least half of the time that it may take, and gave less than it was asked for.
    pub(super) in_vain: bool,
}

/// Asks one peer for symbols of so many bytes together, and listens until it is silent, says more than it was asked for, or
/// its seat didn't sign a batch.
pub(super) async fn ask(member: &Member, view: &View, peer: MemberId, items: Vec<SymbolItem>, bytes: u64) -> Given {
    let wanted: usize = items.iter().map(|item| item.helpers.len()).sum();
    let (mut symbols, began) = (Vec::with_capacity(wanted), Instant::now());
    let asked = Asked { things: wanted as u32, bytes };
    if let Err(status) = receive(member, view, peer, SymbolsRequest { items }, asked, &mut symbols).await {
        tracing::info!(%peer, %status, "symbols: the peer does not serve; others are asked");
    }
    symbols.resize(wanted, Bytes::new());
    let in_vain = symbols.iter().any(Bytes::is_empty) && 2 * began.elapsed() >= asked.patience();
    Given { symbols, in_vain }
}

async fn receive(
    member: &Member,
    view: &View,
    peer: MemberId,
    request: SymbolsRequest,
    asked: Asked,
    symbols: &mut Vec<Bytes>,
) -> Result<(), Status> {
    let digest = request_digest(&request);
    let mut client = PeersClient::new(member.peer_channel(peer)?).max_decoding_message_size(weft_proto::MAX_MESSAGE);
    let mut batches = Answer::to(client.symbols(request), asked).await?;
    let mut number = 0;
    while let Some(batch) = batches.next().await? {
        if !is_signed(view, peer, &digest, number, &batch) {
            return Err(Status::data_loss("a batch of symbols is not signed by its sender"));
        }
        member.metrics().symbols_received(batch.symbols.iter().map(Bytes::len).sum());
        symbols.extend(batch.symbols);
        number += 1;
    }
    Ok(())
}

fn is_signed(view: &View, peer: MemberId, request: &Hash, number: u32, batch: &SymbolBatch) -> bool {
    let (Some(seat), Ok(signed)) = (view.seat(peer), Signed::decode(&batch.signature)) else { return false };
    signed.statement == statement(request, number, &batch.symbols) && signed.verify(view.fleet, seat).is_ok()
}
