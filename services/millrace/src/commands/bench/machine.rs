//! Resources used by the machine and this process, from `/proc`; zero where there is none.

use std::fs::read_to_string;

/// How busy the machine is: the load average of the last minute.
pub fn load() -> f64 {
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default()
}

/// Resident memory of this process in bytes.
pub fn resident_bytes() -> f64 {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()).and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0
}

/// Processor seconds that threads of this process have used, by the first part of their names.
pub fn processor_seconds(of: &str) -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let used = threads.flatten().filter_map(|thread| {
        let name = read_to_string(thread.path().join("comm")).ok()?;
        let used = read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds: f64 = used.split(' ').next()?.parse().ok()?;
        name.starts_with(of).then_some(nanoseconds / 1e9)
    });
    used.sum()
}
