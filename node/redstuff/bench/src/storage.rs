//! What a fleet stores for a byte, by the blob's length.

use weft_redstuff::{Axis, Code, Hash, Layout, LayoutError};

/// Members of a fleet that nobody has told more: of four shards each, or of `f`, if those are fewer.
fn members(code: Code) -> u64 {
    u64::from(code.shards().div_ceil(code.fault_tolerance().min(4)))
}

/// What all members keep for each byte of a blob: slivers and, at each member, the hashes of all of them; or the whole of an inline blob at each member.
pub fn factor(code: Code, length: u64) -> Result<f64, LayoutError> {
    let layout = Layout::for_length(code, length)?;
    if layout.is_inline() {
        return Ok(members(code) as f64);
    }
    let n = u64::from(code.shards());
    let hashes = members(code) * 2 * n * Hash::LENGTH as u64;
    let slivers =
        layout.iter().map(|stripe| Axis::BOTH.iter().map(|&axis| n * stripe.sliver_length(axis) as u64).sum::<u64>());
    let kept: u64 = slivers.map(|slivers| slivers + hashes).sum();
    Ok(kept as f64 / length as f64)
}

/// What the factor comes near to: `n/k1 + n/k2`.
pub(crate) fn limit(code: Code) -> f64 {
    let n = f64::from(code.shards());
    n / f64::from(code.source_rows()) + n / f64::from(code.source_columns())
}

pub(crate) fn name(bytes: u64) -> String {
    match bytes.trailing_zeros() {
        exponent if exponent >= 30 => format!("{} GiB", bytes >> 30),
        exponent if exponent >= 20 => format!("{} MiB", bytes >> 20),
        exponent if exponent >= 10 => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

pub(crate) fn title(code: Code) -> String {
    format!("n = {}, f = {}", code.shards(), code.fault_tolerance())
}

/// One row a length, one column a code.
pub fn markdown(codes: &[Code]) -> Result<String, LayoutError> {
    let cells = |of: &dyn Fn(Code) -> Result<f64, LayoutError>| -> Result<String, LayoutError> {
        codes.iter().map(|&code| Ok(format!(" {:.2} |", of(code)?))).collect()
    };
    let titles: Vec<String> = codes.iter().map(|&code| title(code)).collect();
    let mut lines =
        vec![format!("| blob | {} |", titles.join(" | ")), "| ---: |".to_owned() + &" ---: |".repeat(codes.len())];
    for length in (6..=34).step_by(2).map(|exponent| 1 << exponent) {
        lines.push(format!("| {} |", name(length)) + &cells(&|code| factor(code, length))?);
    }
    lines.push("| ∞ |".to_owned() + &cells(&|code| Ok(limit(code)))?);
    Ok(lines.join("\n"))
}
