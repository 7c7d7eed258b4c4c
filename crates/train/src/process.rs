//! What the operating system says about this process's memory. `None` where it does not say.

/// Bytes of memory that the process occupies now.
pub fn rss() -> Option<u64> {
    field("VmRSS:")
}

/// Most bytes of memory that the process has occupied so far.
pub fn peak_rss() -> Option<u64> {
    field("VmHWM:")
}

/// `/proc/self/status` counts in kB, which unlike `statm` needs no page size.
fn field(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kb: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kb.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_is_taken_is_seen() {
        let before = super::rss().unwrap();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = super::rss().unwrap();
        assert!(after > before + (32 << 20), "{before} {after}");
        assert!(super::peak_rss().unwrap() >= after);
        drop(block);
    }
}
