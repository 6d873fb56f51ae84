//! What is asked for.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use codec_bench::{plot, storage};
use weft_redstuff::Code;

/// Weft's code beside every library that a user could pick instead, as Markdown tables. Fails when a figure to be reached isn't.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) what: Option<What>,
    /// Lengths of blobs to encode, as in 1MiB,64MiB,1GiB.
    #[arg(long, value_delimiter = ',', value_parser = length)]
    sizes: Vec<usize>,
    /// Numbers of shards.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(4..=255))]
    shards: Vec<u16>,
    /// Numbers of threads; by default one, and one a processor.
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// About how long each library is measured for each figure.
    #[arg(long)]
    seconds: Option<f64>,
    /// A few minutes: short blobs, few shards, unless told otherwise.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Bytes that all members store for each byte of a blob, by its length.
    Storage(Storage),
}

#[derive(Debug, Args)]
pub(crate) struct Storage {
    /// Codes as n, or n:f.
    #[arg(long, value_delimiter = ',', value_parser = code, default_value = "10,28,31,100,250")]
    codes: Vec<Code>,
    /// Where to write a plot.
    #[arg(long)]
    svg: Option<PathBuf>,
}

fn length(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].trim_end_matches("iB") {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err("a length is a number, or one of KiB, MiB or GiB".to_owned()),
    };
    match digits.parse::<usize>() {
        Ok(number) if number > 0 && number << shift >> shift == number => Ok(number << shift),
        _ => Err("a length is a whole number above zero".to_owned()),
    }
}

fn code(text: &str) -> Result<Code, String> {
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("not a number: {text}"));
    match text.split_once(':') {
        Some((shards, faults)) => Code::new(number(shards)?, number(faults)?),
        None => Code::with_shards(number(text)?),
    }
    .map_err(|why| why.to_string())
}

/// A list, or what takes its place when it's empty.
fn or<T: Clone>(given: &[T], full: &[T], quick: Option<&[T]>) -> Vec<T> {
    if given.is_empty() { quick.unwrap_or(full).to_vec() } else { given.to_vec() }
}

impl Options {
    fn quick<'a, T>(&self, values: &'a [T]) -> Option<&'a [T]> {
        self.quick.then_some(values)
    }

    pub(crate) fn sizes(&self) -> Vec<usize> {
        or(&self.sizes, &[1 << 20, 64 << 20, 1 << 30], self.quick(&[1 << 20, 64 << 20]))
    }

    pub(crate) fn shards(&self) -> Vec<usize> {
        or(&self.shards, &[10, 31, 100, 250], self.quick(&[10, 31])).into_iter().map(usize::from).collect()
    }

    pub(crate) fn threads(&self) -> Vec<usize> {
        let mut threads = or(&self.threads, &[1, codec_bench::machine::threads()], self.quick(&[1]));
        threads.dedup();
        threads
    }

    pub(crate) fn each(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.quick { 0.2 } else { 2.0 }))
    }
}

impl Storage {
    pub(crate) fn run(&self) -> Result<(), String> {
        let impossible = |why| format!("a blob can't be laid out: {why}");
        println!("{}", storage::markdown(&self.codes).map_err(impossible)?);
        if let Some(path) = &self.svg {
            let svg = plot::svg(&self.codes).map_err(impossible)?;
            fs::write(path, svg).map_err(|why| format!("{} can't be written: {why}", path.display()))?;
        }
        Ok(())
    }
}
