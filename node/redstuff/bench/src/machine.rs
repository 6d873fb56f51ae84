//! The machine that figures come from.

use std::{fs, thread};

/// Instructions that codecs and hashes look for.
const FEATURES: [&str; 10] =
    ["ssse3", "avx2", "avx512f", "avx512bw", "avx512vbmi", "gfni", "sha_ni", "asimd", "sha2", "sve"];

fn processor(field: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == field)?;
    Some(value.trim().to_owned())
}

fn caches() -> String {
    let read = |index: usize, file: &str| {
        let text = fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}")).ok()?;
        Some(text.trim().to_owned())
    };
    let cache = |index| {
        let (level, kind, size) = (read(index, "level")?, read(index, "type")?, read(index, "size")?);
        let kind = match kind.as_str() {
            "Data" => "d",
            "Instruction" => "i",
            _ => "",
        };
        Some(format!("L{level}{kind} {size}"))
    };
    (0..8).filter_map(cache).collect::<Vec<_>>().join(", ")
}

/// One sentence: model, processors, caches, features.
pub fn describe() -> String {
    let model = processor("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let flags = processor("flags").or_else(|| processor("Features")).unwrap_or_default();
    let features: Vec<&str> = flags.split_whitespace().filter(|flag| FEATURES.contains(flag)).collect();
    format!("{model}, {} processors, caches {}; {}", threads(), caches(), features.join(" "))
}

/// All processors.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
