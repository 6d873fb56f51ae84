//! Rounds of one task by one library.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::arena::Arena;
use crate::check::{check, check_encoded};
use crate::engine::{Arrangement, Engine, Field, Library};
use crate::grid::{Cut, Stripe};
use crate::task::Task;
use crate::tune::best;

/// Stripes for checks stay at about this size.
const CHECKED: usize = 8 << 20;

/// A library at a task, with all that can be prepared for it.
pub struct Runner {
    task: Task,
    arrangement: Arrangement,
    cut: Cut,
    /// One a thread.
    engines: Vec<Box<dyn Engine>>,
    /// Which sliver comes next.
    next: usize,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("task", &self.task).finish_non_exhaustive()
    }
}

/// Bytes of slivers of which none is in a cache when its turn comes again.
fn cold_set() -> usize {
    let sizes = (0..8).filter_map(|index| {
        let size = fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size")).ok()?;
        size.trim().strip_suffix('K')?.parse::<usize>().ok()
    });
    (sizes.max().unwrap_or(0) << 13).max(256 << 20)
}

impl Runner {
    /// In the library's best arrangement, its results checked.
    pub fn best(library: &dyn Library, task: Task, arena: &mut Arena) -> Result<Self, String> {
        let arrangement = best(library, task, arena);
        let mut runner = Self::new(library, task, arrangement, arena);
        runner.check(library.field(), arena).map_err(|why| format!("{} at {task}: {why}", library.name()))?;
        Ok(runner)
    }

    /// In a given arrangement, unchecked.
    pub fn new(library: &dyn Library, task: Task, arrangement: Arrangement, arena: &mut Arena) -> Self {
        let shape = task.shape();
        let engines = (0..task.threads()).map(|_| library.engine(shape, arrangement)).collect();
        let cut = task.cut(arrangement);
        match task {
            Task::Encode { .. } => arena.reserve(cut.lengths(), 0),
            Task::Decode { .. } => arena.reserve(cut.lengths(), cut.lengths()[0]),
            Task::Rebuild { .. } => arena.reserve([task.bytes(), 0, 0], task.bytes()),
            Task::Symbol { symbol, cold, .. } => {
                let sliver = shape.rows() * symbol;
                arena.reserve([if cold { cold_set().max(sliver) } else { sliver }, 0, 0], symbol);
            }
        }
        Self { task, arrangement, cut, engines, next: 0 }
    }

    pub const fn arrangement(&self) -> Arrangement {
        self.arrangement
    }

    /// [`Task::bytes`], or what they are padded to.
    pub(crate) fn padded_bytes(&self) -> usize {
        match self.task {
            Task::Encode { .. } | Task::Decode { .. } => self.cut.lengths()[0],
            Task::Symbol { .. } | Task::Rebuild { .. } => self.task.bytes(),
        }
    }

    /// The mean time of one operation, repeated for at least so long.
    pub fn round(&mut self, arena: &mut Arena, least: Duration) -> Duration {
        let start = Instant::now();
        let mut times = 0;
        loop {
            self.run(arena);
            times += 1;
            let elapsed = start.elapsed();
            if elapsed >= least {
                return elapsed / times;
            }
        }
    }

    fn run(&mut self, arena: &mut Arena) {
        let shape = self.task.shape();
        let first = &mut *self.engines[0];
        match self.task {
            Task::Encode { .. } => self.encode(arena),
            Task::Decode { lost, .. } => {
                let mut out = &mut arena.out[..];
                for stripe in self.cut.encoded(&arena.source, &arena.parity, &arena.columns) {
                    let rows: Vec<&[u8]> = (lost..lost + shape.rows()).map(|row| stripe.row(shape, row)).collect();
                    let out = out.split_off_mut(..stripe.source.len()).expect("room for all stripes");
                    first.decode(stripe.symbol, lost, &rows, out);
                }
            }
            Task::Rebuild { symbol, .. } => {
                let symbols: Vec<&[u8]> = arena.source.chunks_exact(symbol).take(shape.columns()).collect();
                first.rebuild(&symbols, &mut arena.out[..shape.columns() * symbol]);
            }
            Task::Symbol { symbol, cold, .. } => {
                let length = shape.rows() * symbol;
                self.next = if cold && (self.next + 2) * length <= arena.source.len() { self.next + 1 } else { 0 };
                let sliver = &arena.source[self.next * length..][..length];
                first.symbol(sliver, shape.n - 1, &mut arena.out[..symbol]);
            }
        }
        black_box(arena);
    }

    fn encode(&mut self, arena: &mut Arena) {
        let stripes = self.cut.stripes(&arena.source, &mut arena.parity, &mut arena.columns);
        if let [engine] = &mut self.engines[..] {
            for stripe in stripes {
                engine.encode(stripe);
            }
            return;
        }
        let queue = Mutex::new(stripes.into_iter());
        let take = || -> Option<Stripe<'_>> { queue.lock().expect("no thread panics with the queue").next() };
        let take = &take;
        thread::scope(|scope| {
            for engine in &mut self.engines {
                scope.spawn(move || {
                    while let Some(stripe) = take() {
                        engine.encode(stripe);
                    }
                });
            }
        });
    }

    fn check(&mut self, field: Field, arena: &mut Arena) -> Result<(), String> {
        let shape = self.task.shape();
        let symbol = (CHECKED / shape.source_symbols() / 64 * 64).clamp(64, 4 << 10);
        for engine in &mut self.engines {
            check(&mut **engine, field, shape, symbol)?;
        }
        match (self.task, field) {
            (Task::Encode { .. }, Field::Same | Field::Other) => {
                arena.poison();
                self.encode(arena);
                let stripes = self.cut.encoded(&arena.source, &arena.parity, &arena.columns);
                let (first, last) = (stripes[0], stripes[stripes.len() - 1]);
                check_encoded(&mut *self.engines[0], field, shape, first)?;
                check_encoded(&mut *self.engines[0], field, shape, last)
            }
            (Task::Decode { lost, .. }, _) => {
                if lost > 0 {
                    self.encode(arena);
                }
                arena.out.fill(0);
                self.run(arena);
                let length = self.cut.lengths()[0];
                if arena.out[..length] == arena.source[..length] { Ok(()) } else { Err("wrong content".to_owned()) }
            }
            _ => Ok(()),
        }
    }
}
