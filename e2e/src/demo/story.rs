//! What is told while it happens: short lines with a clock, and progress bars where there is a terminal.

use std::io::{IsTerminal as _, stderr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The teller. Clones tell the same story.
#[derive(Clone, Debug)]
pub struct Story {
    started: Instant,
    bars: Option<Arc<MultiProgress>>,
}

impl Story {
    /// Begins now. Bars appear only where standard error is a terminal.
    pub fn begin() -> Self {
        let bars = stderr().is_terminal().then(|| Arc::new(MultiProgress::new()));
        Self { started: Instant::now(), bars }
    }

    /// Seconds since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Tells one line.
    pub fn say(&self, text: impl AsRef<str>) {
        let seconds = self.elapsed().as_secs();
        let line = format!("{:>3}:{:02}  {}", seconds / 60, seconds % 60, text.as_ref());
        match &self.bars {
            // Above the bars; where the terminal is gone there is nobody to tell.
            Some(bars) => drop(bars.println(line)),
            None => println!("{line}"),
        }
    }

    /// Something of known size, in bytes.
    pub fn bytes(&self, what: &str, total: u64) -> Bar {
        self.bar(what, total, "{elapsed_precise}  {msg} {wide_bar} {bytes}/{total_bytes}")
    }

    /// Something of known size, in pieces.
    pub fn count(&self, what: &str, total: u64) -> Bar {
        self.bar(what, total, "{elapsed_precise}  {msg} {wide_bar} {pos}/{len}")
    }

    /// Something that takes as long as it takes.
    pub fn spinner(&self, what: &str) -> Bar {
        let bar = self.bar(what, 0, "{elapsed_precise}  {msg} {spinner}");
        if let Some(bar) = &bar.0 {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        bar
    }

    fn bar(&self, what: &str, total: u64, template: &str) -> Bar {
        Bar(self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(total)).with_message(what.to_owned());
            // The templates are constants of this file.
            bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
        }))
    }
}

/// A bar that goes away when it is dropped; nothing where there is no terminal.
#[derive(Debug)]
pub struct Bar(Option<ProgressBar>);

impl Bar {
    /// So much more is done.
    pub fn add(&self, amount: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(amount);
        }
    }

    /// So much is done, of so much.
    pub fn set(&self, done: u64, total: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
