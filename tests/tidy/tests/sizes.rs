//! Level 0: files and functions do not grow beyond what a reader holds in the head.
//!
//! What is larger stands in `sizes.txt` with its size of today: it may not grow, and a smaller size is recorded, so that it cannot grow back.
//! `UPDATE_EXPECT=1 cargo test -p millrace-test-tidy --test sizes` records; the difference shows what grew.

use std::collections::BTreeMap;
use std::path::Path;

use expect_test::expect_file;
use millrace_test_tidy::{files, root, text};
use syn::visit::Visit;

/// Lines a file may have without an entry.
const FILE_LINES_MAX: usize = 500;

/// Lines a function may have without an entry, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 60;

/// Every function of a file with its lines; of several with one name, the longest counts.
#[derive(Default)]
struct Functions {
    /// The type whose methods are visited.
    owner: Vec<String>,
    lines: BTreeMap<String, usize>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let lines = body.brace_token.span.close().end().line + 1 - signature.fn_token.span.start().line;
        let name = match self.owner.last() {
            Some(owner) => format!("{owner}::{}", signature.ident),
            None => signature.ident.to_string(),
        };
        let longest = self.lines.entry(name).or_default();
        *longest = lines.max(*longest);
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.add(&item.sig, body);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let name = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        self.owner.push(name.unwrap_or_default());
        syn::visit::visit_item_impl(self, item);
        self.owner.pop();
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.owner.push(item.ident.to_string());
        syn::visit::visit_item_trait(self, item);
        self.owner.pop();
    }
}

/// One line for everything above its limit: lines, then `path` or `path name`.
fn large(path: &Path) -> Vec<String> {
    let text = text(path);
    let shown = path.strip_prefix(root()).unwrap_or(path).display().to_string();
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!("{lines} {shown}"));
    }
    let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let mut functions = Functions::default();
    functions.visit_file(&parsed);
    let long = functions.lines.into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
    found.extend(long.map(|(name, lines)| format!("{lines} {shown} {name}")));
    found
}

#[test]
fn nothing_large_grows_and_nothing_becomes_large() {
    let mut found = String::from(
        "Files over 500 lines and functions over 60, with their lines of today. Split what would grow; \
         `UPDATE_EXPECT=1 cargo test -p millrace-test-tidy --test sizes` records what shrank or moved.\n",
    );
    for folder in ["crates", "services", "tests", "examples"] {
        for line in files(&root().join(folder), "rs").iter().flat_map(|path| large(path)) {
            found.push_str(&line);
            found.push('\n');
        }
    }
    expect_file!["../sizes.txt"].assert_eq(&found);
}
