//! Every metric: name, labels and meaning, declared once. They are a public contract: dashboards
//! and alerts depend on them.
//!
//! A measurement names a variant, so a misspelt metric does not compile and a counter takes no
//! gauge's value. `millrace-telemetry` writes them as Prometheus text.

/// An enum of metrics of one kind: `Variant = "name" ["label", …] "help"`.
macro_rules! metrics {
    (
        $(#[$about:meta])*
        pub enum $kind:ident { $($variant:ident = $name:literal [$($label:literal),*] $help:literal,)* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $kind { $(#[doc = $help] $variant,)* }

        impl $kind {
            /// All of the kind, in the order of their declaration.
            pub const ALL: &[$kind] = &[$($kind::$variant),*];

            /// `millrace_<area>_<what>_<unit>[_total]`.
            pub const fn name(self) -> &'static str {
                match self { $($kind::$variant => $name,)* }
            }

            /// The names of its labels. Every measurement has a value for each, in this order.
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $($kind::$variant => &[$($label),*],)* }
            }

            /// What it measures: one sentence.
            pub const fn help(self) -> &'static str {
                match self { $($kind::$variant => $help,)* }
            }
        }
    };
}

metrics! {
    /// Only ever grows; reset to zero at a restart.
    pub enum Counter {
        Records = "millrace_records_total" ["stage", "topic", "outcome"]
            "Records a stage has handled, by outcome.",
        DeadLetters = "millrace_dead_letters_total" ["topic", "reason"]
            "Records that could not be used, by reason.",
        MembershipChanges = "millrace_membership_changes_total" ["segment", "status"]
            "Entries into and exits from audiences, committed.",
        SinkDeliveries = "millrace_sink_deliveries_total" ["destination", "outcome"]
            "Changes sent to a destination, by answer.",
        InvariantViolations = "millrace_invariant_violations_total" ["id"]
            "Broken promises of this program's own code. Anything but zero is a defect to report.",
        TransactionsAborted = "millrace_transactions_aborted_total" ["cause"]
            "Transactions aborted, by cause; each is followed by a recovery.",
        IdentityParked = "millrace_identity_parked_total" ["reason"]
            "Links set aside by a guardrail, by reason.",
        SlowSteps = "millrace_slow_steps_total" ["part"]
            "Steps that took longer than `loop.step_time_max`, by the part that took longest; the log says what each did.",
        RulesExhausted = "millrace_rules_exhausted_total" ["rule"]
            "Evaluations of a rule that needed more items than one may go through for a subject, and counted as false or null.",
        AmountsWithoutRate = "millrace_amounts_without_rate_total" ["currency"]
            "Amounts of records in a currency without a rate, which every rule sees as null.",
        SourceRecords = "millrace_source_records_total" ["source", "outcome"]
            "Records a source has read, by outcome: appended, or rejected by its mapping.",
        SourceRequests = "millrace_source_requests_total" ["source", "outcome"]
            "Calls a source has made, by outcome: ok, or the foreign system's own code.",
        CollectorEvents = "millrace_collector_events_total" ["source", "outcome"]
            "Events sent to the collector, by the source of their write key and outcome: accepted, or refused with a dead letter.",
        CollectorRequests = "millrace_collector_requests_total" ["status"]
            "Requests to the collector, by HTTP status.",
    }
}

metrics! {
    /// A current value.
    pub enum Gauge {
        ConsumerLag = "millrace_consumer_lag" ["topic", "partition"]
            "Committed records of an input partition not read yet.",
        AudienceSize = "millrace_audience_size" ["segment"]
            "Members of a segment on the shards of this process.",
        TimersDueLag = "millrace_timers_due_lag_seconds" []
            "How long the most overdue timer of this process has been due.",
        StateBytes = "millrace_state_bytes" ["store"]
            "Bytes a state store takes on disk, or in memory where it has no disk.",
        StateDiskFree = "millrace_state_disk_free_bytes" []
            "Bytes free on the disk of the state stores; below state.disk_free_min no input is taken.",
        LogDiskFree = "millrace_log_disk_free_bytes" ["path"]
            "Bytes free on the disk of the embedded log; below 32 MiB this process is not ready.",
        SinkBacklog = "millrace_sink_backlog" ["destination"]
            "Changes a destination has not acknowledged yet.",
        SourceLag = "millrace_source_lag_seconds" ["source"]
            "How far a source connector lags its system of record.",
        Shards = "millrace_shards" []
            "Shards of the whole deployment, running or not.",
        SourceQuotaLeft = "millrace_source_quota_left" ["source"]
            "Calls of the day that a source has left.",
        SourceQuotaResets = "millrace_source_quota_resets_timestamp_seconds" ["source"]
            "When a source's calls of the day reset, Unix time.",
        SourceLoad = "millrace_source_load_ratio" ["source"]
            "How much of its first load a source has read, 0 to 1.",
        ShardsOwned = "millrace_shards_owned" ["state"]
            "Shards this process owns, by state.",
        CollectorHeld = "millrace_collector_held_bytes" []
            "Bytes of requests that the collector holds until the log has their records.",
        BuildInfo = "millrace_build_info" ["version"]
            "Always 1; the version is in the label.",
        WorkInHand = "millrace_work_in_hand" ["shard"]
            "1 while a shard has work left over from what it has read (a long history on the move, members of a changed account, a backfill), else 0.",
    }
}

metrics! {
    /// How long, or how large, and how often.
    pub enum Histogram {
        Commit = "millrace_commit_seconds" []
            "From the first record of a transaction produced to its commit acknowledged.",
        EndToEnd = "millrace_end_to_end_seconds" []
            "From a source record's timestamp in the log to the membership record it caused being committed.",
        Restore = "millrace_restore_seconds" []
            "From taking a shard over to its first poll.",
        IdentityClusterSize = "millrace_identity_cluster_size" []
            "Identities of a cluster, observed whenever a cluster changes.",
        CollectorAppend = "millrace_collector_append_seconds" []
            "From a request's records queued by the collector to the log having them.",
    }
}

impl Histogram {
    /// Upper bounds, ascending; chosen so that the targets (p50 60 ms, p99 400 ms; recovery 5 s; 50
    /// and 1,000 identities) are bounds themselves.
    pub const fn buckets(self) -> &'static [f64] {
        match self {
            Histogram::Commit => &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0],
            Histogram::EndToEnd => &[0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.4, 0.6, 1.0, 2.0, 5.0, 15.0, 60.0],
            Histogram::Restore => &[0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1_800.0],
            Histogram::CollectorAppend => &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0],
            Histogram::IdentityClusterSize => &[1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0, 1_000.0],
        }
    }
}
