//! Wrong results don't pass.

use codec_engine::{Arena, Combine, Matrices, Matrix, MatrixLibrary, Runner, Shape, Task, WeftSizes};

/// Multiplies bit by bit, and gets the last output's byte at a place wrong.
#[derive(Clone, Copy)]
struct Slow {
    wrong: Option<usize>,
}

struct Prepared {
    matrix: Matrix,
    wrong: Option<usize>,
}

fn mul(a: u8, b: u8) -> u8 {
    let double = |a: u8| (a << 1) ^ if a & 0x80 == 0 { 0 } else { 0x1d };
    (0..8).rev().fold(0, |sum, bit| double(sum) ^ if b >> bit & 1 == 1 { a } else { 0 })
}

impl Matrices for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn prepare(&self, matrix: &Matrix) -> Box<dyn Combine> {
        Box::new(Prepared { matrix: matrix.clone(), wrong: self.wrong })
    }
}

impl Combine for Prepared {
    fn combine(&self, sources: &[&[u8]], outputs: &mut [&mut [u8]]) {
        for (row, output) in self.matrix.rows.iter().zip(&mut *outputs) {
            for (at, byte) in output.iter_mut().enumerate() {
                *byte = row.iter().zip(sources).fold(0, |sum, (&c, source)| sum ^ mul(c, source[at]));
            }
        }
        if let (Some(at), Some(output)) = (self.wrong, outputs.last_mut())
            && let Some(byte) = output.get_mut(at)
        {
            *byte ^= 1;
        }
    }
}

fn tasks() -> [Task; 4] {
    let shape = Shape::new(7);
    let weft = WeftSizes { full: 128, tail: 64 };
    let blob = shape.source_symbols() * 128 + 100;
    [
        Task::Encode { shape, blob, threads: 2, weft },
        Task::Symbol { shape, symbol: 128, cold: false },
        Task::Rebuild { shape, symbol: 128 },
        Task::Decode { shape, blob, lost: shape.f, weft },
    ]
}

#[test]
fn right_results_pass() {
    for task in tasks() {
        let library = MatrixLibrary(Slow { wrong: None });
        assert!(Runner::best(&library, task, &mut Arena::default()).is_ok(), "{task}");
    }
}

#[test]
fn one_wrong_byte_is_seen() {
    for task in tasks() {
        let library = MatrixLibrary(Slow { wrong: Some(63) });
        assert!(Runner::best(&library, task, &mut Arena::default()).is_err(), "{task}");
    }
}

#[test]
fn tasks_survive_their_text() {
    for task in tasks() {
        assert_eq!(task.to_string().parse(), Ok(task));
    }
}
