//! More than f shards go while a view is being sealed (R7): what a person declares beside its successor seals that very
//! successor, and nothing that lives is declared.

use tonic::Code;
use weft_node::member::Condition;
use weft_protocol::{Declaration, Seal, SealOrder, Signed, SignedView, View};

use super::fleet::{Fleet, OrderChanges, content, eventually, get, put};

/// Twelve shards of 28, more than f = 9. Member 6 was lost first.
const LOST: [u32; 3] = [4, 5, 6];
const LEFT: [u32; 4] = [0, 1, 2, 3];

/// A seal that was begun by a leader of term 1.
struct Begun {
    view: SignedView,
    order: SealOrder,
    /// What those whom it has reached answered: holders of twelve shards, four of which will go.
    refusals: Vec<Signed>,
}

/// Members 0, 1 and 4 refuse their view for one without member 6.
async fn begin(fleet: &Fleet) -> Begun {
    let order = fleet.seal_order(&fleet.without(&[6]));
    let mut refusals = Vec::new();
    for id in [0, 1, 4] {
        let changes = OrderChanges { seal_order: Some(order.clone()), ..OrderChanges::default() };
        refusals.push(refusal(&fleet.order(id, changes).await.expect("the member obeys")));
    }
    Begun { view: fleet.view.clone().expect("there is a view"), order, refusals }
}

fn refusal(inventory: &weft_proto::v1::Inventory) -> Signed {
    Signed::decode(&inventory.refusal).expect("the member refuses its view")
}

fn declaration(fleet: &Fleet, begun: &Begun, lost: &[u32]) -> Declaration {
    let seats = begun.view.view.seats.iter().filter(|seat| lost.contains(&seat.member.0));
    let lost = seats.map(|seat| (seat.member, seat.incarnation)).collect();
    Declaration::sign(fleet.term, (&begun.view.view, &begun.order.successor.view), lost, &fleet.key)
}

/// The order for the same successor, with what is lost beside it, by the present leader.
fn declaring(fleet: &Fleet, begun: &Begun, lost: &[u32]) -> OrderChanges {
    let (declaration, successor) = (declaration(fleet, begun, lost), begun.order.successor.clone());
    let order = SealOrder::declaring(fleet.term, begun.view.view.hash(), successor, Some(declaration), &fleet.key);
    OrderChanges { seal_order: Some(order), ..OrderChanges::default() }
}

/// Orders a member until it no longer takes what is declared for alive, and has been judged itself. Gives its refusal.
async fn refuses(fleet: &Fleet, id: u32, changes: &OrderChanges) -> Signed {
    let ordered = || async { fleet.order(id, changes.clone()).await };
    eventually(&format!("member {id} refuses by the order"), || async {
        ordered().await.is_ok_and(|inventory| !inventory.refusal.is_empty())
    })
    .await;
    refusal(&ordered().await.expect("it obeyed before"))
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_a_successor_that_was_begun_is_sealed_without_the_declared_byte_for_byte() {
    let mut fleet = Fleet::start(7).await;
    let before = content(1, 300_000);
    let stored = put(&fleet.client(), 1, &before).await.id;
    let begun = begin(&fleet).await;
    for id in LOST {
        fleet.kill(id).await;
    }
    // Another leader goes on. Who starts again meanwhile doesn't wait for what the destroyed remember of it.
    fleet.term = 2;
    fleet.restart(2).await;
    let (changes, beside) = (declaring(&fleet, &begun, &LOST), declaration(&fleet, &begun, &LOST));
    let mut refusals = Vec::new();
    for id in [2, 3] {
        refusals.push(refuses(&fleet, id, &changes).await);
    }
    assert_eq!(fleet.member(2).condition(), Condition::Healthy);

    // All who are left have refused, two of them for the leader before: that seals nothing, whoever says so.
    let Begun { view: sealed, order, refusals: earlier } = &begun;
    let (sealed, successor) = (sealed.clone(), order.successor.clone());
    let mixed: Vec<Signed> = refusals.iter().chain(earlier).cloned().collect();
    assert_eq!(Seal::gathered(&sealed, &successor, Some(&beside), &mixed), None);
    let forced = Seal {
        sealed: sealed.clone(),
        successor: successor.clone(),
        refusals: mixed,
        declaration: Some(beside.clone()),
    };
    fleet.seal = Some(forced);
    for id in LEFT {
        let refused = fleet.order(id, OrderChanges::default()).await.expect_err("it is no seal");
        assert_eq!(refused.code(), Code::Aborted);
        assert_eq!(fleet.member(id).newest().as_deref(), Some(&sealed));
    }
    fleet.seal = None;
    for id in [0, 1] {
        refusals.push(refuses(&fleet, id, &changes).await);
    }
    // Nor do those of this term suffice without the declaration.
    let all: Vec<Signed> = refusals.iter().chain(earlier).cloned().collect();
    assert_eq!(Seal::gathered(&sealed, &successor, None, &all), None);
    fleet.seal = Some(Seal::gathered(&sealed, &successor, Some(&beside), &all).expect("all who are left refuse"));
    fleet.view = Some(successor.clone());
    fleet.order_all(OrderChanges::default()).await;
    fleet.settled().await;
    for (id, member) in fleet.members() {
        assert_eq!(member.newest().map(|newest| newest.encode()), Some(successor.encode()), "member {id}");
        assert_eq!(member.synced(), Some(sealed.view.id()), "member {id}");
    }
    assert_eq!(get(&fleet.client(), stored).await, before);
    let under = put(&fleet.client(), 2, &before).await.id;

    // The next view repeats what is declared, and the fleet is whole again.
    let next = View { declared: beside.declared, ..fleet.without(&LOST) };
    fleet.change_view(&next).await;
    fleet.whole().await;
    for blob in [stored, under] {
        assert_eq!(get(&fleet.client(), blob).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_a_member_refuses_an_order_that_declares_what_lives() {
    let mut fleet = Fleet::start(7).await;
    let begun = begin(&fleet).await;
    fleet.term = 2;
    for id in [5, 6] {
        fleet.kill(id).await;
    }
    let refused = async |id: u32, lost: &[u32]| {
        let status = fleet.order(id, declaring(&fleet, &begun, lost)).await.expect_err("somebody lives");
        assert_eq!(status.code(), Code::Aborted);
        assert!(status.message().contains("member 4 lost, and it lives (R7)"), "{status}");
        // Nothing of the order was taken up, not even its term.
        assert_eq!(fleet.member(id).term(), 1);
    };
    // A peer that was reached, also when others are declared rightly; and who is ordered itself.
    for id in LEFT {
        eventually("the peer is reached, and the others no more", || async {
            let reached = fleet.member(id).reachable();
            reached.iter().any(|peer| peer.0 == 4) && reached.iter().all(|peer| peer.0 < 5)
        })
        .await;
        refused(id, &LOST).await;
    }
    refused(4, &[4]).await;
    fleet.kill(4).await;
    let changes = declaring(&fleet, &begun, &LOST);
    let expected = begun.order.successor.view.hash();
    for id in LEFT {
        let said = refuses(&fleet, id, &changes).await.statement;
        let weft_protocol::Statement::Refusal { successor, term, .. } = said else { panic!("a refusal") };
        assert_eq!((successor, term), (expected, 2));
    }
}
