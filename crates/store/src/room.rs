//! Whether a store's disk has room for more.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::StoreError;

/// Returns the free bytes of the disk that a folder is on.
pub type Probe = dyn Fn(&Path) -> std::io::Result<u64> + Send + Sync;

/// Watches the disk of one store.
pub struct Room {
    path: PathBuf,
    free_min: u64,
    probe: Arc<Probe>,
    /// There was too little at the last check.
    short: AtomicBool,
}

impl Room {
    pub fn new(path: &Path, free_min: u64, probe: Arc<Probe>) -> Room {
        Room {
            path: path.to_path_buf(),
            free_min,
            probe,
            short: AtomicBool::new(false),
        }
    }

    /// Bytes free now; `None` where the system does not report it.
    pub fn free_bytes(&self) -> Option<u64> {
        (self.probe)(&self.path).ok()
    }

    /// Whether no input may be taken: below the limit, and then until a quarter more than that is
    /// free, so that a disk at its limit does not stop and go.
    ///
    /// # Errors
    /// `NoRoom`.
    pub fn check(&self) -> Result<(), StoreError> {
        // A disk that does not report it is left to RocksDB, which fails when it is full.
        let Some(free) = self.free_bytes() else { return Ok(()) };
        let needed = if self.short.load(Ordering::Relaxed) {
            self.free_min.saturating_add(self.free_min / 4)
        } else {
            self.free_min
        };
        let short = free < needed;
        self.short.store(short, Ordering::Relaxed);
        if short { Err(self.refusal(free, needed)) } else { Ok(()) }
    }

    /// The error where RocksDB found the disk full.
    pub fn full(&self) -> StoreError {
        self.short.store(true, Ordering::Relaxed);
        self.refusal(self.free_bytes().unwrap_or(0), self.free_min)
    }

    /// The error where writes wait too long.
    pub fn stalled(&self) -> StoreError {
        StoreError::NoRoom(format!("writes to {} have to wait: its disk is too slow or full", self.path.display()))
    }

    fn refusal(&self, free: u64, needed: u64) -> StoreError {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        StoreError::NoRoom(format!(
            "the disk of {} has {:.1} MiB free and needs {:.1} MiB: no input is taken until there is room",
            self.path.display(),
            mib(free),
            mib(needed)
        ))
    }
}

/// The free space for this process, as the operating system reports it.
pub fn system_probe(path: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn input_stops_below_the_limit_and_goes_on_above_it_by_a_quarter() {
        let free = Arc::new(AtomicU64::new(0));
        let probed = Arc::clone(&free);
        let room = Room::new(Path::new("/state"), 1000 << 20, Arc::new(move |_| Ok(probed.load(Ordering::Relaxed))));
        for (mib, taken) in [
            (1001, true),
            (1000, true),
            (999, false),
            (1000, false),
            (1249, false),
            (1250, true),
            (1000, true),
            (0, false),
        ] {
            free.store(mib << 20, Ordering::Relaxed);
            assert_eq!(room.check().is_ok(), taken, "{mib}");
        }
        let refusal = room.check().unwrap_err().to_string();
        assert_eq!(
            refusal,
            "the disk of /state has 0.0 MiB free and needs 1250.0 MiB: no input is taken until there is room"
        );
    }

    #[test]
    fn the_system_knows_the_disk_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(system_probe(folder.path()).unwrap() > 0);
        assert!(system_probe(&folder.path().join("nowhere")).is_err());
    }
}
