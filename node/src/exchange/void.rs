//! Certificates that turn up late (R12): the members decide whether they are void, or spread.
//!
//! A member that meets a certificate of a view that it is synced to, and lacks it, asks all holders once for all such
//! certificates of a pull. Of n − f shards that answer, f + 1 lack a blob or f + 1 know it; while fewer answer it is
//! left aside, and met again with the next pull.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use tonic::Status;
use weft_proto::v1::{Lack, LackingReply, LackingRequest, peers_client::PeersClient};
use weft_protocol::{Encoder, Entry, MemberId, ShardSet, Signed, SignedView, View, ViewId, Void};
use weft_redstuff::BlobId;

use crate::{
    answer,
    member::{Late, Member, MemberError, Said},
};

/// What was said of one blob.
#[derive(Debug, Default)]
pub(super) struct Opinion {
    pub(super) lacks: Vec<Signed>,
    knows: ShardSet,
}

/// Decides what late certificates are worth, as far as enough peers answer.
pub(super) async fn settle(member: &Member, late: Vec<Entry>) -> Result<(), MemberError> {
    let Some(newest) = member.newest().filter(|_| !late.is_empty()) else { return Ok(()) };
    let mut by_view: BTreeMap<(u64, u64), (ViewId, Vec<Entry>)> = BTreeMap::new();
    for entry in late {
        let Some(view) = entry.names().and_then(|hash| member.view_id(&hash)) else { continue };
        by_view.entry(view.position()).or_insert((view, Vec::new())).1.push(entry);
    }
    for (view, entries) in by_view.into_values() {
        let blobs: Vec<BlobId> = entries.iter().map(Entry::blob).collect();
        let opinions = ask_all(member, &newest, &view, &blobs).await?;
        let decided = entries.into_iter().zip(opinions);
        let decided: Vec<Entry> =
            decided.filter_map(|(entry, opinion)| decide(&newest.view, view, entry, opinion)).collect();
        let merged = member.merge(decided, Vec::new(), Late::Taken).await?;
        tracing::info!(late = blobs.len(), stored = merged.stored, "registry: late certificates are void, or spread");
    }
    Ok(())
}

/// The void, where f + 1 shards lack the blob; else the certificate, where f + 1 shards know it.
fn decide(newest: &View, view: ViewId, late: Entry, opinion: Opinion) -> Option<Entry> {
    if let Ok(void) = Void::new(view, late.blob(), newest, opinion.lacks) {
        return Some(Entry::Void(void));
    }
    (opinion.knows.len() > newest.code.fault_tolerance()).then_some(late)
}

/// Asks every holder that answers, this member too.
pub(super) async fn ask_all(
    member: &Member,
    newest: &SignedView,
    view: &ViewId,
    blobs: &[BlobId],
) -> Result<Vec<Opinion>, MemberError> {
    let mut opinions: Vec<Opinion> = blobs.iter().map(|_| Opinion::default()).collect();
    if member.is_seated() {
        for (opinion, said) in opinions.iter_mut().zip(member.opinion(view, blobs)?) {
            if let Said::Lacks(signed) = said {
                opinion.lacks.push(*signed);
            }
        }
    }
    let peers: Vec<MemberId> =
        member.reachable().into_iter().filter(|peer| newest.view.seat(*peer).is_some()).collect();
    let answers = join_all(peers.iter().map(|peer| ask(member, *peer, view, blobs))).await;
    for (peer, answer) in peers.into_iter().zip(answers) {
        match answer {
            Ok(reply) => count(&newest.view, view, peer, blobs.iter().zip(reply.lacks), &mut opinions),
            Err(status) => tracing::debug!(member = %peer, %status, "void: the peer does not say"),
        }
    }
    Ok(opinions)
}

async fn ask(member: &Member, peer: MemberId, view: &ViewId, blobs: &[BlobId]) -> Result<LackingReply, Status> {
    let request = LackingRequest {
        view: view.encode(Encoder::new()).finish().into(),
        blobs: blobs.iter().map(|blob| Bytes::copy_from_slice(blob.as_bytes())).collect(),
    };
    let mut client = PeersClient::new(member.peer_channel(peer)?).max_decoding_message_size(weft_proto::MAX_MESSAGE);
    answer::soon(client.lacking(request)).await
}

/// Counts what a peer said; a statement that isn't its seat's would spoil the whole void.
fn count<'b>(
    newest: &View,
    view: &ViewId,
    peer: MemberId,
    lacks: impl Iterator<Item = (&'b BlobId, Lack)>,
    opinions: &mut [Opinion],
) {
    let Some(seat) = newest.seat(peer) else { return };
    for (opinion, (blob, lack)) in opinions.iter_mut().zip(lacks) {
        if lack.known {
            opinion.knows = opinion.knows.union(seat.shards);
        } else if let Ok(signed) = Signed::decode(&lack.lacking)
            && signed.statement.says_lacking(view, blob)
            && signed.verify(newest.fleet, seat).is_ok()
        {
            opinion.lacks.push(signed);
        }
    }
}

#[cfg(test)]
mod tests {
    use weft_protocol::{
        Authority, BatchHeader, Certificate, FleetId, Incarnation, Seat, SigningKey, Statement, VolumeId, sign_batch,
    };
    use weft_redstuff::{Code, Hash, Labels, Layout, Metadata, inline_root};

    use super::*;

    fn key(id: u8) -> SigningKey {
        SigningKey::from_seed([id; 32])
    }

    fn incarnation(id: u8) -> Incarnation {
        Incarnation { number: 1, volume: VolumeId([id; 16]) }
    }

    /// Seven members with a shard each, f = 2.
    fn view() -> View {
        let seat = |id: u8| Seat {
            member: MemberId(u32::from(id)),
            incarnation: incarnation(id),
            key: key(id).public(),
            shards: [id].into_iter().collect(),
        };
        View {
            fleet: FleetId([1; 16]),
            epoch: 1,
            revision: 0,
            term: 1,
            predecessor: None,
            code: Code::new(7, 2).unwrap(),
            seats: (0..7).map(seat).collect(),
            authority: Authority { views: key(100).public(), deletes: vec![] },
            declared: vec![],
        }
    }

    fn late(view: &View) -> Entry {
        let layout = Layout::for_length(view.code, 1).unwrap();
        let (root, digest) = (inline_root(b"a"), Hash::of(b"a"));
        let metadata = Metadata { root, layout, labels: Labels::default(), expiry: None, digest, nonce: [0; 16] };
        let certificate = Certificate { view: view.hash(), blob: metadata.id(), acks: Vec::new() };
        Entry::Live { metadata, inline: Some(b"a".to_vec()), certificate }
    }

    fn lacks(id: u8, synced: ViewId, blob: BlobId) -> Signed {
        let member = MemberId(u32::from(id));
        let header = BatchHeader { fleet: FleetId([1; 16]), member, incarnation: incarnation(id), sequence: 1 };
        sign_batch(header, vec![Statement::Lacking { synced, blob }], &key(id)).pop().unwrap()
    }

    #[test]
    fn r12_f_plus_one_who_lack_it_make_a_void_and_f_plus_one_who_know_it_let_it_spread() {
        let view = view();
        let late = late(&view);
        let lacks: Vec<Signed> = (0..3).map(|id| lacks(id, view.id(), late.blob())).collect();
        let opinion =
            |lacking: usize, knows: u16| Opinion { lacks: lacks[..lacking].to_vec(), knows: ShardSet::first(knows) };
        let decided = |lacking, knows| decide(&view, view.id(), late.clone(), opinion(lacking, knows));
        assert!(matches!(decided(3, 0), Some(Entry::Void(void)) if void.check(&view).is_ok()));
        assert!(matches!(decided(3, 4), Some(Entry::Void(_))));
        assert_eq!(decided(2, 3), Some(late.clone()));
        assert_eq!(decided(2, 2), None, "too few have answered: it waits");
    }

    #[test]
    fn r12_what_a_liar_says_of_another_blob_or_an_older_view_spoils_nothing() {
        let view = view();
        let (late, newer) = (late(&view).blob(), ViewId { revision: 1, ..view.id() });
        let mut opinions = vec![Opinion::default()];
        let mut say = |signed: Signed| {
            let lack = Lack { lacking: signed.encode().into(), known: false };
            count(&view, &newer, MemberId(0), [(&late, lack)].into_iter(), &mut opinions);
            opinions[0].lacks.len()
        };
        assert_eq!(say(lacks(0, newer, BlobId([9; 32]))), 0);
        assert_eq!(say(lacks(0, view.id(), late)), 0, "not synced to the view");
        assert_eq!(say(lacks(1, newer, late)), 0, "another member's");
        assert_eq!(say(lacks(0, newer, late)), 1);
    }
}
