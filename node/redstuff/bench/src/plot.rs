//! What a fleet stores for a byte, drawn.

use weft_redstuff::{Code, LayoutError};

use crate::storage::{factor, limit, name, title};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 32.0;
const BOTTOM: f64 = 48.0;
/// Lengths, as powers of two.
const FIRST: f64 = 6.0;
const LAST: f64 = 34.0;
/// Points for each doubling: where a blob needs one stripe more, the curve jumps.
const STEPS: u32 = 16;
/// Told apart by the colour-blind, too (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];

fn x(exponent: f64) -> f64 {
    LEFT + (exponent - FIRST) / (LAST - FIRST) * (WIDTH - LEFT - RIGHT)
}

/// Logarithmic too: what is inline is stored `n` times.
fn y(factor: f64, most: f64) -> f64 {
    HEIGHT - BOTTOM - factor.log2() / most.log2() * (HEIGHT - TOP - BOTTOM)
}

/// The factor by the blob's length, both logarithmic.
pub fn svg(codes: &[Code]) -> Result<String, LayoutError> {
    // The first doubling that holds every curve.
    let mut most = 8.0;
    let mut curves = Vec::new();
    for &code in codes {
        let mut points = Vec::new();
        for step in 0..=(LAST - FIRST) as u32 * STEPS {
            let exponent = FIRST + f64::from(step) / f64::from(STEPS);
            let factor = factor(code, exponent.exp2() as u64)?;
            while factor > most {
                most *= 2.0;
            }
            points.push((exponent, factor));
        }
        curves.push((code, points));
    }
    let mut lines = vec![
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">"
        ),
        "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>".to_owned(),
        label(LEFT, 18.0, "start", "black", "Bytes stored by all members for each byte of a blob"),
    ];
    lines.extend(axes(most));
    for (index, (code, points)) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let points: Vec<String> =
            points.iter().map(|&(exponent, factor)| format!("{:.1},{:.1}", x(exponent), y(factor, most))).collect();
        let points = points.join(" ");
        lines.push(format!("<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{points}\"/>"));
        let text = format!("{}: {:.2} in the limit", title(*code), limit(*code));
        lines.push(label(WIDTH - RIGHT - 8.0, TOP + 16.0 * (index as f64 + 1.0), "end", colour, &text));
    }
    lines.push("</svg>\n".to_owned());
    Ok(lines.join("\n"))
}

fn label(x: f64, y: f64, anchor: &str, colour: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>")
}

fn line([x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) -> String {
    format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>")
}

fn axes(most: f64) -> Vec<String> {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut lines = Vec::new();
    for exponent in (FIRST as u32..=LAST as u32).step_by(4) {
        let at = x(f64::from(exponent));
        lines.push(line([at, TOP], [at, bottom]));
        lines.push(label(at, bottom + 18.0, "middle", "black", &name(1 << exponent)));
    }
    for exponent in 0..=most.log2() as i32 {
        let factor = f64::from(exponent).exp2();
        let at = y(factor, most);
        lines.push(line([LEFT, at], [right, at]));
        lines.push(label(LEFT - 6.0, at + 4.0, "end", "black", &factor.to_string()));
    }
    lines.push(label(f64::midpoint(LEFT, right), HEIGHT - 10.0, "middle", "black", "length of the blob"));
    lines
}
