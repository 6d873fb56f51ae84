//! The control plane may go back in time (R26): etcd restored from a snapshot, objects deleted. Where the fleet is ahead
//! of the objects they follow it, and nothing is destroyed until a person says that the rest of them is right, too.

use weft_protocol::View;

use crate::{Act, draft::Draft, views};

/// Why nothing is destroyed now.
pub(crate) const UNCONFIRMED: &str = "R26: the objects were set back, and nobody has confirmed them";

/// A view's position, as the confirmation names it.
pub(crate) fn named((epoch, revision): (u64, u64)) -> String {
    format!("{epoch}.{revision}")
}

/// Takes notice of a fleet that is ahead of the record, and of a person's word that things are in order again.
pub(crate) fn notice(draft: &mut Draft<'_>) {
    let record = &draft.world.record;
    let found = record.view.as_ref().and_then(|view| ahead(draft, &view.view)).max(record.rewound);
    let Some(position) = found else { return };
    draft.rewound = Some(position);
    let name = named(position);
    if record.rewound != Some(position) {
        let reason = "members know what the objects don't: these were set back (R26)";
        draft.step(Act::NoteRewind(position), format!("view {name}"), reason);
    } else if draft.world.committee.confirmed_rewind.as_deref() == Some(name.as_str()) && !draft.watches_only() {
        draft.rewound = None;
        draft.step(Act::ConfirmRewind, format!("view {name}"), "a person has confirmed the objects (R26)");
        return;
    }
    draft.stall("ControlPlaneRewound", message(draft, &name));
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
pub(crate) fn message(draft: &Draft<'_>, name: &str) -> String {
    let committee = &draft.world.committee;
    format!(
        "the objects were set back, and follow the fleet again (view {name}); claims, copies and pods that no view names \
         are kept. Look whether members, claims and spec are as they should be, then: kubectl annotate --overwrite \
         --namespace {} storagecommittee {} weft.dev/confirm-rewind={name}",
        committee.namespace, committee.name
    )
}
