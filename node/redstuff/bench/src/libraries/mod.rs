//! The libraries, and what else is measured to compare with.

mod erasure;
#[cfg(feature = "isal")]
mod isal;
mod memory;
mod rusty;
mod simd;
mod walrus;
mod weft;

use std::time::Duration;

use codec_engine::{Arena, Cut, Library, MatrixLibrary, Runner, Shape, Task};

pub use erasure::Erasure;
pub use memory::{Copying, Reading};
pub use simd::Simd;
pub use walrus::Walrus;
pub use weft::{Weft, sizes};

/// All whose results are checked and that share this process.
pub fn codes() -> Vec<Box<dyn Library>> {
    vec![
        Box::new(Weft { commits: false }),
        Box::new(Simd),
        Box::new(Walrus { commits: false }),
        #[cfg(feature = "isal")]
        Box::new(MatrixLibrary(isal::Isal)),
        Box::new(MatrixLibrary(rusty::Rusty)),
        Box::new(Erasure),
    ]
}

/// Compares all bytes of a blob of two stripes that Weft makes with those of `reed-solomon-erasure`.
pub fn compare_with_reference(shape: Shape) -> Result<(), String> {
    let blob = shape.source_symbols() * weft::full_symbol(shape) + 12_345;
    let sizes = sizes(shape, blob);
    let task = Task::Encode { shape, blob, threads: 1, weft: sizes };
    let ours = Weft { commits: false };
    let arrangement = ours.arrangements(&task)[0];
    let encode = |library: &dyn Library| {
        let mut arena = Arena::default();
        Runner::new(library, task, arrangement, &mut arena).round(&mut arena, Duration::ZERO);
        arena
    };
    let (ours, theirs) = (encode(&ours), encode(&Erasure));
    let [source, parity, columns] = Cut::with_tail(shape, blob, sizes.full, sizes.tail).lengths();
    let same = ours.source[..source] == theirs.source[..source]
        && ours.parity[..parity] == theirs.parity[..parity]
        && ours.columns[..columns] == theirs.columns[..columns];
    if same { Ok(()) } else { Err(format!("n = {}: Weft's bytes aren't those of reed-solomon-erasure", shape.n)) }
}
