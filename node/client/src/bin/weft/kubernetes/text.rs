//! Tables, ages, amounts and sets as people read them.

use comfy_table::{Table, presets};
use jiff::Timestamp;

/// A table without lines, in the manner of kubectl.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.iter().copied());
    table
}

/// A table's text: columns three spaces apart, nothing at the ends of lines.
pub(crate) fn columns(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// How long ago something was, in its largest unit.
pub(super) fn age(now: Timestamp, then: Timestamp) -> String {
    duration(now.duration_since(then).as_secs().max(0).unsigned_abs())
}

/// Seconds as `45s`, `12m`, `5h` or `3d`, rounded down; small amounts with the next unit.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if !seconds.is_multiple_of(60) => format!("{}m{}s", seconds / 60, seconds % 60),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Bytes in binary units.
pub(super) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

/// Numbers as ranges: `0-3,7`.
pub(super) fn ranges(numbers: &[u8]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for number in sorted {
        match runs.last_mut() {
            Some((_, last)) if number <= last.saturating_add(1) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let run = |(first, last): (u8, u8)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.into_iter().map(run).collect::<Vec<_>>().join(",")
}

/// `1 member`, `2 members`.
pub(super) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        let told = [0, 119, 120, 125, 600, 7_199, 7_200, 172_799, 172_800].map(duration);
        assert_eq!(told, ["0s", "119s", "2m", "2m5s", "10m", "119m", "2h", "47h", "2d"]);
        assert_eq!(age(Timestamp::UNIX_EPOCH, Timestamp::from_second(9).unwrap()), "0s");
        assert_eq!((bytes(0), bytes(3 << 20)), ("0 B".to_owned(), "3.00 MiB".to_owned()));
        assert_eq!((count(1, "zone"), count(0, "zone")), ("1 zone".to_owned(), "0 zones".to_owned()));
    }

    #[test]
    fn neighbours_are_one_range() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[7, 0, 1, 3, 2, 9, 255, 254]), "0-3,7,9,254-255");
    }
}
