//! `audience import`: members of an external audience from a file.

use std::path::Path;

use anyhow::bail;
use millrace_api::backend::Replace;
use millrace_api::dto::MemberLine;
use millrace_model::json::unreadable;

use crate::csv::{self, Row};
use crate::files::{self, Lines, read_bytes};
use crate::gateway::{self, failure};
use crate::progress::Progress;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::shown::{self, counted};

/// Imports every line that is a member; reports the others with their numbers, and fails at the end
/// if there were any.
pub fn import(settings: &Settings, name: &str, file: &Path, replace: Replace) -> anyhow::Result<()> {
    let bytes = read_bytes(file)?;
    let csv = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let read = if csv {
        of_csv(&bytes)
    } else {
        of_json_lines(&bytes).map(|members| (members, Vec::new()))
    };
    let (members, aside) = read.map_err(|error| Refusal(format!("{}: {error:#}", files::name(file))))?;
    let (numbers, lines): (Vec<u64>, Vec<_>) = members.into_iter().unzip();
    let count = lines.len() as u64;
    let what = format!("importing {}", counted(count, "line"));
    let progress = Progress::begin(move || what.clone());
    let view = gateway::commands(settings)?.import(name, lines, replace).map_err(failure)?;
    progress.end();
    if !aside.is_empty() {
        shown::note(&format!("columns left aside: {}", aside.join(", ")));
    }
    for rejected in &view.rejected {
        let at = usize::try_from(rejected.line).ok().and_then(|line| numbers.get(line.wrapping_sub(1))).copied();
        shown::note(&format!("line {}: {}", at.unwrap_or_default(), rejected.reason));
    }
    shown::show(settings.output, &view, |view| {
        format!(
            "{name}: {} brought in, {} taken out\n",
            counted(view.accepted, "member"),
            counted(view.removed, "member")
        )
    })?;
    let verb = if view.rejected.len() == 1 { "names" } else { "name" };
    match view.rejected.len() {
        0 => Ok(()),
        rejected if replace != Replace::Nobody => {
            bail!("{rejected} of {} {verb} no member of `{name}`; nobody was replaced", counted(count, "line"))
        }
        rejected => bail!("{rejected} of {} {verb} no member of `{name}`", counted(count, "line")),
    }
}

/// A line's number in the file, and the member it names or its error.
type Line = (u64, Result<MemberLine, String>);

fn of_json_lines(bytes: &[u8]) -> anyhow::Result<Vec<Line>> {
    let mut members = Vec::new();
    for line in Lines::new(bytes) {
        let (number, line) = line?;
        if line.as_ref().is_ok_and(|line| line.trim().is_empty()) {
            continue;
        }
        members.push((number, line.and_then(|line| serde_json::from_str(&line).map_err(|error| unreadable(&error)))));
    }
    Ok(members)
}

/// The columns that are read.
const COLUMNS: [&str; 4] = ["member", "namespace", "id", "validUntil"];

/// Where a table's head has them.
struct Columns {
    member: Option<usize>,
    namespace: Option<usize>,
    id: Option<usize>,
    until: Option<usize>,
}

impl Columns {
    /// # Errors
    /// Where nothing names the members, more than one column does, or a column is nearly called as one that is read: its cells would be lost.
    fn of(head: &[String]) -> anyhow::Result<Columns> {
        let [member, namespace, id, until] = COLUMNS.map(|name| place(head, name));
        let columns = Columns {
            member: member?,
            namespace: namespace?,
            id: id?,
            until: until?,
        };
        let in_parts = columns.namespace.is_some() && columns.id.is_some();
        for cell in head.iter().map(|cell| cell.trim()) {
            let meant = COLUMNS.into_iter().find(|name| *name != cell && letters(name) == letters(cell));
            let read = |name: &&str| columns.member.is_none() || !matches!(*name, "namespace" | "id");
            if let Some(name) = meant.filter(read) {
                bail!("the first line names a column `{cell}`; it is called `{name}`");
            }
        }
        match (columns.member.is_some(), in_parts) {
            (true, true) => bail!("the first line names `member`, and `namespace` and `id` as well; members stand in the one or in the others"),
            (false, false) => bail!(
                "the first line names the columns: `member`, or `namespace` and `id`, and `validUntil` if wanted; found `{}`",
                head.join(", ")
            ),
            (true, false) | (false, true) => Ok(columns),
        }
    }

    /// Names of those that are not read.
    fn aside(&self, head: &[String]) -> Vec<String> {
        let parts = if self.member.is_some() { [None, None] } else { [self.namespace, self.id] };
        let read = [[self.member, self.until], parts].concat();
        let named = head
            .iter()
            .enumerate()
            .filter(|(at, cell)| !read.contains(&Some(*at)) && !cell.trim().is_empty());
        named.map(|(_, cell)| cell.trim().to_owned()).collect()
    }
}

/// The place of a column that may be there once.
fn place(head: &[String], name: &str) -> anyhow::Result<Option<usize>> {
    let mut places = head.iter().enumerate().filter(|(_, cell)| cell.trim() == name).map(|(at, _)| at);
    let first = places.next();
    if places.next().is_some() {
        bail!("the first line names the column `{name}` twice");
    }
    Ok(first)
}

/// What names have in common however they are spelt: `valid_until` and `validUntil`.
fn letters(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The members of a table with a head, and the names of the columns that are left aside.
fn of_csv(bytes: &[u8]) -> anyhow::Result<(Vec<Line>, Vec<String>)> {
    let mut rows = csv::rows(bytes)?.into_iter();
    let head = match rows.next() {
        None => Vec::new(),
        Some(Row { cells: Ok(cells), .. }) => cells,
        Some(Row { cells: Err(reason), line }) => bail!("line {line}: {reason}"),
    };
    let columns = Columns::of(&head)?;
    let aside = columns.aside(&head);
    let read = |cells: Vec<String>| {
        if cells.len() != head.len() {
            return Err(format!("{}, where the head names {}", counted(cells.len() as u64, "cell"), head.len()));
        }
        let cell = |column: Option<usize>| column.and_then(|column| cells.get(column)).map_or("", |cell| cell.trim());
        let member = match columns.member {
            Some(_) => cell(columns.member).to_owned(),
            None => format!("{}:{}", cell(columns.namespace), cell(columns.id)),
        };
        if member.contains('\n') {
            return Err("an identity over several lines: a quotation mark is probably missing".to_owned());
        }
        let until = cell(columns.until);
        Ok(MemberLine {
            member,
            valid_until: (!until.is_empty()).then(|| until.to_owned()),
        })
    };
    Ok((rows.map(|row| (row.line, row.cells.and_then(read))).collect(), aside))
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
        let lines = b"\xEF\xBB\xBF{\"member\":\"email:a@b.c\",\"validUntil\":\"2026-12-31\"}\r\n\r\n{\"colour\":1}\n\xFF\n{\"member\":\"ecid:1\"}\n";
        assert_eq!(
            shown(of_json_lines(lines).unwrap()),
            ["1 email:a@b.c 2026-12-31", "3 refused", "4 refused", "5 ecid:1 "]
        );
        let table: [(&[u8], &[&str]); 9] = [
            (
                b"member,validUntil\nemail:a@b.c,2026-12-31\n\necid:1,\n",
                &["2 email:a@b.c 2026-12-31", "4 ecid:1 "],
            ),
            (
                b"\xEF\xBB\xBFname,id,namespace\r\n\"Ann, \"\"A\"\"\nMiller\",a@b.c,email\r\nBob,1,ecid",
                &["2 email:a@b.c ", "4 ecid:1 "],
            ),
            (b"member\n", &[]),
            (b"member,x\n,y\n", &["2  "]),
            // An unclosed quotation mark affects only its own line.
            (
                b"name,member\n\"Ann,email:a@b.c\nBob,email:b@b.c\nCem,email:c@b.c\n",
                &["2 refused", "3 email:b@b.c ", "4 email:c@b.c "],
            ),
            // One that the next quoted cell seems to close.
            (b"name,member\n\"Ann,email:a@b.c\n\"Bob\",email:b@b.c\n", &["2 refused", "3 email:b@b.c "]),
            (
                b"member,x\nemail:a@b.c\nemail:b@b.c,1,2\nemail:c@b.c,1\n",
                &["2 refused", "3 refused", "4 email:c@b.c "],
            ),
            (
                b"member\nemail:a@b.c\nemail:\xFF@b.c\nemail:c@b.c\n",
                &["2 email:a@b.c ", "3 refused", "4 email:c@b.c "],
            ),
            (b"member\n\"email:a@b.c\nemail:b@b.c\"\n", &["2 refused"]),
        ];
        for (text, expected) in table {
            assert_eq!(shown(of_csv(text).unwrap().0), expected, "{}", String::from_utf8_lossy(text));
        }
        for text in ["", "e-mail\na@b.c\n", "id\n1\n", "\"member\na@b.c\n"] {
            assert!(of_csv(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn no_column_is_lost_in_silence() {
        let found = |head: &str| match of_csv(head.as_bytes()) {
            Ok((_, aside)) => format!("aside: {}", aside.join(", ")),
            Err(error) => error.to_string(),
        };
        for (head, expected) in [
            ("member,validUntil", "aside: "),
            ("name, member ,id,", "aside: name, id"),
            ("member,ID,Namespace", "aside: ID, Namespace"),
            ("id,namespace,validTo", "aside: validTo"),
            ("member,member", "the first line names the column `member` twice"),
            ("member,validUntil, validUntil", "the first line names the column `validUntil` twice"),
            ("id,id,namespace", "the first line names the column `id` twice"),
            ("member,validuntil", "the first line names a column `validuntil`; it is called `validUntil`"),
            ("member,valid_until", "the first line names a column `valid_until`; it is called `validUntil`"),
            ("member,Member", "the first line names a column `Member`; it is called `member`"),
            ("id,NameSpace", "the first line names a column `NameSpace`; it is called `namespace`"),
            (
                "member,namespace,id",
                "the first line names `member`, and `namespace` and `id` as well; members stand in the one or in the others",
            ),
        ] {
            assert_eq!(found(head), expected, "{head}");
        }
    }
}
