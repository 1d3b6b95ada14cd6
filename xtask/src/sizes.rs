//! How long a file and a function may be.
//!
//! A function that fits on a screen is read whole, and a file with one subject is found by name. The
//! limits bind before the habit of splitting is lost.
//!
//! Invariant: lines are counted as an editor counts them, comments and tests included.
//! Not here: where a function begins and ends (`scan`).

use crate::repo::{Repo, Violation};
use crate::scan;

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;

pub(crate) fn check(repo: &Repo) -> Vec<Violation> {
    let mut found = Vec::new();
    for (file, rust) in repo.rust().filter(|(file, _)| !file.generated()) {
        let lines = file.text.lines().count();
        if lines > FILE_LINES {
            let what = format!("the file has {lines} lines, more than {FILE_LINES}");
            found.push(Violation::new(&file.path, lines, what, "split it by subject"));
        }
        for function in scan::functions(&rust.code.join("\n")) {
            if function.lines > FUNCTION_LINES {
                let what = format!(
                    "`{}` has {} lines, more than {FUNCTION_LINES}",
                    function.name, function.lines
                );
                let fix = "give its parts names";
                found.push(Violation::new(&file.path, function.line, what, fix));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::File;

    fn found(path: &str, text: &str) -> Vec<usize> {
        let repo = Repo::new(vec![File::new(path, text)], Vec::new());
        check(&repo).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_file_may_have_six_hundred_lines() {
        assert_eq!(found("a.rs", &"//\n".repeat(600)), [0_usize; 0]);
        assert_eq!(found("a.rs", &"//\n".repeat(601)), [601]);
        assert_eq!(found("x/generated/a.rs", &"//\n".repeat(601)), [0_usize; 0]);
        assert_eq!(found("a.md", &"//\n".repeat(601)), [0_usize; 0]);
    }

    #[test]
    fn a_function_may_have_seventy_lines() {
        let function = |body: usize| format!("\nfn f() {{\n{}}}\n", "    g(\"{\");\n".repeat(body));
        assert_eq!(found("a.rs", &function(68)), [0_usize; 0]);
        assert_eq!(found("a.rs", &function(69)), [2]);
        assert_eq!(found("x/generated/a.rs", &function(69)), [0_usize; 0]);
    }
}
