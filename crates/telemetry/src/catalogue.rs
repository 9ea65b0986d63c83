//! Every metric. Names, labels and meanings are a public contract: dashboards and alerts depend on
//! them.

/// Only ever grows; reset to zero at a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    Records,
    DeadLetters,
    MembershipChanges,
    SinkDeliveries,
    InvariantViolations,
    TransactionsAborted,
    IdentityParked,
    SlowSteps,
    SourceRecords,
    SourceRequests,
}

/// A current value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gauge {
    ConsumerLag,
    AudienceSize,
    TimersDueLag,
    StateBytes,
    StateDiskFree,
    SinkBacklog,
    SourceLag,
    Shards,
    SourceQuotaLeft,
    SourceQuotaResets,
    SourceLoad,
    ShardsOwned,
    BuildInfo,
    WorkInHand,
}

/// How long, or how large, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Histogram {
    Commit,
    EndToEnd,
    Restore,
    IdentityClusterSize,
}

/// The description of a metric for Prometheus.
pub(crate) struct Declaration {
    pub name: &'static str,
    pub help: &'static str,
    pub labels: &'static [&'static str],
}

const fn declare(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Declaration {
    Declaration { name, help, labels }
}

impl Counter {
    pub const ALL: [Counter; 10] = [
        Counter::Records,
        Counter::DeadLetters,
        Counter::MembershipChanges,
        Counter::SinkDeliveries,
        Counter::InvariantViolations,
        Counter::TransactionsAborted,
        Counter::IdentityParked,
        Counter::SlowSteps,
        Counter::SourceRecords,
        Counter::SourceRequests,
    ];

    /// The counter of this name, if there is one.
    pub fn named(name: &str) -> Option<Counter> {
        Counter::ALL.into_iter().find(|metric| metric.declaration().name == name)
    }

    pub(crate) const fn declaration(self) -> Declaration {
        match self {
            Counter::Records => declare(
                "millrace_records_total",
                "Records a stage has handled, by outcome.",
                &["stage", "topic", "outcome"],
            ),
            Counter::DeadLetters => declare(
                "millrace_dead_letters_total",
                "Records that could not be used, by reason.",
                &["topic", "reason"],
            ),
            Counter::MembershipChanges => declare(
                "millrace_membership_changes_total",
                "Entries into and exits from audiences, committed.",
                &["segment", "status"],
            ),
            Counter::SinkDeliveries => declare(
                "millrace_sink_deliveries_total",
                "Changes sent to a destination, by answer.",
                &["destination", "outcome"],
            ),
            Counter::SourceRecords => declare(
                "millrace_source_records_total",
                "Records a source has read, by outcome: appended, or rejected by its mapping.",
                &["source", "outcome"],
            ),
            Counter::SourceRequests => declare(
                "millrace_source_requests_total",
                "Calls a source has made, by outcome: ok, or the foreign system's own code.",
                &["source", "outcome"],
            ),
            Counter::InvariantViolations => declare(
                "millrace_invariant_violations_total",
                "Broken promises of this program's own code. Anything but zero is a defect to report.",
                &["id"],
            ),
            Counter::TransactionsAborted => declare(
                "millrace_transactions_aborted_total",
                "Transactions aborted, by cause; each is followed by a recovery.",
                &["cause"],
            ),
            Counter::IdentityParked => declare("millrace_identity_parked_total", "Links set aside by a guardrail, by reason.", &["reason"]),
            Counter::SlowSteps => declare(
                "millrace_slow_steps_total",
                "Steps that took longer than `loop.step_time_max`, by the part that took longest; the log says what each did.",
                &["part"],
            ),
        }
    }
}

impl Gauge {
    pub const ALL: [Gauge; 14] = [
        Gauge::ConsumerLag,
        Gauge::AudienceSize,
        Gauge::TimersDueLag,
        Gauge::StateBytes,
        Gauge::StateDiskFree,
        Gauge::SinkBacklog,
        Gauge::SourceLag,
        Gauge::Shards,
        Gauge::SourceQuotaLeft,
        Gauge::SourceQuotaResets,
        Gauge::SourceLoad,
        Gauge::ShardsOwned,
        Gauge::BuildInfo,
        Gauge::WorkInHand,
    ];

    /// The gauge of this name, if there is one.
    pub fn named(name: &str) -> Option<Gauge> {
        Gauge::ALL.into_iter().find(|metric| metric.declaration().name == name)
    }

    pub(crate) const fn declaration(self) -> Declaration {
        match self {
            Gauge::ConsumerLag => declare(
                "millrace_consumer_lag",
                "Committed records of an input partition not read yet.",
                &["topic", "partition"],
            ),
            Gauge::AudienceSize => declare("millrace_audience_size", "Members of a segment on the shards of this process.", &["segment"]),
            Gauge::TimersDueLag => declare(
                "millrace_timers_due_lag_seconds",
                "How long the most overdue timer of this process has been due.",
                &[],
            ),
            Gauge::StateBytes => declare(
                "millrace_state_bytes",
                "Bytes a state store takes on disk, or in memory where it has no disk.",
                &["store"],
            ),
            Gauge::StateDiskFree => declare(
                "millrace_state_disk_free_bytes",
                "Bytes free on the disk of the state stores; below state.disk_free_min no input is taken.",
                &[],
            ),
            Gauge::SinkBacklog => declare("millrace_sink_backlog", "Changes a destination has not acknowledged yet.", &["destination"]),
            Gauge::SourceLag => declare(
                "millrace_source_lag_seconds",
                "How far a source connector lags its system of record.",
                &["source"],
            ),
            Gauge::Shards => declare("millrace_shards", "Shards of the whole deployment, running or not.", &[]),
            Gauge::SourceQuotaLeft => declare("millrace_source_quota_left", "Calls of the day that a source has left.", &["source"]),
            Gauge::SourceQuotaResets => declare(
                "millrace_source_quota_resets_timestamp_seconds",
                "When a source's calls of the day reset, Unix time.",
                &["source"],
            ),
            Gauge::SourceLoad => declare(
                "millrace_source_load_ratio",
                "How much of its first load a source has read, 0 to 1.",
                &["source"],
            ),
            Gauge::ShardsOwned => declare("millrace_shards_owned", "Shards this process owns, by state.", &["state"]),
            Gauge::WorkInHand => declare(
                "millrace_work_in_hand",
                "1 while a shard has work left over from what it has read (a long history on the move, members of a changed account, a backfill), else 0.",
                &["shard"],
            ),
            Gauge::BuildInfo => declare("millrace_build_info", "Always 1; the version is in the label.", &["version"]),
        }
    }
}

impl Histogram {
    pub const ALL: [Histogram; 4] = [Histogram::Commit, Histogram::EndToEnd, Histogram::Restore, Histogram::IdentityClusterSize];

    /// The histogram of this name, if there is one.
    pub fn named(name: &str) -> Option<Histogram> {
        Histogram::ALL.into_iter().find(|metric| metric.declaration().name == name)
    }

    pub(crate) const fn declaration(self) -> Declaration {
        match self {
            Histogram::Commit => declare(
                "millrace_commit_seconds",
                "From the first record of a transaction produced to its commit acknowledged.",
                &[],
            ),
            Histogram::EndToEnd => declare(
                "millrace_end_to_end_seconds",
                "From a source record's timestamp in the log to the membership record it caused being committed.",
                &[],
            ),
            Histogram::Restore => declare("millrace_restore_seconds", "From taking a shard over to its first poll.", &[]),
            Histogram::IdentityClusterSize => declare(
                "millrace_identity_cluster_size",
                "Identities of a cluster, observed whenever a cluster changes.",
                &[],
            ),
        }
    }

    /// Upper bounds, ascending; chosen so that the targets (p50 60 ms, p99 400 ms; recovery 5 s; 50
    /// and 1,000 identities) are bounds themselves.
    pub(crate) const fn buckets(self) -> &'static [f64] {
        match self {
            Histogram::Commit => &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0],
            Histogram::EndToEnd => &[0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.4, 0.6, 1.0, 2.0, 5.0, 15.0, 60.0],
            Histogram::Restore => &[0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1_800.0],
            Histogram::IdentityClusterSize => &[1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0, 1_000.0],
        }
    }
}
