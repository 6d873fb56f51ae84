//! The control plane may go back in time (R26): etcd restored from a snapshot, objects deleted. Where the fleet is ahead
//! of the objects they follow it, and nothing is destroyed until a person says that the rest of them is right, too.

use weft_protocol::View;

use crate::{Act, Rewind, draft::Draft, views};

/// Why nothing is destroyed now.
pub(crate) const UNCONFIRMED: &str = "R26: the objects were set back, and nobody has confirmed them";

/// Takes notice of a fleet that is ahead of the record, and of a person's word that things are in order again.
pub(crate) fn notice(draft: &mut Draft<'_>) {
    let record = &draft.world.record;
    let found = record.view.as_ref().and_then(|view| ahead(draft, &view.view));
    let known = record.rewound.filter(|known| found.is_none_or(|position| position <= known.position));
    let noted = known.or(found.map(|position| Rewind { position, term: record.term + 1 }));
    let Some(rewind) = noted else { return };
    draft.rewound = noted;
    let target = format!("rewind {rewind}");
    if known.is_none() {
        let reason = "members know what the objects don't: these were set back (R26)";
        draft.step(Act::NoteRewind(rewind), target, reason);
    } else if draft.world.committee.confirmed_rewind == Some(rewind.to_string()) && !draft.watches_only() {
        draft.rewound = None;
        draft.step(Act::ConfirmRewind, target, "a person has confirmed the objects (R26)");
        return;
    }
    draft.stall("ControlPlaneRewound", message(draft, rewind));
}

/// The position of the newest view that members have and the record ought to: every view is recorded before a member
/// hears of it (R2).
fn ahead(draft: &Draft<'_>, view: &View) -> Option<(u64, u64)> {
    let record = &draft.world.record;
    let pending = record.pending.as_ref().map(|pending| pending.view.view.hash());
    let sealed = views::known_seal(draft, view).map(|seal| seal.successor.view);
    let sealed = sealed.filter(|view| Some(view.hash()) != pending).map(|view| view.position());
    let begun = pending.is_none() && views::reported(draft, view).is_some();
    sealed.or((begun || record.adopted).then(|| view.position()))
}

/// What a person is told to look at and to do.
pub(crate) fn message(draft: &Draft<'_>, rewind: Rewind) -> String {
    let ((epoch, revision), committee) = (rewind.position, &draft.world.committee);
    format!(
        "the objects were set back, and follow the fleet again (view {epoch}.{revision}); claims, copies and pods that no view names \
         are kept. Look whether members, claims and spec are as they should be, then: kubectl annotate --overwrite \
         --namespace {} storagecommittee {} weft.dev/confirm-rewind={rewind}",
        committee.namespace, committee.name
    )
}
