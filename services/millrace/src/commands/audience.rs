//! `audience import`: members of an external audience from a file.

use std::path::Path;

use anyhow::bail;
use millrace_api::dto::MemberLine;

use crate::commands::segment::read_text;
use crate::gateway::{self, told};
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::shown;

/// Brings in every line that is a member; names the others with their numbers, and fails at the end where there were any.
pub fn import(settings: &Settings, name: &str, file: &Path, replace: bool) -> anyhow::Result<()> {
    let text = read_text(file)?;
    let csv = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let members = if csv { of_csv(&text)? } else { of_json_lines(&text) };
    let (numbers, lines): (Vec<usize>, Vec<_>) = members.into_iter().unzip();
    let count = lines.len();
    let view = gateway::commands(settings)?.import(name, lines, replace).map_err(told)?;
    for rejected in &view.rejected {
        let at = usize::try_from(rejected.line).ok().and_then(|line| numbers.get(line.wrapping_sub(1))).copied();
        eprintln!("line {}: {}", at.unwrap_or_default(), rejected.reason);
    }
    shown::show(settings.output, &view, |view| {
        format!("{name}: {} members brought in, {} taken out\n", view.accepted, view.removed)
    })?;
    match view.rejected.len() {
        0 => Ok(()),
        rejected if replace => bail!("{rejected} of {count} lines are no members of `{name}`; nobody was replaced"),
        rejected => bail!("{rejected} of {count} lines are no members of `{name}`"),
    }
}

/// A line's number in the file, and the member it names or what is wrong with it.
type Line = (usize, Result<MemberLine, String>);

fn of_json_lines(text: &str) -> Vec<Line> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| (number, serde_json::from_str(line).map_err(|error| error.to_string())))
        .collect()
}

/// RFC 4180 with a head. Columns of other names are left aside.
fn of_csv(text: &str) -> anyhow::Result<Vec<Line>> {
    let mut rows = rows(text.trim_start_matches('\u{feff}')).into_iter();
    let (_, head) = rows.next().unwrap_or_default();
    let column = |name: &str| head.iter().position(|cell| cell.trim() == name);
    let (member, namespace, id, until) = (column("member"), column("namespace"), column("id"), column("validUntil"));
    if member.is_none() && (namespace.is_none() || id.is_none()) {
        let found = head.join(", ");
        return Err(Refusal(format!(
            "the first line names the columns: `member`, or `namespace` and `id`, and `validUntil` if wanted; found `{found}`"
        ))
        .into());
    }
    let read = |row: Vec<String>| {
        let cell = |column: Option<usize>| column.and_then(|column| row.get(column)).map_or("", |cell| cell.trim());
        let member = match member {
            Some(_) => cell(member).to_owned(),
            None => format!("{}:{}", cell(namespace), cell(id)),
        };
        let until = cell(until);
        Ok(MemberLine {
            member,
            valid_until: (!until.is_empty()).then(|| until.to_owned()),
        })
    };
    Ok(rows.map(|(number, row)| (number, read(row))).collect())
}

/// The cells of each row that is not blank, with the number of its first line.
fn rows(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut rows = Vec::new();
    let (mut row, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let (mut line, mut begun) = (1, 1);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        line += usize::from(letter == '\n');
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => cell.extend(letters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted && letters.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push((begun, std::mem::take(&mut row)));
                begun = line;
            }
            other => cell.push(other),
        }
    }
    row.push(cell);
    rows.push((begun, row));
    rows.retain(|(_, row)| row.iter().any(|cell| !cell.trim().is_empty()));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(lines: Vec<Line>) -> Vec<String> {
        let show = |(number, line): Line| match line {
            Ok(line) => format!("{number} {} {}", line.member, line.valid_until.unwrap_or_default()),
            Err(_) => format!("{number} refused"),
        };
        lines.into_iter().map(show).collect()
    }

    #[test]
    fn both_forms_of_file() {
        let lines = "{\"member\":\"email:a@b.c\",\"validUntil\":\"2026-12-31\"}\n\n{\"colour\":1}\n";
        assert_eq!(shown(of_json_lines(lines)), ["1 email:a@b.c 2026-12-31", "3 refused"]);
        let table: [(&str, &[&str]); 4] = [
            (
                "member,validUntil\nemail:a@b.c,2026-12-31\n\necid:1,\n",
                &["2 email:a@b.c 2026-12-31", "4 ecid:1 "],
            ),
            (
                "\u{feff}name,id,namespace\r\n\"Ann, \"\"A\"\"\nMiller\",a@b.c,email\r\nBob,1,ecid",
                &["2 email:a@b.c ", "4 ecid:1 "],
            ),
            ("member\n", &[]),
            ("member,x\n,y\n", &["2  "]),
        ];
        for (text, expected) in table {
            assert_eq!(shown(of_csv(text).unwrap()), expected, "{text}");
        }
        for text in ["", "e-mail\na@b.c\n", "id\n1\n"] {
            assert!(of_csv(text).is_err(), "{text}");
        }
    }
}
