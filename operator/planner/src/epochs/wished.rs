//! Epochs that users ask for: taken up at the next boundary, or refused with the reason.

use weft_protocol::MemberId;

use super::{name, next};
use crate::{
    Act, EpochWish,
    assign::{self, Who},
    draft::{Draft, holders, shards},
};

/// Why a wish can't be fulfilled: one word, and a sentence.
type Refusal = (&'static str, String);

/// The wish for this epoch, unless it can't be fulfilled, or the operator has begun the epoch already.
pub(super) fn wanted<'w>(draft: &Draft<'w>, number: u64) -> Option<&'w EpochWish> {
    let wish = draft.world.wished.iter().find(|wish| wish.number == number)?;
    (draft.world.epoch(number).is_none() && refusal(draft, wish).is_none()).then_some(wish)
}

/// The owners that a wish names, as incarnations of those who may own shards; `None` where it leaves the choice.
pub(super) fn owners(wish: &EpochWish, participants: &[Who]) -> Option<Result<Vec<Option<Who>>, MemberId>> {
    let owner = |id: &MemberId| participants.iter().find(|who| who.0 == *id).copied().map(Some).ok_or(*id);
    Some(wish.owners.as_ref()?.iter().map(owner).collect())
}

/// Says of every wish that can't be fulfilled why.
pub(crate) fn answer(draft: &mut Draft<'_>) {
    if draft.watches_only() {
        return;
    }
    for wish in &draft.world.wished {
        let Some((reason, message)) = refusal(draft, wish) else { continue };
        if wish.refused.as_ref() != Some(&message) {
            let act = Act::RefuseEpoch { number: wish.number, reason, message: message.clone() };
            draft.step(act, name(wish.number), message);
        }
    }
}

fn refusal(draft: &Draft<'_>, wish: &EpochWish) -> Option<Refusal> {
    let view = draft.world.view()?;
    if wish.number != view.epoch + 1 {
        return Some(("NotNext", format!("the next epoch is {}", view.epoch + 1)));
    }
    let (n, f) = (draft.code.shards(), draft.code.fault_tolerance());
    let wished = wish.owners.as_ref()?;
    if wished.len() != usize::from(n) {
        let owners = if wished.len() == 1 { "owner" } else { "owners" };
        return Some(("WrongLength", format!("{} {owners} for {n} shards", wished.len())));
    }
    let intent = next::intend(draft, view, f);
    let owners = match owners(wish, &intent.participants)? {
        Ok(owners) => owners,
        Err(id) => return Some(("UnknownMember", format!("member {id} can't own shards: it isn't there, or leaves"))),
    };
    let full = intent.participants.iter().find(|who| assign::load(&owners, **who) > usize::from(f));
    if let Some(who) = full {
        let held = shards(assign::load(&owners, *who) as u16, ["is", "are"]);
        return Some(("TooManyShards", format!("{held} for member {}, more than f = {f} (R2)", who.0)));
    }
    let moves = assign::moved(&holders(view), &owners).difference(view.vacant()).len();
    (moves > f)
        .then(|| ("TooManyMoves", format!("{} at once, more than f = {f} (R6)", shards(moves, ["moves", "move"]))))
}
