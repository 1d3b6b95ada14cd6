//! `tanist env`: what another terminal needs to talk to this installation.
//!
//! Invariant: its output is a shell script that only sets variables.
//!
//! Not here: credentials; there are none on one host's own socket.

use crate::layout::Layout;
use crate::output::Output;
use crate::{Done, Outcome};

/// Prints the variables.
pub(crate) fn env(layout: &Layout, output: &Output) -> Outcome {
    let dir = layout.root().to_string_lossy().into_owned();
    if output.is_json() {
        output.json(&serde_json::json!({ "TANIST_DATA_DIR": dir }))?;
    } else {
        output.line(format!("export TANIST_DATA_DIR={}", quoted(&dir)));
    }
    Ok(Done::Well)
}

/// A word that a POSIX shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_quotes_stays_one_word() {
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
