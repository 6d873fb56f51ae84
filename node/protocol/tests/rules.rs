//! Each rule, broken on purpose: the pure core must refuse.

mod sample;

use weft_protocol::{
    Accusation, AccusationError, Accusers, Certificate, CertificateError, Conduct, Declaration, Entry, EntryError,
    Fault, Fence, FenceError, FleetId, Incarnation, MemberId, Receipts, Seal, SealError, SealOrder, Seat, ShardSet,
    Signed, SignedView, Statement, Subject, Summary, SyncError, SyncTally, TermClaim, Tombstone, View, ViewError, Void,
    VolumeId, sign_batch,
};
use weft_redstuff::{BlobId, Hash};

use sample::{FLEET, batch, first_view, gateway, incarnation, key, operator, small_blob};

/// Member `id`'s seat with `shards`, on its first volume.
fn seat(id: u8, shards: &[u8]) -> Seat {
    Seat {
        member: MemberId(u32::from(id)),
        incarnation: incarnation(id),
        key: key(id).public(),
        shards: shards.iter().copied().collect(),
    }
}

/// `view`'s next revision, in which each of `lost`'s shards goes to the emptiest member after it.
fn custody(view: &View, lost: &[u8]) -> View {
    let mut seats: Vec<Seat> =
        view.seats.iter().filter(|seat| !lost.contains(&(seat.member.0 as u8))).cloned().collect();
    for shard in lost {
        let after = |seat: &&mut Seat| (seat.shards.len(), (seat.member.0 + 7 - u32::from(*shard)) % 7);
        seats.iter_mut().min_by_key(after).unwrap().shards.insert(*shard);
    }
    View { revision: view.revision + 1, predecessor: Some(view.id()), seats, ..view.clone() }
}

fn says(id: u8, statement: Statement) -> Signed {
    batch(id, vec![statement]).pop().unwrap()
}

fn signed(view: View) -> SignedView {
    SignedView::sign(view, &operator())
}

fn seal(view: &View, next: &View, members: impl IntoIterator<Item = u8>) -> Seal {
    let refusal = Statement::Refusal { view: view.hash(), successor: next.hash(), term: 1 };
    Seal {
        sealed: signed(view.clone()),
        successor: signed(next.clone()),
        refusals: members.into_iter().map(|id| says(id, refusal.clone())).collect(),
        declaration: None,
    }
}

fn fence(view: &View) -> Fence {
    let mut fence = Fence::new(FLEET, operator().public());
    fence.begin(signed(view.clone())).unwrap();
    fence
}

fn acks(view: &View, blob: BlobId, members: impl IntoIterator<Item = u8>) -> Vec<Signed> {
    let ack = |id| says(id, Statement::Ack { view: view.hash(), blob, shards: ShardSet::first(255) });
    members.into_iter().map(ack).collect()
}

#[test]
fn everything_signed_survives_its_encoding() {
    let (view, next) = (first_view(), custody(&first_view(), &[3]));
    let (metadata, content) = small_blob();
    let certificate = Certificate::new(&view, metadata.id(), acks(&view, metadata.id(), 0..5)).unwrap();
    let entry = Entry::Live { metadata, inline: Some(content), certificate };
    let seal = seal(&view, &next, 0..5);
    let mut fence = fence(&view);
    fence.refuse(&SealOrder::sign(1, view.hash(), signed(next), &operator())).unwrap();
    let encoded = entry.encode();
    let Entry::Live { metadata, inline, .. } = &entry else { panic!("it is live") };
    let summary = Summary::Live { metadata: &metadata.encode(), inline: inline.as_deref() };
    assert_eq!(Summary::of(&encoded), Ok(summary));
    assert_eq!(Entry::decode(&encoded), Ok(entry));
    assert_eq!(Seal::decode(&seal.encode()), Ok(seal));
    assert_eq!(Fence::decode(&fence.encode()), Ok(fence));
}

#[test]
fn r2_a_seat_with_more_than_f_shards_is_refused() {
    let mut view = first_view();
    view.seats.truncate(5);
    view.seats[0].shards = [0, 5, 6].into_iter().collect();
    assert_eq!(view.check(), Err(ViewError::TooManyShards { member: MemberId(0), shards: 3, f: 2 }));
}

#[test]
fn r2_a_view_of_another_signer_is_refused() {
    let forged = SignedView::sign(custody(&first_view(), &[3]), &key(5));
    assert!(matches!(first_view().check_successor(&forged), Err(ViewError::Signature(_))));
}

#[test]
fn r3_a_fleet_has_one_first_view() {
    let mut fence = fence(&first_view());
    let other = View { term: 2, ..first_view() };
    assert_eq!(fence.begin(signed(other)), Err(FenceError::NotFirst));
    assert_eq!(fence.begin(signed(first_view())), Ok(()));
}

#[test]
fn r4_an_operator_with_an_old_term_is_refused() {
    let mut fence = fence(&first_view());
    fence.claim(&TermClaim::sign(FLEET, 3, &operator())).unwrap();
    let stale = FenceError::OldTerm { ours: 3, theirs: 2 };
    assert_eq!(fence.claim(&TermClaim::sign(FLEET, 2, &operator())), Err(stale.clone()));
    let next = signed(custody(&first_view(), &[3]));
    assert_eq!(fence.refuse(&SealOrder::sign(2, first_view().hash(), next, &operator())), Err(stale));
}

#[test]
fn r4_a_claim_by_another_key_is_refused() {
    let claim = TermClaim::sign(FLEET, 3, &key(1));
    assert!(matches!(fence(&first_view()).claim(&claim), Err(FenceError::Key(_))));
}

#[test]
fn r5_a_refused_view_permits_nothing() {
    let (view, mut fence) = (first_view(), fence(&first_view()));
    assert!(fence.permit(&view.hash()).is_ok());
    let next = custody(&view, &[3]);
    fence.refuse(&SealOrder::sign(1, view.hash(), signed(next.clone()), &operator())).unwrap();
    assert_eq!(fence.permit(&view.hash()), Err(FenceError::Refused { view: view.hash(), successor: next.id() }));
    assert!(matches!(fence.permit(&next.hash()), Err(FenceError::NotNewest { .. })), "not yet in effect");
}

#[test]
fn r5_a_view_is_refused_for_one_successor_and_for_another_only_under_a_higher_term() {
    let (view, mut fence) = (first_view(), fence(&first_view()));
    let order = |term, lost: u8| SealOrder::sign(term, view.hash(), signed(custody(&view, &[lost])), &operator());
    fence.refuse(&order(1, 3)).unwrap();
    assert_eq!(fence.refuse(&order(1, 4)), Err(FenceError::OtherSuccessor { view: view.hash(), term: 1 }));
    assert!(fence.refuse(&order(1, 3)).is_ok(), "the same order again changes nothing");
    assert!(fence.refuse(&order(2, 4)).is_ok());
}

#[test]
fn r5_refusals_of_fewer_than_n_minus_f_shards_seal_nothing() {
    let (view, next) = (first_view(), custody(&first_view(), &[3]));
    let short = FenceError::Seal(SealError::NoQuorum { wanting: 1 });
    assert_eq!(fence(&view).install(seal(&view, &next, 0..4)), Err(short));
    assert_eq!(fence(&view).install(seal(&view, &next, 0..5)), Ok(true));
}

#[test]
fn r5_refusals_of_two_terms_do_not_add_up() {
    let (view, next) = (first_view(), custody(&first_view(), &[3]));
    let mut mixed = seal(&view, &next, 0..4);
    let later = Statement::Refusal { view: view.hash(), successor: next.hash(), term: 2 };
    mixed.refusals.push(says(4, later.clone()));
    assert!(matches!(fence(&view).install(mixed.clone()), Err(FenceError::Seal(SealError::Refusal(_)))));
    let (shards, counted) = Seal::gather(&view, &next, None, &mixed.refusals);
    assert_eq!((shards, counted.len()), ((0..4).collect(), 4));
    let forged = says(5, Statement::Refusal { view: view.hash(), successor: view.hash(), term: 2 });
    let again: Vec<_> = (0..5).map(|id| says(id, later.clone())).chain(mixed.refusals).chain([forged]).collect();
    let (shards, refusals) = Seal::gather(&view, &next, None, &again);
    assert_eq!(shards, (0..5).collect());
    assert_eq!(fence(&view).install(Seal { refusals, ..seal(&view, &next, 0..0) }), Ok(true));
}

#[test]
fn r5_one_member_repeated_is_one_member() {
    let (view, next) = (first_view(), custody(&first_view(), &[3]));
    let repeated = seal(&view, &next, [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(fence(&view).install(repeated), Err(FenceError::Seal(SealError::NoQuorum { wanting: 2 })));
}

#[test]
fn r6_a_view_that_moves_more_than_f_shards_is_refused() {
    let mut next = first_view();
    next.revision = 1;
    next.predecessor = Some(first_view().id());
    for id in 0..3 {
        next.seats[id].incarnation = Incarnation { number: 2, volume: VolumeId([50 + id as u8; 16]) };
        next.seats[id].key = key(50 + id as u8).public();
    }
    let order = SealOrder::sign(1, first_view().hash(), signed(next), &operator());
    assert_eq!(fence(&first_view()).refuse(&order), Err(FenceError::View(ViewError::MovesTooMuch { moved: 3, f: 2 })));
}

/// `custody(view, lost)` with `declared` said to be destroyed (R7).
fn recovered(view: &View, lost: &[u8], declared: &[u8]) -> View {
    let declared = declared.iter().map(|id| (MemberId(u32::from(*id)), seat(*id, &[]).incarnation)).collect();
    View { declared, ..custody(view, lost) }
}

#[test]
fn r7_a_seal_counts_every_undeclared_shard_and_no_declared_one() {
    let view = first_view();
    let next = recovered(&view, &[4, 5, 6], &[4, 5, 6]);
    let short = |wanting| Err(FenceError::Seal(SealError::NoQuorum { wanting }));
    assert_eq!(fence(&view).install(seal(&view, &next, 0..3)), short(1), "member 3 is undeclared");
    assert_eq!(fence(&view).install(seal(&view, &next, [0, 1, 2, 4, 5, 6])), short(1), "the declared don't count");
    assert_eq!(fence(&view).install(seal(&view, &next, 0..4)), Ok(true));
}

#[test]
fn r7_losses_beyond_f_seal_nothing_undeclared() {
    let view = first_view();
    let silent = recovered(&view, &[5, 6], &[]);
    assert_eq!(
        fence(&view).install(seal(&view, &silent, 0..4)),
        Err(FenceError::Seal(SealError::NoQuorum { wanting: 1 }))
    );
    // Three lost, and two of them declared: the third one's shard must have refused.
    let next = recovered(&view, &[4, 5], &[4, 5]);
    let order = SealOrder::sign(1, view.hash(), signed(custody(&view, &[4, 5, 6])), &operator());
    assert_eq!(fence(&view).refuse(&order), Err(FenceError::View(ViewError::MovesTooMuch { moved: 3, f: 2 })));
    assert_eq!(
        fence(&view).install(seal(&view, &next, 0..4)),
        Err(FenceError::Seal(SealError::NoQuorum { wanting: 1 }))
    );
}

#[test]
fn r7_a_declaration_of_f_or_fewer_weakens_nothing() {
    let view = first_view();
    let next = recovered(&view, &[6], &[6]);
    let short = Err(FenceError::Seal(SealError::NoQuorum { wanting: 1 }));
    assert_eq!(fence(&view).install(seal(&view, &next, 0..4)), short);
    assert_eq!(fence(&view).install(seal(&view, &next, 0..5)), Ok(true));
}

#[test]
fn r7_what_is_lost_while_a_view_is_sealed_is_declared_beside_its_successor() {
    let (view, next) = (first_view(), custody(&first_view(), &[6]));
    let lost: Vec<_> = (4..7).map(|id| (MemberId(u32::from(id)), seat(id, &[]).incarnation)).collect();
    let declared = |term, successor: &View| Declaration::sign(term, (&view, successor), lost.clone(), &operator());
    let refusals = |term, members: std::ops::Range<u8>| -> Vec<Signed> {
        let refusal = Statement::Refusal { view: view.hash(), successor: next.hash(), term };
        members.map(|id| says(id, refusal.clone())).collect()
    };
    let with = |refusals, declaration: Declaration| {
        let declaration = Some(declaration);
        fence(&view).install(Seal { refusals, declaration, ..seal(&view, &next, 0..0) })
    };
    let short = |wanting| Err(FenceError::Seal(SealError::NoQuorum { wanting }));
    assert_eq!(fence(&view).install(seal(&view, &next, 0..4)), short(1), "without it, n - f shards are wanting");
    assert_eq!(with(refusals(2, 0..3), declared(2, &next)), short(1), "member 3 isn't declared lost");
    assert_eq!(with(refusals(2, 0..4), declared(2, &next)), Ok(true));
    // Whoever refused by an order of another term hasn't seen the declaration.
    assert!(matches!(with(refusals(1, 0..4), declared(2, &next)), Err(FenceError::Seal(SealError::Refusal(_)))));
    // Nor is it of use for another successor, or said by anyone but the operator.
    let other = declared(2, &custody(&view, &[5]));
    assert!(matches!(with(refusals(2, 0..4), other), Err(FenceError::Seal(SealError::Declaration(_)))));
    let forged = Declaration::sign(2, (&view, &next), lost.clone(), &key(0));
    assert!(matches!(with(refusals(2, 0..4), forged), Err(FenceError::Seal(SealError::Declaration(_)))));
    let mut more = declared(2, &next);
    more.declared.insert(0, (MemberId(3), seat(3, &[]).incarnation));
    assert!(matches!(with(refusals(2, 0..3), more), Err(FenceError::Seal(SealError::Declaration(_)))));
    // The same refusals are gathered to the same seal, and those of no term without it.
    let said: Vec<Signed> = refusals(1, 0..4).into_iter().chain(refusals(2, 0..4)).collect();
    assert_eq!(Seal::gathered(&signed(view.clone()), &signed(next.clone()), None, &said), None);
    let whole = Seal::gathered(&signed(view.clone()), &signed(next.clone()), Some(&declared(2, &next)), &said).unwrap();
    assert_eq!(Seal::decode(&whole.encode()), Ok(whole.clone()));
    assert_eq!(fence(&view).install(whole), Ok(true));
}

#[test]
fn r7_members_refuse_again_for_the_same_successor_and_for_no_other_by_the_same_term() {
    let (view, next) = (first_view(), custody(&first_view(), &[6]));
    let lost: Vec<_> = (4..7).map(|id| (MemberId(u32::from(id)), seat(id, &[]).incarnation)).collect();
    let order = |term, successor: &View| {
        let declaration = Declaration::sign(term, (&view, successor), lost.clone(), &operator());
        SealOrder::declaring(term, view.hash(), signed(successor.clone()), Some(declaration), &operator())
    };
    let mut fence = fence(&view);
    fence.refuse(&SealOrder::sign(1, view.hash(), signed(next.clone()), &operator())).unwrap();
    assert_eq!(order(2, &next).declared(), lost);
    assert_eq!(SealOrder::decode(&order(2, &next).encode()), Ok(order(2, &next)));
    let again = Statement::Refusal { view: view.hash(), successor: next.hash(), term: 2 };
    assert_eq!(fence.refuse(&order(2, &next)), Ok(again));
    let other = FenceError::OtherSuccessor { view: view.hash(), term: 2 };
    assert_eq!(fence.refuse(&order(2, &custody(&view, &[5]))), Err(other));
    // A declaration that was taken off, or put on, spoils the order.
    let mut stripped = order(3, &next);
    stripped.declaration = None;
    assert!(matches!(fence.refuse(&stripped), Err(FenceError::Key(_))));
}

#[test]
fn r7_what_is_declared_lost_has_no_seat_and_is_part_of_what_is_signed() {
    let view = first_view();
    let mut seated = recovered(&view, &[5, 6], &[4, 5, 6]);
    assert_eq!(seated.check(), Err(ViewError::DeclaredSeated(MemberId(4))));
    seated = recovered(&view, &[4, 5, 6], &[4, 5, 6]);
    let mut forged = signed(seated);
    forged.view.declared.clear();
    assert!(matches!(view.check_successor(&forged), Err(ViewError::MovesTooMuch { .. } | ViewError::Signature(_))));
    let mut forged = signed(custody(&view, &[6]));
    forged.view.declared.push((MemberId(6), seat(6, &[]).incarnation));
    assert!(matches!(view.check_successor(&forged), Err(ViewError::Signature(_))));
}

#[test]
fn r7_syncing_counts_every_undeclared_holder() {
    let view = first_view();
    let declared: Vec<_> = (4..7).map(|id| (MemberId(u32::from(id)), seat(id, &[]).incarnation)).collect();
    let standing = Statement::Standing { view: view.hash(), synced: None, registry: Hash::of(b"") };
    let mut tally = SyncTally::new(&view, &declared);
    for id in [0, 1, 2, 4, 5] {
        tally.add(&says(id, standing.clone())).unwrap();
    }
    assert_eq!((tally.is_synced(), tally.wanting()), (false, 1));
    tally.add(&says(3, standing)).unwrap();
    assert!(tally.is_synced());
}

#[test]
fn r8_acks_below_a_quorum_are_no_certificate() {
    let (view, blob) = (first_view(), small_blob().0.id());
    let short = Certificate::new(&view, blob, acks(&view, blob, 0..4));
    assert_eq!(short, Err(CertificateError::NoQuorum { wanting: 1 }));
}

#[test]
fn r8_acks_of_two_views_do_not_add_up() {
    let (view, blob) = (first_view(), small_blob().0.id());
    let next = custody(&view, &[6]);
    let mixed = acks(&view, blob, 0..3).into_iter().chain(acks(&next, blob, 3..6)).collect();
    assert!(matches!(Certificate::new(&view, blob, mixed), Err(CertificateError::Statement(_))));
}

#[test]
fn r8_an_ack_speaks_for_no_shard_that_the_view_gives_another() {
    let (view, blob) = (first_view(), small_blob().0.id());
    let greedy = acks(&view, blob, 0..1);
    assert_eq!(Certificate::new(&view, blob, greedy), Err(CertificateError::NoQuorum { wanting: 4 }));
}

#[test]
fn r8_receipts_of_fewer_than_n_minus_f_shards_answer_nobody() {
    let (view, blob) = (first_view(), small_blob().0.id());
    let subject = Subject::Certificate(blob);
    let mut receipts = Receipts::new(&view, subject);
    for id in 0..4 {
        receipts.add(&says(id, Statement::Receipt { view: view.hash(), subject })).unwrap();
        assert!(!receipts.suffice(), "{} receipts suffice", id + 1);
    }
    let other = Subject::Tombstone(blob);
    assert!(receipts.add(&says(4, Statement::Receipt { view: view.hash(), subject: other })).is_err());
    assert!(receipts.add(&says(4, Statement::Receipt { view: Hash::of(b"another"), subject })).is_err());
    receipts.add(&says(4, Statement::Receipt { view: view.hash(), subject })).unwrap();
    assert!(receipts.suffice());
}

#[test]
fn r1_a_statement_of_an_older_incarnation_does_not_count() {
    let (mut view, blob) = (first_view(), small_blob().0.id());
    view.seats[0].incarnation.number = 2;
    let acks = acks(&view, blob, 0..5);
    assert!(matches!(Certificate::new(&view, blob, acks), Err(CertificateError::Statement(_))));
}

#[test]
fn r9_a_peer_that_does_not_refuse_the_view_syncs_nobody() {
    let view = first_view();
    let standing = Statement::Standing { view: Hash::of(b"another"), synced: None, registry: Hash::of(b"") };
    assert_eq!(SyncTally::new(&view, &[]).add(&says(0, standing)), Err(SyncError::NotRefusing));
}

#[test]
fn r9_lagging_peers_sync_nobody() {
    let second = custody(&first_view(), &[3]);
    let mut tally = SyncTally::new(&second, &[]);
    let standing = |synced| Statement::Standing { view: second.hash(), synced, registry: Hash::of(b"") };
    let behind = SyncError::Behind { peer: None, needed: Some(first_view().id()) };
    assert_eq!(tally.add(&says(0, standing(None))), Err(behind));
    for id in [0, 1, 2, 5] {
        tally.add(&says(id, standing(Some(first_view().id())))).unwrap();
    }
    assert_eq!((tally.is_synced(), tally.wanting()), (false, 1));
    tally.add(&says(6, standing(Some(first_view().id())))).unwrap();
    assert!(tally.is_synced());
}

fn lacking(view: &View, blob: BlobId, members: impl IntoIterator<Item = u8>) -> Vec<Signed> {
    members.into_iter().map(|id| says(id, Statement::Lacking { synced: view.id(), blob })).collect()
}

#[test]
fn r12_f_shards_void_nothing() {
    let (view, blob) = (first_view(), small_blob().0.id());
    let short = Void::new(view.id(), blob, &view, lacking(&view, blob, 0..2));
    assert_eq!(short, Err(CertificateError::NoQuorum { wanting: 1 }));
    let repeated = Void::new(view.id(), blob, &view, lacking(&view, blob, [0, 1, 0, 1]));
    assert_eq!(repeated, Err(CertificateError::NoQuorum { wanting: 1 }));
    let void = Void::new(view.id(), blob, &view, lacking(&view, blob, 0..3)).unwrap();
    assert_eq!(Entry::Void(void.clone()).check(FLEET, |_| Some(&view), |_| false), Ok(()));
    let encoded = Entry::Void(void.clone()).encode();
    assert_eq!(Summary::of(&encoded), Ok(Summary::Void));
    assert_eq!(Entry::decode(&encoded), Ok(Entry::Void(void)));
}

#[test]
fn r12_who_is_not_synced_to_the_view_or_lacks_another_blob_voids_nothing() {
    let (view, blob) = (first_view(), small_blob().0.id());
    let next = custody(&view, &[6]);
    for lacks in [lacking(&view, blob, 0..3), lacking(&next, BlobId([9; 32]), 0..3), acks(&next, blob, 0..3)] {
        assert!(matches!(Void::new(next.id(), blob, &next, lacks), Err(CertificateError::Statement(_))));
    }
}

#[test]
fn r12_the_keys_of_a_view_before_the_voided_one_count_for_nothing() {
    let (view, blob) = (first_view(), small_blob().0.id());
    let next = custody(&view, &[6]);
    let stale = Void::new(next.id(), blob, &view, lacking(&next, blob, 0..3));
    assert!(matches!(stale, Err(CertificateError::OtherView { .. })));
    assert!(Void::new(view.id(), blob, &next, lacking(&next, blob, 0..3)).is_ok());
}

#[test]
fn r12_a_void_beats_certificates_of_views_up_to_its_own_and_no_later_ones() {
    let (metadata, content) = small_blob();
    let (view, blob) = (first_view(), metadata.id());
    let next = custody(&view, &[6]);
    let live = |of: &View| Entry::Live {
        metadata: metadata.clone(),
        inline: Some(content.clone()),
        certificate: Certificate::new(of, blob, acks(of, blob, 0..5)).unwrap(),
    };
    let void = Entry::Void(Void::new(view.id(), blob, &next, lacking(&next, blob, 0..3)).unwrap());
    let tombstone = Entry::Deleted(Tombstone::sign(FLEET, blob, &gateway()));
    let rank = |entry: &Entry| entry.rank(|hash| if *hash == next.hash() { next.position() } else { view.position() });
    let order = [live(&view), void, live(&next), tombstone];
    assert!(order.iter().map(rank).is_sorted_by(|a, b| a < b));
}

#[test]
fn r13_a_forged_tombstone_is_refused() {
    let blob = small_blob().0.id();
    let check = |tombstone| {
        Entry::Deleted(tombstone).check(FLEET, |_| None, |key| first_view().authority.deletes.contains(key))
    };
    assert_eq!(check(Tombstone::sign(FLEET, blob, &gateway())), Ok(()));
    assert!(matches!(check(Tombstone::sign(FLEET, blob, &key(5))), Err(EntryError::NoAuthority(_))));
    let mut stolen = Tombstone::sign(FLEET, blob, &gateway());
    stolen.blob = BlobId([9; 32]);
    assert!(matches!(check(stolen), Err(EntryError::Tombstone(_))));
    let foreign = Tombstone::sign(FleetId([8; 16]), blob, &gateway());
    assert!(matches!(check(foreign), Err(EntryError::OtherFleet { .. })));
}

#[test]
fn r16_an_entry_whose_content_is_not_its_metadatas_is_refused() {
    let view = first_view();
    let (metadata, mut content) = small_blob();
    let certificate = Certificate::new(&view, metadata.id(), acks(&view, metadata.id(), 0..5)).unwrap();
    content[0] ^= 1;
    let entry = Entry::Live { metadata, inline: Some(content), certificate };
    assert_eq!(entry.check(FLEET, |_| Some(&view), |_| false), Err(EntryError::Inline));
}

#[test]
fn one_signature_covers_a_batch_and_nothing_else() {
    let header = says(0, Statement::Symbols { request: Hash::of(b"a"), payload: Hash::of(b"b") }).header;
    let statements: Vec<Statement> =
        (0..5u8).map(|i| Statement::Symbols { request: Hash::of(&[i]), payload: Hash::of(b"b") }).collect();
    let mut batch = sign_batch(header, statements, &key(0));
    assert!(batch.iter().all(|signed| signed.verify(FLEET, &seat(0, &[0])).is_ok()));
    batch[2].statement = Statement::Symbols { request: Hash::of(b"forged"), payload: Hash::of(b"b") };
    assert!(batch[2].verify(FLEET, &seat(0, &[0])).is_err());
}

/// `accuser` says that `accused` failed; the evidence is what `accused` signed, by whoever `signer` is.
fn accusation(accuser: u8, accused: u8, fault: Fault, signer: u8) -> Accusation {
    let (round, blob) = (Hash::of(&[accuser, accused]), BlobId([5; 32]));
    let incarnation = Incarnation { number: 1, volume: VolumeId([accused; 16]) };
    let member = MemberId(u32::from(accused));
    let statement = Statement::Accusation { accused: member, incarnation, blob, began: 1, round, fault };
    let lacks = (fault == Fault::Lacks).then_some(blob);
    let answer = Statement::Answer { round, state: Hash::of(b"pieces"), lacks };
    Accusation { statement: says(accuser, statement), answer: Some(says(signer, answer)) }
}

#[test]
fn r29_accusers_of_f_shards_are_no_verdict() {
    let view = first_view();
    let mut accusers = Accusers::new(&view, MemberId(6));
    let owned = ShardSet::first(7);
    for accuser in [0, 1, 0, 1] {
        accusers.add(&accusation(accuser, 6, Fault::Lacks, 6), owned).unwrap();
    }
    // Two of f = 2, however often they say it.
    assert_eq!((accusers.shards().len(), accusers.is_verdict()), (2, false));
    accusers.add(&accusation(2, 6, Fault::Wrong, 6), owned).unwrap();
    assert!(accusers.is_verdict());
}

#[test]
fn r29_shards_in_custody_do_not_accuse() {
    let view = custody(&first_view(), &[5]);
    let custodian = view.holder(5).unwrap().member;
    let custodian_id = custodian.0 as u8;
    let mut accusers = Accusers::new(&view, MemberId(3));
    let owned = |id: u8| [id].into_iter().collect();
    for accuser in [custodian_id, 1] {
        accusers.add(&accusation(accuser, 3, Fault::Lacks, 3), owned(accuser)).unwrap();
    }
    assert_eq!(view.seat(custodian).unwrap().shards.len(), 2);
    assert_eq!((accusers.shards().len(), accusers.is_verdict()), (2, false));
}

#[test]
fn r29_a_forged_accusation_is_refused() {
    let view = first_view();
    let good = accusation(0, 6, Fault::Lacks, 6);
    assert_eq!(Accusation::decode(&good.encode()), Ok(good.clone()));
    assert_eq!(good.check(&view).unwrap().member, MemberId(0));
    // In another's name.
    let mut forged = good.clone();
    forged.statement.header.member = MemberId(1);
    assert!(matches!(forged.check(&view), Err(AccusationError::Accuser(_))));
    // "I lack it", which the accused never signed: another signed it, or nobody, or it was said in another round.
    let by_another = accusation(0, 6, Fault::Lacks, 1);
    assert!(matches!(by_another.check(&view), Err(AccusationError::Accused(_))));
    let unsigned = Accusation { answer: None, ..good.clone() };
    assert_eq!(unsigned.check(&view).unwrap_err(), AccusationError::Evidence);
    let answer = accusation(1, 6, Fault::Lacks, 6).answer;
    let other_round = Accusation { answer, ..good.clone() };
    assert_eq!(other_round.check(&view).unwrap_err(), AccusationError::Evidence);
    // An answer that gave every piece doesn't say that one lacks.
    let answer = accusation(0, 6, Fault::Wrong, 6).answer;
    let whole = Accusation { answer, ..good.clone() };
    assert_eq!(whole.check(&view).unwrap_err(), AccusationError::Evidence);
    // Of an incarnation that no longer has a seat, of oneself, and of another than is being counted.
    let mut later = view.clone();
    later.seats[6].incarnation.number = 2;
    assert_eq!(good.check(&later).unwrap_err(), AccusationError::NoAccused(MemberId(6)));
    let own = accusation(6, 6, Fault::Lacks, 6);
    assert_eq!(own.check(&view).unwrap_err(), AccusationError::OfItself(MemberId(6)));
    let mut accusers = Accusers::new(&view, MemberId(5));
    accusers.add(&good, ShardSet::first(7)).unwrap_err();
    assert!(accusers.shards().is_empty());
}

#[test]
fn r29_one_rotten_sliver_is_first_a_repair_and_the_third_in_a_thousand_counts() {
    let mut conduct = Conduct::default();
    for _ in 0..2 {
        conduct.passed(300);
        conduct.failed();
    }
    assert!(!conduct.accuses());
    // The first two are forgotten a thousand answers later.
    let mut forgotten = conduct.clone();
    forgotten.passed(1000);
    forgotten.failed();
    assert!(!forgotten.accuses() && forgotten.acquits());
    conduct.passed(300);
    conduct.failed();
    assert!(conduct.accuses() && !conduct.acquits());
    conduct.passed(1000);
    assert!(!conduct.accuses() && conduct.acquits());
}
