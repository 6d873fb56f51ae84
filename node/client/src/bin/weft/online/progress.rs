//! Progress bars, on a terminal only.

use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Bars of all files that a command works on.
pub(super) struct Bars(MultiProgress);

impl Bars {
    /// Drawn on standard error, if that is a terminal and the output isn't for machines.
    pub(super) fn new(hidden: bool) -> Self {
        let target = if hidden || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        Self(MultiProgress::with_draw_target(target))
    }

    /// A bar for so many bytes.
    pub(super) fn add(&self, name: &str, length: u64) -> ProgressBar {
        let bar = self.0.add(ProgressBar::new(length)).with_prefix(name.to_owned());
        let style = ProgressStyle::with_template("{prefix:.bold} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar
    }
}
