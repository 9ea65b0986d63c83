//! The configuration files of a test broker.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

/// The broker's configuration, within its folder.
pub const SERVER: &str = "server.properties";

/// Its log.
pub const LOG4J: &str = "log4j2.properties";

/// Any 16 bytes in base64.
pub const CLUSTER: &str = "bWlsbHJhY2UtdGVzdHMAAA";

const LOGGING: &str = "status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1}: %m%n%throwable
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
";

pub fn write(folder: &Path, port: u16, controller_port: u16, further: &[(&str, &str)]) -> io::Result<()> {
    fs::write(folder.join(LOG4J), LOGGING)?;
    let mut text = String::new();
    let listener = format!("PLAINTEXT://127.0.0.1:{port}");
    let settings = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.quorum.voters", &format!("1@127.0.0.1:{controller_port}")),
        ("listeners", &format!("{listener},CONTROLLER://127.0.0.1:{controller_port}")),
        ("advertised.listeners", &listener),
        ("controller.listener.names", "CONTROLLER"),
        ("log.dirs", &folder.join("data").display().to_string()),
        // A misspelt topic is an error.
        ("auto.create.topics.enable", "false"),
        // One node.
        ("default.replication.factor", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        // Few files, so that a start and the first use of a coordinator are quick.
        ("offsets.topic.num.partitions", "3"),
        ("transaction.state.log.num.partitions", "3"),
        ("share.coordinator.state.topic.num.partitions", "1"),
        ("log.cleaner.dedupe.buffer.size", "4194304"),
        // Groups form at once, and members may be short-lived.
        ("group.initial.rebalance.delay.ms", "0"),
        ("group.min.session.timeout.ms", "500"),
        // Abandoned transactions are looked for often.
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500"),
    ];
    for (key, value) in settings.iter().chain(further) {
        // Of repeated keys the last counts.
        writeln!(text, "{key}={value}").map_err(io::Error::other)?;
    }
    fs::write(folder.join(SERVER), text)
}
