//! The protocol as models, each walked through exhaustively: no state that rules and adversary can reach breaks what
//! must hold, and each rule that is broken on purpose is found out.
//!
//! What decides in the models are the crate's own values: fences, seal orders, seals and receipts, with real keys and
//! real signatures; each distinct question is asked once and its answer remembered ([`answers`]). What stands around
//! them is abstract:
//!
//! - *The network* is the set of all that was ever said: a message arrives at any time, in any order, again, or never.
//!   What an honest node signed can't be unsaid, and what it didn't sign nobody can show.
//! - *The liar* needs no states: what it could sign counts wherever it helps, and is withheld wherever that helps.
//! - *A crash* is a node that takes no step: a fence is durable before anything is signed, so nothing else is lost.
//!
//! Every model says what it leaves out.

mod answers;
mod copies;
mod declared;
mod fleet;
mod registry;
mod registry_properties;
mod terms;
mod walk;

use copies::{Copies, READABLE};
use declared::{Declared, ONE_SUCCESSOR};
use registry::{Registry, Scope, Start};
use registry_properties::{FOUND, KEPT, KNOWN, NO_GHOST, NOT_BACK, NOT_READ, NOT_VOID};
use terms::{Fault, ONE_VIEW_A_NUMBER, Terms};

const WRITES: Scope = Scope { changes: 1, liar: true, deletes: false, start: Start::First, voids: false, puts: 1 };
const LOSSES: Scope = Scope { changes: 2, liar: false, puts: 0, ..WRITES };
const VOIDS: Scope = Scope { voids: true, ..WRITES };
const DELETES: Scope = Scope { deletes: true, voids: true, puts: 0, ..WRITES };
const DELETED: Scope = Scope { start: Start::Deleted, puts: 1, ..DELETES };
const SETTLED: Scope = Scope { start: Start::Settled, ..DELETED };

const COPIES: Copies = Copies { shards: 4, newcomers: 1, losses: 2, liar: false, fault: copies::Fault::None };

fn registry(scope: Scope, fault: registry::Fault) -> Registry {
    Registry::new(scope, fault)
}

#[test]
fn leaders_who_know_nothing_of_each_other_make_one_view() {
    for leaders in 2..=4 {
        walk::holds(&format!("terms, one change, {leaders} leaders"), Terms::new(leaders, 1, Fault::None));
    }
}

#[test]
fn leaders_who_know_nothing_of_each_other_make_one_view_after_another() {
    walk::samples("terms, two changes, 4 leaders", &Terms::new(4, 2, Fault::None), 300_000, 60);
}

/// Every state of what is walked through at random elsewhere: minutes, so `make model` asks for it.
#[test]
#[ignore = "takes minutes; make model"]
fn every_state_of_two_leaders_and_two_changes() {
    walk::holds("terms, two changes, 2 leaders", Terms::new(2, 2, Fault::None));
}

#[test]
fn r4_a_leader_that_orders_its_own_whatever_is_reported_is_found() {
    walk::finds(Terms::new(3, 1, Fault::NoContinuing), ONE_VIEW_A_NUMBER);
}

#[test]
fn r4_a_leader_that_waits_for_no_quorum_is_found() {
    walk::finds(Terms::new(3, 1, Fault::NoWaiting), ONE_VIEW_A_NUMBER);
}

#[test]
fn r4_a_liars_word_for_a_term_is_found() {
    walk::finds(Terms::new(3, 1, Fault::TermsUnsigned), ONE_VIEW_A_NUMBER);
}

#[test]
fn r4_two_leaders_of_one_term_are_found() {
    walk::finds(Terms::new(3, 1, Fault::TermTwice), ONE_VIEW_A_NUMBER);
}

#[test]
fn r5_refusals_of_two_terms_that_add_up_are_found() {
    walk::finds(Terms::new(4, 1, Fault::TermsMixed), ONE_VIEW_A_NUMBER);
}

#[test]
fn a_successor_stays_when_more_than_f_are_lost_while_it_is_sealed() {
    walk::holds("declared losses", Declared::new(declared::Fault::None));
}

#[test]
fn r7_a_successor_that_declares_the_lost_in_place_of_one_that_was_begun_is_found() {
    walk::finds(Declared::new(declared::Fault::Replaced), ONE_SUCCESSOR);
}

#[test]
fn what_is_acknowledged_is_known_and_found_with_a_liar() {
    walk::holds("writes, a liar", registry(WRITES, registry::Fault::None));
}

#[test]
fn what_is_acknowledged_is_known_and_found_through_losses() {
    walk::samples("losses, one after another", &registry(LOSSES, registry::Fault::None), 100_000, 60);
}

#[test]
fn what_is_acknowledged_is_never_void() {
    walk::near("voids", registry(VOIDS, registry::Fault::None), 8);
    walk::samples("voids", &registry(VOIDS, registry::Fault::None), 100_000, 60);
}

#[test]
fn what_is_deleted_stays_so() {
    walk::near("deletes", registry(DELETES, registry::Fault::None), 8);
    walk::samples("deletes", &registry(DELETES, registry::Fault::None), 100_000, 80);
    walk::samples(
        "deletes, and old uploads",
        &registry(Scope { puts: 1, ..DELETES }, registry::Fault::None),
        100_000,
        80,
    );
}

#[test]
fn what_is_deleted_stays_so_when_its_tombstone_is_collected() {
    walk::near("deletes, and a member behind", registry(DELETED, registry::Fault::None), 6);
    walk::near("collecting", registry(SETTLED, registry::Fault::None), 8);
    walk::samples("collecting", &registry(SETTLED, registry::Fault::None), 100_000, 80);
    let further = Scope { changes: 2, ..SETTLED };
    walk::samples("collecting, and another change", &registry(further, registry::Fault::None), 100_000, 80);
}

#[test]
fn copies_outlive_losses_and_moves() {
    walk::near("copies", COPIES, 7);
    walk::samples("copies, n = 7", &Copies { shards: 7, newcomers: 2, losses: 4, ..COPIES }, 100_000, 60);
    let lying = Copies { shards: 7, newcomers: 2, losses: 3, liar: true, ..COPIES };
    walk::samples("copies, n = 7, a liar", &lying, 100_000, 60);
}

#[test]
fn r8_an_answer_before_receipts_of_a_quorum_is_found() {
    walk::finds(registry(WRITES, registry::Fault::AnsweredEarly), KNOWN);
}

#[test]
fn r5_a_receipt_after_refusing_is_found() {
    walk::finds(registry(WRITES, registry::Fault::ReceiptAfterRefusing), KNOWN);
}

#[test]
fn r9_a_sync_from_a_holder_that_has_not_refused_is_found() {
    walk::finds(registry(WRITES, registry::Fault::SyncBeforeRefusal), KNOWN);
}

#[test]
fn r10_not_found_by_members_that_refuse_their_view_is_found() {
    walk::finds(registry(WRITES, registry::Fault::RefusingCount), FOUND);
}

#[test]
fn r12_a_void_that_drops_later_acks_is_found() {
    walk::stumbles(&registry(VOIDS, registry::Fault::VoidDropsAll), KEPT, 60);
}

#[test]
fn r12_a_lack_of_one_certificate_among_several_is_found() {
    walk::stumbles(&registry(Scope { changes: 2, ..VOIDS }, registry::Fault::LackOfOneCertificate), NOT_VOID, 90);
}

#[test]
fn r12_a_fleet_without_voids_is_found() {
    walk::stumbles(&registry(SETTLED, registry::Fault::NoVoid), NO_GHOST, 60);
}

#[test]
fn r13_a_reader_that_asks_few_for_tombstones_is_found() {
    walk::finds(registry(DELETES, registry::Fault::AskFew), NOT_READ);
}

#[test]
fn r13_an_ack_by_a_member_that_is_not_synced_is_found() {
    walk::finds(registry(DELETED, registry::Fault::AckBeforeSynced), NOT_BACK);
}

#[test]
fn r14_a_tombstone_collected_early_is_found() {
    walk::finds(registry(DELETES, registry::Fault::CollectedEarly), NOT_READ);
}

#[test]
fn r14_an_upload_that_outlives_its_tombstone_is_found() {
    walk::stumbles(&registry(SETTLED, registry::Fault::OldUploads), NOT_BACK, 60);
}

#[test]
fn r23_a_copy_dropped_before_proof_is_found() {
    walk::finds(Copies { losses: 1, fault: copies::Fault::DropBeforeProof, ..COPIES }, READABLE);
}
