//! Everything side by side in one run.

use std::time::Duration;

use codec_bench::contestant::Contestant;
use codec_bench::libraries::{Copying, Reading, Walrus, Weft, codes, compare_with_reference, sizes};
use codec_bench::marks::{self, Mark};
use codec_bench::measure::{Cell, measure};
use codec_bench::{machine, table};
use codec_engine::{Arena, Library, Shape, Task};

use crate::options::Options;

/// What figures are to be reached with.
const BLOB: usize = 64 << 20;
const SYMBOL: usize = 64 << 10;

/// Prints the tables, and gives a sentence for each figure that isn't reached.
pub(crate) fn run(options: &Options) -> Result<Vec<String>, String> {
    let shapes: Vec<Shape> = options.shards().into_iter().map(Shape::new).collect();
    for &shape in &shapes {
        compare_with_reference(shape)?;
    }
    println!("{}. Weft's arithmetic here: {}.\n", machine::describe(), weft_redstuff::engine_name());
    println!("GB/s are 10⁹ bytes of content a second; in brackets, how many times as fast Weft is.\n");
    let mut report = Report { shapes, each: options.each(), arena: Arena::default(), marks: Vec::new() };
    report.encoding(&options.sizes(), &options.threads())?;
    report.commitments()?;
    report.symbols()?;
    report.rebuilding()?;
    report.decoding()?;
    println!("## Figures to be reached\n\n{}", table::marks(&report.marks));
    Ok(report.marks.iter().filter(|mark| !mark.is_reached()).map(Mark::sentence).collect())
}

struct Report {
    shapes: Vec<Shape>,
    each: Duration,
    arena: Arena,
    marks: Vec<Mark>,
}

/// All codes, and what else takes turns with them.
fn all(others: Vec<Box<dyn Library>>) -> Result<Vec<Contestant>, String> {
    let mut contestants: Vec<Contestant> = codes().into_iter().map(Contestant::here).collect();
    contestants.push(Contestant::elsewhere("rustfs-erasure-codec", "codec-rustfs")?);
    contestants.extend(others.into_iter().map(Contestant::here));
    Ok(contestants)
}

fn name(bytes: usize) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

impl Report {
    /// One task for each number of shards. Memory is given back afterwards.
    fn cells(&mut self, contestants: &mut [Contestant], task: impl Fn(Shape) -> Task) -> Result<Vec<Cell>, String> {
        let Self { shapes, each, arena, .. } = self;
        let cells = shapes.iter().map(|&shape| measure(task(shape), contestants, arena, *each)).collect();
        arena.clear();
        cells
    }

    fn encoding(&mut self, blobs: &[usize], threads: &[usize]) -> Result<(), String> {
        let mut contestants = all(vec![Box::new(Copying)])?;
        for &blob in blobs {
            for &threads in threads {
                let task = |shape| Task::Encode { shape, blob, threads, weft: sizes(shape, blob) };
                let cells = self.cells(&mut contestants, task)?;
                let many = if threads == 1 { "one thread".to_owned() } else { format!("{threads} threads") };
                println!("## All slivers of {}, {many}, GB/s\n\n{}", name(blob), table::rates(&cells));
                println!("In these arrangements:\n\n{}", table::arrangements(&cells));
                if (blob, threads) == (BLOB, 1) {
                    self.marks.extend(cells.iter().flat_map(marks::encode));
                }
            }
        }
        Ok(())
    }

    fn commitments(&mut self) -> Result<(), String> {
        let libraries: [Box<dyn Library>; 2] = [Box::new(Weft { commits: true }), Box::new(Walrus { commits: true })];
        let names = libraries.each_ref().map(|library| library.name().to_owned());
        let mut contestants: Vec<Contestant> = libraries.into_iter().map(Contestant::here).collect();
        let task = |shape| Task::Encode { shape, blob: BLOB, threads: 1, weft: sizes(shape, BLOB) };
        let cells = self.cells(&mut contestants, task)?;
        println!("## All slivers of {} with commitments, one thread, GB/s\n\n{}", name(BLOB), table::rates(&cells));
        self.marks.extend(cells.iter().flat_map(|cell| marks::commitments(cell, &names[0], &names[1])));
        Ok(())
    }

    fn symbols(&mut self) -> Result<(), String> {
        let mut contestants = all(vec![Box::new(Reading)])?;
        let [warm, cold] = [false, true]
            .map(|cold| self.cells(&mut contestants, |shape| Task::Symbol { shape, symbol: SYMBOL, cold }));
        let (warm, cold) = (warm?, cold?);
        println!(
            "## One symbol of {}, from a sliver of k1 symbols, µs\n\nIn the cache:\n\n{}\nIn memory:\n\n{}",
            name(SYMBOL),
            table::times(&warm),
            table::times(&cold)
        );
        println!("In these arrangements:\n\n{}", table::arrangements(&warm));
        self.marks.extend(warm.iter().zip(&cold).flat_map(|(warm, cold)| marks::symbol(warm, cold)));
        Ok(())
    }

    fn rebuilding(&mut self) -> Result<(), String> {
        let mut contestants = all(Vec::new())?;
        let cells =
            self.cells(&mut contestants, |shape| Task::Rebuild { shape, symbol: sizes(shape, 1 << 30).full })?;
        println!("## A row of a full stripe from symbols, the first f being lost, GB/s\n\n{}", table::rates(&cells));
        Ok(())
    }

    fn decoding(&mut self) -> Result<(), String> {
        let task = |shape, lost| Task::Decode { shape, blob: BLOB, lost, weft: sizes(shape, BLOB) };
        let mut contestants = all(Vec::new())?;
        let cells = self.cells(&mut contestants, |shape| task(shape, shape.f))?;
        println!("## {} from rows, the first f being lost, one thread, GB/s\n\n{}", name(BLOB), table::rates(&cells));
        // To all of them it is copying.
        let whole: [Box<dyn Library>; 2] = [Box::new(Weft { commits: false }), Box::new(Copying)];
        let mut contestants: Vec<Contestant> = whole.into_iter().map(Contestant::here).collect();
        let cells = self.cells(&mut contestants, |shape| task(shape, 0))?;
        println!("## {} with nothing missing, one thread, GB/s\n\n{}", name(BLOB), table::rates(&cells));
        self.marks.extend(cells.iter().flat_map(marks::decode));
        Ok(())
    }
}
