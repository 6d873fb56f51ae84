//! Figures to be reached, and whether they are.

use crate::measure::Cell;

/// One figure.
#[derive(Debug, Clone)]
pub struct Mark {
    pub what: String,
    pub figure: f64,
    pub bound: Bound,
    pub unit: &'static str,
}

/// What a figure is to be.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
    MoreThan(f64),
}

impl Mark {
    pub fn is_reached(&self) -> bool {
        match self.bound {
            Bound::AtLeast(least) => self.figure >= least,
            Bound::AtMost(most) => self.figure <= most,
            Bound::MoreThan(least) => self.figure > least,
        }
    }

    /// As in `≥ 2.3 ×`.
    pub fn to_reach(&self) -> String {
        let (sign, bound) = match self.bound {
            Bound::AtLeast(bound) => ('≥', bound),
            Bound::AtMost(bound) => ('≤', bound),
            Bound::MoreThan(bound) => ('>', bound),
        };
        format!("{sign} {bound:.1} {}", self.unit)
    }

    /// What to say of a figure that isn't reached.
    pub fn sentence(&self) -> String {
        format!("{} is {:.2} {} where {} is to be reached.", self.what, self.figure, self.unit, self.to_reach())
    }
}

/// Of `reed-solomon-simd`'s time, at each number of shards.
const ENCODE: [(usize, f64); 4] = [(10, 2.3), (31, 2.4), (100, 2.0), (250, 1.2)];
/// Up to so many shards, Weft is ahead of all.
const AHEAD: usize = 100;
const SYMBOL: [(usize, f64); 2] = [(31, 20.0), (100, 30.0)];

fn least_for(marks: &[(usize, f64)], n: usize) -> Option<Bound> {
    marks.iter().find(|(at, _)| *at == n).map(|(_, least)| Bound::AtLeast(*least))
}

/// Times of the faster one of the arrangements of `reed-solomon-simd`, by Weft's.
fn against_simd(cell: &Cell) -> Option<f64> {
    cell.ratio("Weft", &cell.fastest(|name| name.starts_with("reed-solomon-simd"))?.name)
}

/// Of 64 MiB encoded by one thread.
pub fn encode(cell: &Cell) -> Vec<Mark> {
    let n = cell.task.shape().n;
    let mut marks = Vec::new();
    if let (Some(bound), Some(figure)) = (least_for(&ENCODE, n), against_simd(cell)) {
        let what = format!("encoding 64 MiB with one thread, n = {n}, of reed-solomon-simd at its best,");
        marks.push(Mark { what, figure, bound, unit: "×" });
    }
    if n <= AHEAD
        && let Some(best) = cell.fastest(|name| !["Weft", "memcpy"].contains(&name))
        && let Some(figure) = cell.ratio("Weft", &best.name)
    {
        let what = format!("encoding 64 MiB with one thread, n = {n}, of the best other ({}),", best.name);
        marks.push(Mark { what, figure, bound: Bound::MoreThan(1.0), unit: "×" });
    }
    marks
}

/// Of 64 MiB encoded with all commitments.
pub fn commitments(cell: &Cell, weft: &str, walrus: &str) -> Vec<Mark> {
    let n = cell.task.shape().n;
    let (Some(ours), Some(ratio)) = (cell.of(weft), cell.ratio(weft, walrus)) else { return Vec::new() };
    if n != 31 {
        return Vec::new();
    }
    let what = |than: &str| format!("encoding with all commitments, n = {n}{than},");
    vec![
        Mark { what: what(""), figure: cell.rate(ours), bound: Bound::AtLeast(1.0), unit: "GB/s" },
        Mark { what: what(", of Walrus's arrangement"), figure: ratio, bound: Bound::AtLeast(3.0), unit: "×" },
    ]
}

/// Of a symbol from a sliver that is in the cache, and from one that isn't.
pub fn symbol(warm: &Cell, cold: &Cell) -> Vec<Mark> {
    let n = warm.task.shape().n;
    let mut marks = Vec::new();
    let Some(bound) = least_for(&SYMBOL, n) else { return marks };
    if let Some(figure) = against_simd(warm) {
        let what = format!("one symbol of 64 KiB, n = {n}, of reed-solomon-simd,");
        marks.push(Mark { what, figure, bound, unit: "×" });
    }
    if let Some(figure) = cold.ratio("reading the sliver", "Weft") {
        let what = format!("one symbol of 64 KiB from a cold sliver, n = {n}, of the time to read the sliver,");
        marks.push(Mark { what, figure, bound: Bound::AtMost(1.3), unit: "×" });
    }
    marks
}

/// Of a blob decoded with nothing missing.
pub fn decode(cell: &Cell) -> Vec<Mark> {
    let what = format!("decoding 64 MiB with nothing missing, n = {}, of memcpy's time,", cell.task.shape().n);
    let figure = cell.ratio("memcpy", "Weft");
    figure.map(|figure| Mark { what, figure, bound: Bound::AtMost(1.5), unit: "×" }).into_iter().collect()
}
