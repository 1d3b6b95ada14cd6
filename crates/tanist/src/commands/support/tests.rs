//! Claims about what comes into a bundle.
//!
//! Invariant: whatever is not meant to be in it is beside something that is.
//!
//! Not here: a bundle of a real installation (`tests/`).

use super::*;

#[test]
fn only_the_last_whole_lines_of_a_log_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dev.log");
    std::fs::write(&path, "short\n").unwrap();
    assert_eq!(tail(&path).unwrap(), "short\n");
    let line = format!("{}\n", "x".repeat(999));
    std::fs::write(&path, line.repeat(1000)).unwrap();
    let text = tail(&path).unwrap();
    assert!(text.len() as u64 <= LOG_TAIL && text.len().is_multiple_of(1000), "{}", text.len());
}

#[test]
fn logs_of_roles_and_engines_are_found_and_nothing_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("hosts/h1/nodes/web-001");
    std::fs::create_dir_all(node.join("data")).unwrap();
    for (path, text) in [
        (dir.path().join("dev.log"), "of dev\n"),
        (dir.path().join("secret"), "never\n"),
        (node.join("engine.log"), "of the engine\n"),
        (node.join("node.conf"), "never\n"),
        (node.join("data/users.acl"), "never\n"),
    ] {
        std::fs::write(path, text).unwrap();
    }
    let layout = Layout::new(Some(dir.path().to_owned())).unwrap();
    let found = logs(&layout);
    let names: Vec<&str> = found.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["logs/dev.log", "logs/hosts/h1/nodes/web-001/engine.log"]);
}

#[test]
fn what_people_wrote_onto_groups_is_left_out() {
    let mut status = serde_json::json!({"groups": [{"name": "web", "attributes": {"aws": "x"}}]});
    assert_eq!(group_names(&status), ["web"]);
    let nowhere = Layout::new(Some("/nowhere".into())).unwrap();
    scrub_texts(&mut status, &Scrub::new(&nowhere));
    assert_eq!(status, serde_json::json!({"groups": [{"name": "web"}]}));
}
