//! The tables.

use weft_redstuff::Code;

use crate::{
    MEMBERS,
    beside::Beside,
    heal::Healed,
    load::{Measured, Rate},
};

/// Of a put of 64 MiB, what share of the disk's bandwidth divided by the storage factor is enough where `MinIO` is ahead.
const OF_THE_DISK: f64 = 0.9;

/// One size and number of clients.
pub(crate) struct Cell {
    pub(crate) size: usize,
    pub(crate) clients: usize,
    pub(crate) weft: Measured,
    /// In one process, and as a fleet.
    pub(crate) minio: [Measured; 2],
}

impl Cell {
    /// How many times as much Weft has as each `MinIO`.
    fn ratios(&self, of: impl Fn(&Measured) -> f64) -> [f64; 2] {
        [0, 1].map(|at| of(&self.weft) / of(&self.minio[at]))
    }

    /// Throughputs with their ratios, and the slowest hundredths.
    fn columns(&self, of: fn(&Measured) -> &Rate) -> String {
        let [rate, one, many] = [&self.weft, &self.minio[0], &self.minio[1]].map(|told| of(told).bytes / 1e6);
        let [late, after_one, after_many] =
            [&self.weft, &self.minio[0], &self.minio[1]].map(|told| of(told).percentile(99).as_secs_f64() * 1e3);
        let [to_one, to_many] = self.ratios(|told| of(told).bytes);
        format!(
            "{rate:.1} | {one:.1} | {to_one:.2} | {many:.1} | {to_many:.2} | {late:.1} | {after_one:.1} | {after_many:.1}"
        )
    }
}

pub(crate) struct Report {
    code: Code,
    /// Bytes a second.
    pub(crate) disk: f64,
    pub(crate) cells: Vec<Cell>,
    pub(crate) healed: Vec<Healed>,
    pub(crate) beside: Option<Beside>,
}

impl Report {
    pub(crate) fn new(code: Code, disk: f64) -> Self {
        Self { code, disk, cells: Vec::new(), healed: Vec::new(), beside: None }
    }

    /// Bytes stored for each byte put.
    fn factor(&self) -> f64 {
        let n = f64::from(self.code.shards());
        n / f64::from(self.code.source_rows()) + n / f64::from(self.code.source_columns())
    }

    pub(crate) fn markdown(&self) -> String {
        let (n, f) = (self.code.shards(), self.code.fault_tolerance());
        let mut text = format!(
            "n = {n}, f = {f}: storage factor {:.2}; MinIO EC:3 of 8: 1.60. The disk takes {:.0} MB/s, synced.\n\n",
            self.factor(),
            self.disk / 1e6
        );
        text += "| size | clients";
        text.extend(["put", "get"].map(|what| {
            let of = format!("of {MEMBERS} processes");
            format!(" | {what}, MB/s | MinIO | × | {of} | × | p99, ms | MinIO | {of}")
        }));
        text += " |\n|";
        text += &" ---: |".repeat(18);
        text += "\n";
        text.extend(self.cells.iter().map(|cell| {
            let (put, get) = (cell.columns(|told| &told.put), cell.columns(|told| &told.get));
            format!("| {} | {} | {put} | {get} |\n", cell.size, cell.clients)
        }));
        if !self.healed.is_empty() {
            text += "\n| size | blobs | lost, MB | received, MB | received ÷ lost | seconds ";
            text += "| MinIO: lost, MB | read, MB | read ÷ lost | seconds |\n";
            text += "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
        }
        for healed in &self.healed {
            text += &healed.row();
        }
        if let Some(beside) = &self.beside {
            text += "\n";
            text += &beside.line();
            text += "\n";
        }
        text
    }

    /// What was to be reached and isn't, each in a sentence.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for cell in &self.cells {
            let what = format!("{} bytes by {} clients", cell.size, cell.clients);
            let ([put, _], [get, _]) = (cell.ratios(|told| told.put.bytes), cell.ratios(|told| told.get.bytes));
            if get < 1.0 {
                broken.push(format!("Gets of {what} are {get:.2} × MinIO's; ahead is to be reached."));
            }
            let of_disk = cell.weft.put.bytes * self.factor() / self.disk;
            let large = cell.size >= 64 << 20;
            if put < 1.0 && !(large && of_disk >= OF_THE_DISK) {
                broken.push(format!(
                    "Puts of {what} are {put:.2} × MinIO's ({of_disk:.2} of the disk); ahead is to be reached."
                ));
            }
        }
        broken.extend(self.healed.iter().filter_map(Healed::broken));
        broken.extend(self.beside.iter().flat_map(Beside::broken));
        broken
    }
}
