//! Whether the memory limit of this process suits its configuration. The system kills a process
//! over its limit without a message from us, so we check before.

use std::path::Path;

use millrace_config::Config;

use crate::refusal::Refusal;

/// Memory of a process in addition to its caches: code, threads, the log's index, records in
/// transit.
const BASE_BYTES: u64 = 128 << 20;

/// A limit and its origin.
struct Limit {
    bytes: u64,
    set_by: &'static str,
}

/// # Errors
/// A refusal where the configured memory does not fit.
pub fn require_enough(config: &Config) -> Result<(), Refusal> {
    let Some(limit) = limit() else { return Ok(()) };
    refuse(&limit, config.state.cache_bytes, config.state.write_buffers_bytes).map_or(Ok(()), |words| Err(Refusal(words)))
}

fn refuse(limit: &Limit, cache: u64, write_buffers: u64) -> Option<String> {
    let needed = cache.saturating_add(write_buffers).saturating_add(BASE_BYTES);
    let mib = |bytes: u64| bytes >> 20;
    (limit.bytes < needed).then(|| {
        format!(
            "{} allows this process {} MiB of memory, and it needs {} MiB: {} MiB state.cache, {} MiB state.write_buffers, {} MiB for the rest. Raise the \
             limit, or lower state.cache and state.write_buffers",
            limit.set_by,
            mib(limit.bytes),
            mib(needed),
            mib(cache),
            mib(write_buffers),
            mib(BASE_BYTES)
        )
    })
}

/// The lowest limit; `None` where there is none.
fn limit() -> Option<Limit> {
    let addresses = rustix::process::getrlimit(rustix::process::Resource::As).current;
    let addresses = addresses.map(|bytes| Limit {
        bytes,
        set_by: "the limit of address space (ulimit -v)",
    });
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .find_map(|path| of_group(Path::new(path)));
    let group = group.map(|bytes| Limit {
        bytes,
        set_by: "the container's limit (cgroup)",
    });
    [addresses, group].into_iter().flatten().min_by_key(|limit| limit.bytes)
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
        };
        assert_eq!(refuse(&limit(512), 256 << 20, 128 << 20), None);
        assert_eq!(
            refuse(&limit(511), 256 << 20, 128 << 20).as_deref(),
            Some(
                "the container's limit (cgroup) allows this process 511 MiB of memory, and it needs 512 MiB: 256 MiB state.cache, 128 MiB \
                 state.write_buffers, 128 MiB for the rest. Raise the limit, or lower state.cache and state.write_buffers"
            )
        );
    }
}
