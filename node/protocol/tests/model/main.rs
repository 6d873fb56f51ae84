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
mod fleet;
mod terms;
mod walk;

use terms::{Fault, ONE_VIEW_A_NUMBER, Terms};

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
