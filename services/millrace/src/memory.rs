//! Whether the memory limit of this process suits its configuration. The system kills a process
//! over its limit without a message from us, so we check before.

use std::path::Path;

use millrace_config::Config;

use crate::refusal::Refusal;

/// Memory of a process in addition to its caches: code, threads, the log's index, records in
/// transit.
const BASE_BYTES: u64 = 128 << 20;

/// Addresses that the allocators reserve in advance, most of them never used: one range for all
/// threads, and one of 64 MiB for each of eight threads a core.
const RESERVED_BYTES: u64 = 1 << 30;
const RESERVED_BYTES_PER_CORE: u64 = 512 << 20;

/// A limit and its origin.
struct Limit {
    bytes: u64,
    set_by: &'static str,
    /// Addresses that count against it and need no memory.
    reserved: u64,
}

/// # Errors
/// A refusal where the configured memory does not fit.
pub fn require_enough(config: &Config) -> Result<(), Refusal> {
    let Some(limit) = limit() else { return Ok(()) };
    refuse(&limit, config.state.cache_bytes, config.state.write_buffers_bytes).map_or(Ok(()), |words| Err(Refusal(words)))
}

fn refuse(limit: &Limit, cache: u64, write_buffers: u64) -> Option<String> {
    let needed = cache.saturating_add(write_buffers).saturating_add(BASE_BYTES).saturating_add(limit.reserved);
    let mib = |bytes: u64| bytes >> 20;
    (limit.bytes < needed).then(|| {
        format!(
            "{} allows this process {} MiB of memory, and it needs {} MiB: {} MiB state.cache, {} MiB state.write_buffers, {} MiB for the rest{}. Raise the \
             limit, or lower state.cache and state.write_buffers",
            limit.set_by,
            mib(limit.bytes),
            mib(needed),
            mib(cache),
            mib(write_buffers),
            mib(BASE_BYTES),
            match limit.reserved {
                0 => String::new(),
                reserved => format!(", {} MiB of addresses that are reserved and hardly used", mib(reserved)),
            }
        )
    })
}

/// The lowest limit; `None` where there is none.
fn limit() -> Option<Limit> {
    let addresses = rustix::process::getrlimit(rustix::process::Resource::As).current;
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let addresses = addresses.map(|bytes| Limit {
        bytes,
        set_by: "the limit of address space (ulimit -v)",
        reserved: RESERVED_BYTES + RESERVED_BYTES_PER_CORE * cores,
    });
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .find_map(|path| of_group(Path::new(path)));
    let group = group.map(|bytes| Limit {
        bytes,
        set_by: "the container's limit (cgroup)",
        reserved: 0,
    });
    [addresses, group]
        .into_iter()
        .flatten()
        .min_by_key(|limit| limit.bytes.saturating_sub(limit.reserved))
}

/// `max` stands for none.
fn of_group(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_name_limit_need_and_remedy() {
        let limit = |mib: u64| Limit {
            bytes: mib << 20,
            set_by: "the container's limit (cgroup)",
            reserved: 0,
        };
        assert_eq!(refuse(&limit(512), 256 << 20, 128 << 20), None);
        assert_eq!(
            refuse(&limit(511), 256 << 20, 128 << 20).as_deref(),
            Some(
                "the container's limit (cgroup) allows this process 511 MiB of memory, and it needs 512 MiB: 256 MiB state.cache, 128 MiB \
                 state.write_buffers, 128 MiB for the rest. Raise the limit, or lower state.cache and state.write_buffers"
            )
        );
        let addresses = Limit {
            reserved: 2048 << 20,
            ..limit(2559)
        };
        let refused = refuse(&addresses, 256 << 20, 128 << 20).unwrap();
        assert!(
            refused.contains("needs 2560 MiB") && refused.contains("the rest, 2048 MiB of addresses that are reserved"),
            "{refused}"
        );
    }
}
