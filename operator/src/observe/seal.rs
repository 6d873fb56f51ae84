//! The seal of the view in effect, for a leader that hasn't seen it: the one before it may have ended when it had recorded the
//! view, and before any member had the seal.

use weft_planner::{Inventory, Record};
use weft_protocol::{Seal, Signed};

/// Put together anew from what members say who still refuse the view before: that view, the order by which they refuse it, and
/// their refusals (R5). They tell each other the same, and may be sooner.
pub(super) fn recalled<'h>(record: &Record, heard: impl Iterator<Item = &'h Inventory> + Clone) -> Option<Seal> {
    let successor = record.view.as_ref()?;
    let before = successor.view.predecessor?;
    let refusals: Vec<&Signed> = heard.clone().filter_map(|said| said.refusal.as_ref()).collect();
    let orders = heard.clone().filter_map(|said| said.seal_order.as_ref());
    let orders = orders.filter(|order| order.view == before.hash && order.successor == *successor);
    let declarations = orders.filter_map(|order| order.declaration.as_ref());
    let sealed = heard.filter_map(|said| said.newest_signed.as_ref()).filter(|signed| signed.view.id() == before);
    // Whichever of them is forged doesn't pass the check.
    let mut pairs =
        sealed.flat_map(|sealed| declarations.clone().map(Some).chain([None]).map(move |said| (sealed, said)));
    pairs.find_map(|(sealed, declaration)| {
        let seal = Seal::gathered(sealed, successor, declaration, refusals.iter().copied())?;
        seal.check(&sealed.view.authority.views).is_ok().then_some(seal)
    })
}

#[cfg(test)]
mod tests {
    use weft_proto::v1;
    use weft_protocol::{BatchHeader, Encoder, Fence, MemberId, SealOrder, Signature, SignedView, View, sign_batch};

    use super::*;
    use crate::observe::{
        inventory,
        testing::{FLEET, incarnation, key, operator, view},
    };

    /// Four members with a shard each, f = 1; and the view after it, whose last shard is vacant.
    fn views() -> [SignedView; 2] {
        let first = view(4, 1, 1);
        let mut next = View { revision: 1, predecessor: Some(first.id()), ..first.clone() };
        next.seats.pop();
        [first, next].map(|view| SignedView::sign(view, &operator()))
    }

    /// What a member says that refuses the first view by the operator's order.
    fn refuses(id: u8, [first, next]: &[SignedView; 2]) -> Inventory {
        let mut fence = Fence::new(FLEET, operator().public());
        fence.begin(first.clone()).unwrap();
        let order = SealOrder::sign(1, first.view.hash(), next.clone(), &operator());
        let statement = fence.refuse(&order).unwrap();
        let header =
            BatchHeader { fleet: FLEET, member: MemberId(id.into()), incarnation: incarnation(id), sequence: 1 };
        let refusal = sign_batch(header, vec![statement], &key(id)).remove(0);
        let identity = v1::Identity {
            fleet: FLEET.0.to_vec().into(),
            member: id.into(),
            incarnation: 1,
            volume: vec![id; 16].into(),
        };
        let said = v1::Inventory {
            identity: Some(identity),
            public_key: key(id).public().0.to_vec().into(),
            newest_view: first.view.id().encode(Encoder::new()).finish().into(),
            newest_signed_view: first.encode().into(),
            seal_order: order.encode().into(),
            refusal: refusal.encode().into(),
            ..v1::Inventory::default()
        };
        inventory::decode(said).unwrap().inventory
    }

    #[test]
    fn r5_what_a_former_leader_recorded_and_passed_on_to_nobody_is_sealed_by_the_refusals() {
        let views = views();
        let record = Record { view: Some(views[1].clone()), ..Record::default() };
        let mut heard: Vec<Inventory> = (0..3).map(|id| refuses(id, &views)).collect();
        assert_eq!(recalled(&record, heard[..2].iter()), None, "too few refuse it");
        let forged = SignedView { signature: Signature([0; 64]), ..views[0].clone() };
        heard[0].newest_signed = Some(forged);
        let seal = recalled(&record, heard.iter()).expect("holders of n - f shards refuse the first view");
        assert_eq!(seal.check(&operator().public()), Ok(()));
        assert_eq!([&seal.sealed, &seal.successor], [&views[0], &views[1]]);
        let first = Record { view: Some(views[0].clone()), ..Record::default() };
        assert_eq!(recalled(&first, heard.iter()), None, "a fleet's first view has none");
    }
}
