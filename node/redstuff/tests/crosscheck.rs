//! The code against an independent implementation of the same matrices, `github.com/klauspost/reedsolomon` (Go): what either writes, the other reads.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

use bytes::Bytes;
use weft_redstuff::{
    Axis, Code, EncodedStripe, decode_from_primaries, decode_from_secondaries, encode_stripe, rebuild_sliver,
    rebuild_source_rows, symbol,
};

/// Shards and faults, the greatest codes last.
const CODES: [(u16, u16); 9] = [(4, 1), (7, 2), (10, 3), (28, 9), (31, 10), (32, 6), (100, 33), (250, 83), (255, 84)];
/// Bytes of a symbol: around the widths of vectors, and odd.
const SYMBOLS: [u32; 13] = [1, 2, 3, 15, 31, 64, 65, 255, 256, 257, 1000, 4097, 60_001];
/// No grid has more bytes than this.
const LARGEST_GRID: u64 = 20 << 20;

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(build);

/// What Go's build cache knows is built in a moment.
fn build() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crosscheck");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crosscheck");
    let built = Command::new("go")
        .args(["build", "-trimpath", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .envs([("GOWORK", "off"), ("CGO_ENABLED", "0"), ("GOFLAGS", "")])
        .status()
        .expect("go is missing: install Go 1.26 or newer (https://go.dev/dl)");
    assert!(built.success(), "build the other implementation: {built}");
    program
}

/// The other implementation, which `crosscheck/main.go` asks.
struct Other {
    process: Child,
    requests: Option<ChildStdin>,
    answers: ChildStdout,
}

impl Other {
    fn start() -> Self {
        let mut process =
            Command::new(&*PROGRAM).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start what was built");
        let (requests, answers) = (process.stdin.take(), process.stdout.take().expect("a pipe"));
        Self { process, requests, answers }
    }

    fn ask(&mut self, numbers: [u32; 5], bytes: &[u8], answer: usize) -> Bytes {
        let requests = self.requests.as_mut().expect("open until the end");
        let head: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        requests.write_all(&head).and_then(|()| requests.write_all(bytes)).expect("ask");
        let mut answered = vec![0; answer];
        self.answers.read_exact(&mut answered).expect("be answered");
        answered.into()
    }

    fn grid(&mut self, code: Code, symbol_size: u32, source: &[u8]) -> Grid {
        let (n, k1, k2) = (code.shards(), code.source_rows(), code.source_columns());
        let length = n as usize * n as usize * symbol_size as usize;
        let cells = self.ask([0, n.into(), k1.into(), k2.into(), symbol_size], source, length);
        Grid { code, symbol: symbol_size as usize, cells }
    }

    /// All slivers of an axis, from as many as decode.
    fn complete(&mut self, code: Code, axis: Axis, symbol_size: u32, given: &[(u16, Bytes)]) -> Vec<Bytes> {
        let length = code.sliver_length(axis, symbol_size);
        let mut request = Vec::new();
        for (index, bytes) in given {
            request.extend_from_slice(&u32::from(*index).to_le_bytes());
            request.extend_from_slice(bytes);
        }
        let (n, k) = (code.shards(), code.slivers_to_decode(axis));
        let numbers = [1, n.into(), k.into(), length as u32, given.len() as u32];
        let all = self.ask(numbers, &request, n as usize * length);
        (0..n as usize).map(|index| all.slice(index * length..(index + 1) * length)).collect()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.requests.take());
        let ended = self.process.wait();
        assert!(std::thread::panicking() || ended.is_ok_and(|status| status.success()), "it ended badly");
    }
}

/// `E`, as the other implementation has it.
struct Grid {
    code: Code,
    symbol: usize,
    cells: Bytes,
}

impl Grid {
    fn cell(&self, row: u16, column: u16) -> &[u8] {
        &self.cells[(row as usize * self.code.shards() as usize + column as usize) * self.symbol..][..self.symbol]
    }

    fn sliver(&self, axis: Axis, index: u16) -> Vec<u8> {
        let cells = (0..self.code.sliver_symbols(axis)).map(|at| match axis {
            Axis::Primary => self.cell(index, at),
            Axis::Secondary => self.cell(at, index),
        });
        cells.collect::<Vec<_>>().concat()
    }
}

fn noise(length: usize, seed: &str) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// Some `count` of all indexes, in some order.
fn survivors(code: Code, count: u16, seed: &str) -> Vec<u16> {
    let draws = noise(code.shards() as usize * 8, seed);
    let mut indexes: Vec<u16> = (0..code.shards()).collect();
    indexes.sort_by_key(|index| &draws[*index as usize * 8..][..8]);
    indexes.truncate(count.into());
    indexes
}

/// The slivers that are left: as few as decode, mostly of the source or mostly beyond it, and any.
fn losses(code: Code, axis: Axis) -> [Vec<u16>; 3] {
    let (n, k) = (code.shards(), code.slivers_to_decode(axis));
    [(n - k..n).collect(), (1..=k).rev().collect(), survivors(code, k, axis.name())]
}

fn for_each_case(mut check: impl FnMut(&mut Other, Code, u32, &Bytes)) {
    let mut other = Other::start();
    for (shards, fault_tolerance) in CODES {
        let code = Code::new(shards, fault_tolerance).expect("a code");
        for size in SYMBOLS {
            if u64::from(shards) * u64::from(shards) * u64::from(size) <= LARGEST_GRID {
                let source = noise(code.stripe_capacity(size) as usize, &format!("{shards} {size}"));
                check(&mut other, code, size, &source);
            }
        }
    }
}

fn encode(code: Code, size: u32, source: &Bytes) -> EncodedStripe {
    encode_stripe(code, size, source.clone()).expect("a stripe")
}

#[test]
fn both_make_the_same_grid() {
    for_each_case(|other, code, size, source| {
        let name = format!("of n = {}, f = {}, {size} bytes a symbol", code.shards(), code.fault_tolerance());
        let (stripe, grid) = (encode(code, size, source), other.grid(code, size, source));
        for axis in Axis::BOTH {
            for index in 0..code.shards() {
                assert!(stripe.sliver(axis, index) == grid.sliver(axis, index), "{} {index} {name}", axis.name());
            }
        }
        // All cells of small grids, some of each row and column of others.
        let every = code.shards() as usize / 32 + 1;
        for row in 0..code.shards() {
            for column in (row % every as u16..code.shards()).step_by(every) {
                let crossing = [(Axis::Primary, row, column), (Axis::Secondary, column, row)];
                for (axis, index, target) in crossing {
                    let ours = symbol(code, axis, &stripe.sliver(axis, index), size, target).expect("a symbol");
                    assert!(ours == grid.cell(row, column), "E[{row}, {column}] by the {} {name}", axis.name());
                }
            }
        }
    });
}

#[test]
fn the_other_decodes_what_is_left_of_ours() {
    for_each_case(|other, code, size, source| {
        let stripe = encode(code, size, source);
        for axis in Axis::BOTH {
            for left in losses(code, axis) {
                let given: Vec<_> = left.iter().map(|&index| (index, stripe.sliver(axis, index))).collect();
                let all = other.complete(code, axis, size, &given);
                let same = all.iter().enumerate().all(|(index, sliver)| *sliver == stripe.sliver(axis, index as u16));
                assert!(same, "n = {}, {size} bytes a symbol, from the {} {left:?}", code.shards(), axis.name());
            }
        }
    });
}

#[test]
fn ours_decodes_and_mends_what_is_left_of_the_other_s() {
    for_each_case(|other, code, size, source| {
        let grid = other.grid(code, size, source);
        for axis in Axis::BOTH {
            for left in losses(code, axis) {
                let name = format!("n = {}, {size} bytes a symbol, from the {} {left:?}", code.shards(), axis.name());
                let slivers: Vec<Vec<u8>> = left.iter().map(|&index| grid.sliver(axis, index)).collect();
                let given: Vec<(u16, &[u8])> =
                    left.iter().copied().zip(slivers.iter().map(|bytes| &bytes[..])).collect();
                let decoded = match axis {
                    Axis::Primary => decode_from_primaries(code, size, &given),
                    Axis::Secondary => decode_from_secondaries(code, size, &given),
                };
                assert!(decoded.expect(&name) == *source, "{name}");
                if axis == Axis::Primary {
                    let rows: Vec<u16> = (0..code.source_rows()).collect();
                    assert!(rebuild_source_rows(code, &given, &rows).expect(&name).concat() == *source, "rows: {name}");
                }
                // A sliver that crosses those that are left, from the cells of the grid where it does.
                for lost in [0, code.sliver_symbols(axis) - 1, code.sliver_symbols(axis), code.shards() - 1] {
                    let crossing = left.iter().map(|&index| match axis {
                        Axis::Primary => (index, grid.cell(index, lost)),
                        Axis::Secondary => (index, grid.cell(lost, index)),
                    });
                    let helpers: Vec<(u16, &[u8])> = crossing.collect();
                    let mended = rebuild_sliver(code, axis.crossing(), size, &helpers).expect(&name);
                    assert!(mended == grid.sliver(axis.crossing(), lost), "sliver {lost}: {name}");
                }
            }
        }
    });
}
