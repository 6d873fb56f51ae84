//! What must hold of the registry, and what must be possible, so that the rest isn't empty talk.

use stateright::Property;

use crate::registry::{Registry, State};

pub(crate) const KNOWN: &str = "a member synced to a view knows every blob acknowledged up to it";
pub(crate) const FOUND: &str = "an acknowledged blob is never not found";
pub(crate) const KEPT: &str = "an acknowledged blob keeps the slivers that a read takes";
pub(crate) const NOT_VOID: &str = "an acknowledged blob is never void";
pub(crate) const NOT_READ: &str = "a deleted blob is never read";
pub(crate) const NOT_BACK: &str = "a deleted blob is never acknowledged again";
pub(crate) const NO_GHOST: &str = "a deleted blob that is listed can be voided";

pub(crate) fn all() -> Vec<Property<Registry>> {
    vec![
        Property::always(KNOWN, |model: &Registry, state: &State| !model.forgets(state)),
        Property::always(FOUND, |model: &Registry, state: &State| {
            let lost = (0..=model.last()).any(|view| model.not_found(state, view));
            !state.is_acknowledged() || state.is_deleting() || !lost
        }),
        Property::always(KEPT, |model: &Registry, state: &State| !model.spoilt(state)),
        Property::always(NOT_VOID, |model: &Registry, state: &State| {
            let void = |of| (of..=model.last()).any(|view| state.is_void(view));
            state.is_deleting() || !(0..=model.last()).any(|view| state.acknowledged_in(view) && void(view))
        }),
        Property::always(NOT_READ, |model: &Registry, state: &State| {
            !state.is_deleted() || !(0..=model.last()).any(|view| model.readable(state, view))
        }),
        Property::always(NOT_BACK, |_: &Registry, state: &State| !state.is_again()),
        Property::always(NO_GHOST, |model: &Registry, state: &State| !model.haunted(state)),
        Property::sometimes("everyone is synced to the last view", |model: &Registry, state: &State| {
            model.everyone_synced(state)
        }),
        Property::sometimes("a blob is acknowledged", |_: &Registry, state: &State| state.is_acknowledged()),
        Property::sometimes("a tombstone is collected", |model: &Registry, state: &State| {
            !model.has_deletes() || state.is_collected()
        }),
        Property::sometimes("a certificate is void", |model: &Registry, state: &State| {
            !model.has_voids() || (0..=model.last()).any(|view| state.is_void(view))
        }),
    ]
}
