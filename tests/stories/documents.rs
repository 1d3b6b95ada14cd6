//! The documents say what the program does.
//!
//! Invariant: a word that the program shows has its heading, and none is left over.
//!
//! Not here: prose.

use std::collections::BTreeSet;

use tanist_core::decide::RULES;
use tanist_core::model::ProblemKind;

fn document(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

#[test]
fn every_problem_has_its_heading_and_its_row() {
    let text = document("docs/failure-modes.md");
    let headings: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let kinds: BTreeSet<&str> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
    let missing: Vec<_> = kinds.difference(&headings).collect();
    assert!(missing.is_empty(), "without a heading: {missing:?}");
    let extra: Vec<_> = headings.difference(&kinds).filter(|name| !name.contains(' ')).collect();
    assert!(extra.is_empty(), "headings of nothing: {extra:?}");
    let rows: Vec<_> = RULES.iter().map(|rule| rule.kind).collect();
    assert_eq!(rows, ProblemKind::ALL, "the table's rows");
}

/// What a line of a document tells the reader to type after the program's name.
fn typed(line: &str) -> Option<&str> {
    line.split("/release/tanist ").nth(1).or_else(|| line.strip_prefix("$ tanist "))
}

#[test]
fn every_command_of_the_documents_exists() {
    let text = document("README.md") + &document("docs/how-to.md");
    let help = tanist_lab::Installation::empty().tanist(&["--help"]).ok();
    let mut seen = 0;
    for line in text.lines().filter_map(typed) {
        let command = line.split([' ', ')']).next().unwrap_or_default();
        assert!(help.contains(&format!("\n  {command} ")), "{command:?} is not in:\n{help}");
        seen += 1;
    }
    assert!(seen >= 12, "too few commands were found in the documents: {seen}");
}
