//! Figures and their layout.

use std::fmt::Write;

use serde::Serialize;

/// One measured number.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    pub scenario: &'static str,
    pub name: &'static str,
    pub value: f64,
    pub unit: &'static str,
    /// The target of the design, at a million persons on two cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<&'static str>,
    /// The machine's load average when it was measured.
    pub load: f64,
}

/// The measurements and their conditions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub log: &'static str,
    pub persons: u32,
    pub shards: u32,
    pub processors: usize,
    pub figures: Vec<Figure>,
}

/// A table for people.
pub fn table(report: &Report) -> String {
    let mut out = format!(
        "{} log, {} persons, {} shards, {} processors\n\n",
        report.log, report.persons, report.shards, report.processors
    );
    let rows: Vec<[String; 5]> = report.figures.iter().map(row).collect();
    let header = ["scenario", "figure", "value", "target", "load"].map(str::to_owned);
    let width = |column: usize| rows.iter().chain([&header]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    for [scenario, name, value, target, load] in [&header].into_iter().chain(&rows) {
        let [first, second, third, fourth, fifth] = widths;
        let line = format!("{scenario:first$}  {name:second$}  {value:>third$}  {target:fourth$}  {load:>fifth$}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn row(figure: &Figure) -> [String; 5] {
    let value = match figure.value {
        value if value.fract() == 0.0 || value.abs() >= 1_000.0 => format!("{value:.0}"),
        value if value.abs() >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    };
    [
        figure.scenario.to_owned(),
        figure.name.to_owned(),
        format!("{value} {}", figure.unit).trim().to_owned(),
        figure.target.unwrap_or_default().to_owned(),
        format!("{:.1}", figure.load),
    ]
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn figures_stand_in_columns() {
        let figure = |name, value, unit, target| Figure {
            scenario: "visits",
            name,
            value,
            unit,
            target,
            load: 1.5,
        };
        let report = Report {
            log: "embedded",
            persons: 10,
            shards: 4,
            processors: 2,
            figures: vec![
                figure("throughput", 12_345.678, "/s", Some("≥ 20,000 /s")),
                figure("latency p50", 12.345, "ms", None),
                figure("messages", 0.0, "", Some("0")),
            ],
        };
        expect![[r#"
            embedded log, 10 persons, 4 shards, 2 processors

            scenario  figure          value  target       load
            visits    throughput   12346 /s  ≥ 20,000 /s   1.5
            visits    latency p50   12.3 ms                1.5
            visits    messages            0  0             1.5
        "#]]
        .assert_eq(&table(&report));
    }
}
