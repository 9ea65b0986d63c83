//! Memory that all stores of a process share, and the options that follow from how the stores are
//! used.

use std::path::Path;
use std::sync::Arc;

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DataBlockIndexType, LogLevel, Options, WriteBufferManager};

use crate::StoreError;
use crate::room::{Probe, Room, system_probe};

/// How much memory the stores of a process use together, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Blocks, indexes and filters of files. More means fewer reads from disk.
    pub block_cache_bytes: usize,
    /// Rows not yet flushed. Past this limit the writing store is flushed early.
    pub write_buffers_bytes: usize,
    /// Bytes to keep free on the disk: below, no input is taken. Rows in memory must still find
    /// room, and a compaction writes before it deletes.
    pub disk_free_min_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            block_cache_bytes: 512 << 20,
            write_buffers_bytes: 256 << 20,
            disk_free_min_bytes: 256 << 20,
        }
    }
}

/// Shared by the stores of one process. Cheap to clone.
#[derive(Clone)]
pub struct Resources {
    block_cache: Cache,
    write_buffers: WriteBufferManager,
    disk_free_min_bytes: u64,
    probe: Arc<Probe>,
}

impl Resources {
    /// Shared memory within the limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            // Many shards' threads read at once: this cache takes no lock. Entry sizes vary
            // (blocks, filters), so that it sizes itself (0).
            block_cache: Cache::new_hyper_clock_cache(limits.block_cache_bytes, 0),
            // Writers are not stalled at the limit: a flush is started, and the one writer of a
            // store is also the one that waits for Kafka.
            write_buffers: WriteBufferManager::new_write_buffer_manager(limits.write_buffers_bytes, false),
            disk_free_min_bytes: limits.disk_free_min_bytes,
            probe: Arc::new(system_probe),
        }
    }

    /// With another way to find out how much of a disk is free.
    #[must_use]
    pub fn with_probe(self, probe: Arc<Probe>) -> Self {
        Self { probe, ..self }
    }

    pub(crate) fn room(&self, path: &Path) -> Room {
        Room::new(path, self.disk_free_min_bytes, Arc::clone(&self.probe))
    }

    /// Bytes of file blocks held in memory now, over all stores.
    #[must_use]
    pub fn block_cache_used_bytes(&self) -> usize {
        self.block_cache.get_usage()
    }

    /// Bytes of rows not yet flushed, over all stores.
    #[must_use]
    pub fn write_buffers_used_bytes(&self) -> usize {
        self.write_buffers.get_usage()
    }

    pub(crate) fn database_options(&self) -> Result<Options, StoreError> {
        let mut options = self.table_options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // Without a write-ahead log this alone keeps the column families and the position of one
        // batch together over a crash.
        options.set_atomic_flush(true);
        options.set_write_buffer_manager(&self.write_buffers);
        // One flush and one compaction at a time; the threads are shared by all stores of the
        // process.
        options.set_max_background_jobs(2);
        // A store has one writer.
        options.set_allow_concurrent_memtable_write(false);
        // 64 shards in a process stay far below the usual limit of open files.
        options.set_max_open_files(256);
        // Deletes files in the background rather than in the thread of a reader that was the last
        // to need them.
        options.set_avoid_unnecessary_blocking_io(true);
        options.set_log_level(LogLevel::Warn);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(1 << 20);
        options.set_stats_dump_period_sec(0);
        // A store that is closed on a full disk would wait for room; `RocksStore` flushes before it
        // closes, where there is some.
        Ok(options.get_options_from_string("avoid_flush_during_shutdown=true")?)
    }

    pub(crate) fn table_options(&self) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.block_cache);
        // Reads are of single rows, so small blocks waste less of the cache; indexes and filters
        // count towards its limit.
        blocks.set_block_size(4 << 10);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_bloom_filter(10.0, false);
        blocks.set_optimize_filters_for_memory(true);
        blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        blocks.set_format_version(6);

        let mut options = Options::default();
        options.set_block_based_table_factory(&blocks);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_size(32 << 20);
        // A buffer takes memory in steps of this; the usual 1 MiB times two column families times
        // 64 shards would be half the budget when idle.
        options.set_arena_block_size(128 << 10);
        options.set_max_write_buffer_number(3);
        options.set_target_file_size_base(32 << 20);
        options.set_max_bytes_for_level_base(128 << 20);
        options.set_level_compaction_dynamic_level_bytes(true);
        // Most probes for rows that do not exist end here, without a search of the buffer.
        options.set_memtable_prefix_bloom_ratio(0.02);
        options.set_memtable_whole_key_filtering(true);
        options
    }

    pub(crate) fn derived_options(&self) -> Options {
        let mut options = self.table_options();
        options.set_write_buffer_size(16 << 20);
        // A file is compacted once half of some stretch of 4,096 entries are deletion markers: that
        // is what the front of a queue looks like.
        options.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
        options
    }
}
