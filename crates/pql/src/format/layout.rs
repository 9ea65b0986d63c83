//! Text with places where a line may break, and the choice of those that must.
//!
//! A group is printed on one line if it fits; otherwise all its own breaks become line ends, and
//! its inner groups are tried again. The test looks ahead no further than the width of a line, so
//! that printing is linear.

use std::borrow::Cow;

/// Columns a line should not exceed.
const WIDTH: usize = 100;
/// Columns by which an indented part moves.
const INDENT: usize = 4;
/// Deeper parts are not indented further, or deep rules would be mostly blanks.
const INDENT_MAX: usize = 60;

/// A text to be laid out.
#[derive(Debug)]
pub(super) enum Layout {
    Text(Cow<'static, str>),
    /// A line end, or a blank on one line.
    Line,
    /// A line end, or nothing on one line.
    Break,
    Concat(Vec<Layout>),
    /// Breaks all or none of the breaks that are its own.
    Group(Vec<Layout>),
    Indent(Vec<Layout>),
}

pub(super) fn text(text: impl Into<Cow<'static, str>>) -> Layout {
    Layout::Text(text.into())
}

impl Layout {
    /// The text, without a line end at its end.
    pub(super) fn print(&self) -> String {
        let mut out = String::new();
        let mut column = 0;
        let mut stack = vec![Part {
            layout: self,
            indent: 0,
            flat: false,
        }];
        while let Some(part) = stack.pop() {
            match part.layout {
                Layout::Text(text) => {
                    out.push_str(text);
                    column += text.chars().count();
                }
                Layout::Line if part.flat => {
                    out.push(' ');
                    column += 1;
                }
                Layout::Break if part.flat => {}
                Layout::Line | Layout::Break => {
                    out.truncate(out.trim_end_matches(' ').len());
                    out.push('\n');
                    out.extend(std::iter::repeat_n(' ', part.indent));
                    column = part.indent;
                }
                Layout::Concat(parts) => stack.extend(parts.iter().rev().map(|layout| Part { layout, ..part })),
                Layout::Indent(parts) => stack.extend(parts.iter().rev().map(|layout| Part {
                    layout,
                    indent: (part.indent + INDENT).min(INDENT_MAX),
                    ..part
                })),
                Layout::Group(parts) => {
                    let flat = part.flat || fits(parts, &stack, WIDTH.saturating_sub(column));
                    stack.extend(parts.iter().rev().map(|layout| Part { layout, flat, ..part }));
                }
            }
        }
        out
    }
}

#[derive(Clone, Copy)]
struct Part<'l> {
    layout: &'l Layout,
    indent: usize,
    flat: bool,
}

/// Whether the parts, on one line, and what follows them up to the next line end, fit into `room`.
fn fits(parts: &[Layout], rest: &[Part<'_>], mut room: usize) -> bool {
    let mut ahead: Vec<(&Layout, bool)> = parts.iter().rev().map(|layout| (layout, true)).collect();
    let mut rest = rest.iter().rev();
    loop {
        let Some((layout, flat)) = ahead.pop().or_else(|| rest.next().map(|part| (part.layout, part.flat))) else {
            return true;
        };
        match layout {
            Layout::Text(text) => match room.checked_sub(text.chars().take(room + 1).count()) {
                Some(left) => room = left,
                None => return false,
            },
            Layout::Line | Layout::Break if !flat => return true,
            Layout::Line => match room.checked_sub(1) {
                Some(left) => room = left,
                None => return false,
            },
            Layout::Break => {}
            Layout::Concat(parts) | Layout::Indent(parts) => ahead.extend(parts.iter().rev().map(|layout| (layout, flat))),
            // The text after it may break if necessary.
            Layout::Group(parts) => ahead.extend(parts.iter().rev().map(|layout| (layout, flat))),
        }
    }
}
