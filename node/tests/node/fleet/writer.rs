//! A gateway that lies: it commits to slivers that contradict each other (R19).

use bytes::Bytes;
use futures::{StreamExt, stream};
use weft_proto::v1::{Sliver, UploadRequest};
use weft_protocol::{Certificate, Entry};
use weft_redstuff::{Axis, BlobId, Hash, Labels, Layout, Metadata, StripeHashes, encode_stripe, merkle};

use super::{
    Fleet,
    requests::{ack, certify, writes},
};

impl Fleet {
    /// Stores one stripe whose primaries are those of `first` and whose secondaries are those of `second`, which are
    /// equally long, as every member accepts it: what it gets is what the hashes say.
    pub(crate) async fn put_contradiction(&self, first: &Bytes, second: &Bytes) -> BlobId {
        let entry = self.acked(first, second).await;
        self.certify(&entry).await;
        entry.blob()
    }

    /// Stores one stripe that is `content`'s, but for one sliver, which is of something else.
    pub(crate) async fn put_flaw(&self, content: &Bytes, axis: Axis, index: u16) -> BlobId {
        let other: Bytes = content.iter().map(|byte| !byte).collect();
        let entry = self.acked_as([content, &other], None, |of, at| usize::from((of, at) == (axis, index))).await;
        self.certify(&entry).await;
        entry.blob()
    }

    async fn certify(&self, entry: &Entry) {
        for seat in &self.newest().seats {
            writes(self, seat.member.0).certify(certify(self.newest(), entry)).await.expect("receipted");
        }
    }

    /// The same, as far as every member's ack.
    pub(crate) async fn acked(&self, first: &Bytes, second: &Bytes) -> Entry {
        self.acked_until(first, second, None).await
    }

    /// The same of what expires then.
    pub(crate) async fn acked_until(&self, first: &Bytes, second: &Bytes, expiry: Option<u64>) -> Entry {
        self.acked_as([first, second], expiry, |axis, _| axis as usize).await
    }

    /// `which` tells of which of the two contents each sliver is.
    async fn acked_as(&self, contents: [&Bytes; 2], expiry: Option<u64>, which: impl Fn(Axis, u16) -> usize) -> Entry {
        let [first, _] = contents;
        let view = self.newest();
        let (code, session, hash) = (view.code, [9; 16], Bytes::copy_from_slice(view.hash().as_bytes()));
        let layout = Layout::sliced(code, first.len() as u64).expect("it fits");
        let symbol_size = layout.tail_symbol_size();
        let encoded = contents.map(|data| encode_stripe(code, symbol_size, data.clone()).expect("it fits"));
        let sliver = |axis: Axis, index: u16| encoded[which(axis, index)].sliver(axis, index);
        let [primary, secondary] =
            Axis::BOTH.map(|axis| (0..code.shards()).map(|index| Hash::of(&sliver(axis, index))).collect());
        let hashes = StripeHashes::new(code, primary, secondary).expect("n of each");
        let (root, digest) = (merkle::root(&[hashes.root()]), Hash::of(first));
        let metadata = Metadata { root, layout, labels: Labels::default(), expiry, digest, nonce: session };
        let mut acks = Vec::new();
        for seat in &view.seats {
            let mut writes = writes(self, seat.member.0);
            let slivers = seat.shards.iter().flat_map(|shard| {
                Axis::BOTH.map(|axis| {
                    let index = code.sliver_index(shard.into(), axis);
                    Sliver { axis: axis as u32, index: index.into(), data: sliver(axis, index) }
                })
            });
            let upload = UploadRequest {
                session: Bytes::copy_from_slice(&session),
                view: hash.clone(),
                stripe: 0,
                symbol_size,
                hashes: hashes.encode().into(),
                slivers: slivers.collect(),
            };
            let mut durable = writes.upload(stream::iter([upload])).await.expect("taken").into_inner();
            durable.next().await.expect("answered").expect("durable");
            acks.push(ack(self, seat.member.0, view, &metadata, &[]).await);
        }
        let certificate = Certificate::new(view, metadata.id(), acks).expect("a quorum");
        Entry::Live { metadata, inline: None, certificate }
    }
}
