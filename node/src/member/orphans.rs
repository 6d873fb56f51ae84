//! Orphans: blobs whose slivers are held here, acked, and that have no entry. Their puts got no certificate, or none that
//! anybody was answered on; while the put may go on, the slivers are promised (R11).

use weft_protocol::ViewId;
use weft_redstuff::BlobId;
use weft_store::{Room, Tx, View};

use super::{Member, MemberError, index, records, void};

/// Holdings looked at at a time.
const PAGE: usize = 256;

/// Some of them, and where to go on.
#[derive(Debug)]
pub(crate) struct Orphans {
    pub(crate) blobs: Vec<BlobId>,
    pub(crate) last: BlobId,
}

impl Member {
    /// The next orphans, in order of ID, of which this member has acked nothing since `sealed`: no certificate of a later
    /// view can count on it. `None` at the end.
    pub(crate) async fn orphans(&self, sealed: &ViewId, after: Option<BlobId>) -> Result<Option<Orphans>, MemberError> {
        let view = self.store.view();
        let page = view.holdings(after.as_ref().map(|blob| &blob.0), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(None) };
        let (last, mut blobs, mut unnoted) = (BlobId(*last), Vec::new(), Vec::new());
        for blob in page.iter().map(|(blob, _)| BlobId(*blob)) {
            if index::kind(&view, &blob)?.is_some() {
                continue;
            }
            match records::noted(&view, &blob)? {
                None => unnoted.push(blob),
                Some(acked) if acked <= sealed.position() => blobs.push(blob),
                Some(_) => {}
            }
        }
        if !unnoted.is_empty() {
            self.note_orphans(unnoted).await?;
        }
        Ok(Some(Orphans { blobs, last }))
    }

    /// Notes of orphans without a note that they were acked by now, at the latest: of those whose void went while they were
    /// acked again, and those of a volume from before there were notes.
    async fn note_orphans(&self, blobs: Vec<BlobId>) -> Result<(), MemberError> {
        let write = self.store.write(Room::Reserved, move |tx| {
            for blob in &blobs {
                if tx.entry(&blob.0)?.is_none() && records::noted(tx, blob)?.is_none() {
                    void::note(tx, blob)?;
                }
            }
            Ok::<_, MemberError>(())
        });
        write.await?;
        Ok(())
    }
}

/// Notes, as a blob is acked under the newest view, what may count on its slivers: they stay until that view is sealed at
/// least. What is live needs no note: it stays until it is deleted.
pub(super) fn acked(tx: &mut Tx<'_>, blob: &BlobId, is_live: bool) -> Result<(), MemberError> {
    let kept = records::noted(tx, blob)?.is_some() || tx.holding(&blob.0)?.is_some();
    if kept && !is_live { void::note(tx, blob) } else { Ok(()) }
}
