//! Each library's best arrangement for a task, found by trying.

use std::time::Duration;

use crate::arena::Arena;
use crate::engine::{Arrangement, Cutting, Library};
use crate::runner::Runner;
use crate::task::Task;

const TILES: [usize; 9] = [256, 512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 64 << 10, usize::MAX];
const SYMBOLS: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];
/// All are tried on so many bytes of a blob, so many times; so many are kept, and tried on more.
const STAGES: [Stage; 2] = [Stage { blob: 8 << 20, passes: 3, keep: 6 }, Stage { blob: 32 << 20, passes: 7, keep: 1 }];
const LEAST: Duration = Duration::from_millis(5);

struct Stage {
    blob: usize,
    passes: usize,
    keep: usize,
}

/// Whatever a one-dimensional code can choose from.
pub fn candidates(task: &Task) -> Vec<Arrangement> {
    let mut all = Vec::new();
    for (cutting, symbol) in cuttings(task) {
        for tile in TILES {
            for fused in [false, true] {
                // Tiles of whole symbols, fused, are rows before columns.
                let pointless = fused && (tile >= symbol || !matches!(task, Task::Encode { .. }));
                let arrangement = Arrangement { cutting, tile, fused };
                if !pointless && !all.contains(&arrangement) {
                    all.push(arrangement);
                }
            }
        }
    }
    all
}

/// Ways to cut, and bytes of a symbol. No symbol is longer than one stripe a thread needs.
fn cuttings(task: &Task) -> Vec<(Cutting, usize)> {
    match *task {
        Task::Symbol { symbol, .. } | Task::Rebuild { symbol, .. } => vec![(Cutting::Weft, symbol)],
        Task::Encode { blob, shape, weft, .. } | Task::Decode { blob, shape, weft, .. } => {
            let most = blob.div_ceil(shape.source_symbols() * task.threads()).next_multiple_of(64);
            let mut all = Vec::new();
            // Weft's last stripe may have odd symbols, which not every library takes: its full stripes, then.
            for symbol in [weft.full].into_iter().chain(SYMBOLS).map(|symbol| symbol.min(most)) {
                if !all.contains(&(Cutting::Symbols(symbol), symbol)) {
                    all.push((Cutting::Symbols(symbol), symbol));
                }
            }
            all
        }
    }
}

/// The fastest of a library's arrangements. They take turns, and the best turn of each counts: the machine may be busy.
pub(crate) fn best(library: &dyn Library, task: Task, arena: &mut Arena) -> Arrangement {
    let mut left = library.arrangements(&task);
    for Stage { blob, passes, keep } in STAGES {
        if left.len() == 1 {
            break;
        }
        let task = task.shortened(blob);
        let mut runners: Vec<(Duration, Runner)> = left
            .into_iter()
            .map(|arrangement| (Duration::MAX, Runner::new(library, task, arrangement, arena)))
            .collect();
        for _ in 0..passes {
            for (least, runner) in &mut runners {
                // For each byte: with long symbols a shortened blob is padded more.
                let padding = runner.padded_bytes() as f64 / task.bytes() as f64;
                *least = runner.round(arena, LEAST).div_f64(padding).min(*least);
            }
        }
        runners.sort_by_key(|(least, _)| *least);
        left = runners.iter().take(keep).map(|(_, runner)| runner.arrangement()).collect();
    }
    left[0]
}
