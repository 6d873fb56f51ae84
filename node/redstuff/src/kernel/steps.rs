//! What a [`Transform`](super::transform::Transform) consists of.

#![forbid(unsafe_code)]

use super::transform::Transform;

/// What a [`Step`] does with registers `low`, `high` and `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `to ← source`, of the number `low`.
    Load,
    /// `output ← low`, of the number `to`.
    Put,
    /// `to ← low`.
    Copy,
    /// `to ← low + high`.
    Add,
    /// `to ← low + λ · high`.
    AddMultiple,
    /// `low ← low + λ · high`, then `high ← high + low`.
    Forward,
    /// `high ← high + low`, then `low ← low + λ · high`.
    Inverse,
    /// [`Kind::Forward`] at twice the distance, by the third factor, then at the distance, by the first two.
    ForwardTwo,
    /// [`Kind::Inverse`] at the distance, by the first two factors, then at twice the distance, by the third one.
    InverseTwo,
    /// [`Kind::Forward`] at four times the distance, by the last factor, then at twice the distance, by the two before, then at the distance, by the first four.
    ForwardThree,
    /// [`Kind::Inverse`] at the distance, by the first four factors, then at twice the distance, by the next two, then at four times the distance, by the last one.
    InverseThree,
    /// [`Kind::ForwardThree`] of neighbours, which are the outputs from number `to` on.
    ForwardPut,
    /// [`Kind::InverseThree`] of neighbours, which are the sources from number `low` on.
    InverseLoaded,
}

/// One operation on `count` neighbouring registers, each with as many others. Butterflies are those of 2, 4 or 8 registers at the distance `high − low`, whose
/// results are at the same distance from `to` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) low: usize,
    pub(super) high: usize,
    pub(super) to: usize,
    pub(super) count: usize,
    pub(super) factors: [u8; 7],
}

impl Step {
    /// Whether no register, source or output is beyond the last one. Executing relies on it.
    pub(super) fn is_within(&self, sources: usize, outputs: usize) -> bool {
        let Self { kind, low, high, to, count, .. } = *self;
        let within = |first: usize, count: usize, end: usize| first + count <= end;
        let butterfly = |size: usize, read: usize, written: usize| {
            let all = (size - 1) * (high - low) + count;
            within(low, all, read) && within(to, all, written)
        };
        let all = Transform::REGISTERS;
        match kind {
            Kind::Load => within(low, count, sources) && within(to, count, all),
            Kind::Put => within(low, count, all) && within(to, count, outputs),
            Kind::Copy | Kind::Add | Kind::AddMultiple => {
                [low, high, to].iter().all(|&first| within(first, count, all))
            }
            Kind::Forward | Kind::Inverse => butterfly(2, all, all),
            Kind::ForwardTwo | Kind::InverseTwo => butterfly(4, all, all),
            Kind::ForwardThree | Kind::InverseThree => butterfly(8, all, all),
            Kind::ForwardPut => butterfly(8, all, outputs),
            Kind::InverseLoaded => butterfly(8, sources, all),
        }
    }

    /// How many multiplications of a matrix take about as long.
    pub(super) const fn cost(&self) -> usize {
        self.count
            * match self.kind {
                Kind::Load | Kind::Put | Kind::Copy | Kind::Add => 1,
                Kind::AddMultiple | Kind::Forward | Kind::Inverse => 2,
                Kind::ForwardTwo | Kind::InverseTwo => 8,
                Kind::ForwardThree | Kind::InverseThree | Kind::ForwardPut | Kind::InverseLoaded => 20,
            }
    }
}
