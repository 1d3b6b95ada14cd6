//! Every scenario tells the story that is kept beside it.
//!
//! `TANIST_BLESS=1 cargo test -p tanist-sim` writes the stories anew; read the difference.

use std::fs;
use std::path::PathBuf;

#[test]
fn every_scenario_tells_its_story() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut scripts: Vec<PathBuf> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|end| end == "txt"));
    scripts.sort();
    assert!(scripts.len() >= 10, "only {} scenarios", scripts.len());
    let mut differ = Vec::new();
    for script in scripts {
        let story = tanist_sim::scenario::tell(&fs::read_to_string(&script).unwrap()).unwrap();
        let told = story.lines.join("\n") + "\n";
        let kept = script.with_extension("out");
        if std::env::var_os("TANIST_BLESS").is_some() {
            fs::write(&kept, &told).unwrap();
        }
        if !story.fine || fs::read_to_string(&kept).unwrap_or_default() != told {
            differ.push(format!("{}:\n{told}", script.display()));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
