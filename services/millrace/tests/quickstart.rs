//! docs/quickstart.md, typed by a user in a hurry: a shell runs its commands as written, against a
//! process on the embedded log, which is then killed without warning and resumes where it was.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/place.rs"]
mod place;

use std::path::Path;

use place::{Place, printed};

/// The code blocks under the heading with this number.
fn blocks(number: u32) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/quickstart.md")).unwrap();
    let (_, section) = text.split_once(&format!("\n## {number}. ")).expect("the section is there");
    let section = section.split("\n## ").next().unwrap();
    section.split("\n```\n").skip(1).step_by(2).map(str::to_owned).collect()
}

/// The screens of section 4: the lines of its indented blocks.
fn screens() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/quickstart.md")).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("## 4. "))
        .take_while(|line| !line.starts_with("## 5. "))
        .collect();
    let screens = lines.split(|line| !line.starts_with("    ")).filter(|screen| !screen.is_empty());
    screens.map(|screen| screen.iter().map(|line| line.trim().to_owned()).collect()).collect()
}

#[test]
fn the_quickstart_does_what_it_says() {
    let mut place = Place::new();
    place.start();
    let said: Vec<String> = [2, 3, 4].iter().flat_map(|number| blocks(*number)).map(|block| place.shell(&block)).collect();
    assert_eq!(said.len(), 4, "{said:?}");
    place.until("p1 to be in", || !place.changes().is_empty());
    let p1 = place.changes()[0].0.clone();
    assert_eq!(place.changes(), [(p1.clone(), "realized".to_owned())]);
    let explained = place.shell("millrace person explain email:p1@townsend.com --segment upsell");
    assert!(
        explained.starts_with("b2b_person:1001@marketo1.Marketo is in upsell") && explained.contains("b2b_opportunity:006B@crm2.Salesforce"),
        "{explained}"
    );
    let [apart, linked]: [Vec<String>; 2] = screens().try_into().unwrap();
    assert!(linked.iter().all(|line| explained.contains(line)), "{linked:?}\n{explained}");
    assert!(place.shell("millrace segment list").contains("upsell"));
    assert!(place.shell("millrace person show email:p1@townsend.com").contains("1001@marketo1.Marketo"));

    // A file may hold several definitions, and begin with a separator.
    let one = "kind: Segment\nmetadata: { name: one }\nspec: { pql: b2b.isConverted }\n";
    std::fs::write(
        place.folder.path().join("two.yaml"),
        format!("# ours\n---\n{one}---\n{}", one.replace("one", "two")),
    )
    .unwrap();
    assert_eq!(place.shell("millrace segment apply two.yaml"), "one: applied\ntwo: applied\n");
    place.until("both to be in force", || place.shell("millrace segment list").contains("two "));

    let refused = place
        .command(Path::new(env!("CARGO_BIN_EXE_millrace")))
        .args(["segment", "delete", "nope"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", printed(&refused));
    assert!(printed(&refused).contains("there is no segment `nope`"), "{}", printed(&refused));
    // Logs to a file or a pipe have no colours.
    assert!(!std::fs::read_to_string(place.folder.path().join("run.log")).unwrap().contains('\u{1b}'));

    // Killed without warning: nothing is lost, nothing is repeated.
    place.kill();
    // Other numbers of partitions are for topics that do not exist yet.
    std::fs::write(place.folder.path().join("more.toml"), "[topics]\nsource_partitions = 7\n").unwrap();
    place.start_with(&["--config", "more.toml"]);
    assert_eq!(place.changes(), [(p1.clone(), "realized".to_owned())]);
    place.shell(r#"echo '{"topic":"account-link","key":"townsend@mdm.MDM","value":null}' | millrace source file"#);
    place.until("p1 to be out", || place.changes().len() > 1);
    assert_eq!(place.changes(), [(p1.clone(), "realized".to_owned()), (p1, "exited".to_owned())]);
    let explained = place.shell("millrace person explain email:p1@townsend.com --segment upsell");
    assert!(apart.iter().all(|line| explained.contains(line)), "{apart:?}\n{explained}");

    // Lines that are not records are reported, the others are accepted.
    let script = r#"printf '%s\n' '{"topic":"person","key":"2@m.M","value":{}}' 'no record' '{"topic":"persons","key":"k","value":{}}' | millrace source file"#;
    let output = place.command(Path::new("bash")).args(["-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(
        printed(&output).contains("line 2") && printed(&output).contains("line 3"),
        "{}",
        printed(&output)
    );
    let script = r#"echo '{"topic":"person","key":"3@m.M","value":{"isDeleted":"perhaps"}}' | millrace source file"#;
    let output = place.command(Path::new("bash")).args(["-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(printed(&output).contains("line 1: dead letter: wrong-type"), "{}", printed(&output));
    place.until("the dead letter", || place.shell("millrace dead-letter list").contains("wrong-type"));
}
