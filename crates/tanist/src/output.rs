//! Printing, for people first and for programs when asked.
//!
//! Invariant: with `-o json` stdout holds JSON and nothing else; what is for people then goes to
//! stderr or nowhere.
//!
//! Not here: what is printed.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::cli::Format;
use crate::failure::Failure;

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
    color: bool,
}

/// Colours, by meaning.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Paint {
    Good,
    Bad,
    Warn,
    Dim,
    Bold,
}

impl Output {
    pub(crate) fn new(format: Format, no_color: bool) -> Self {
        Self { format, color: !no_color && std::io::stdout().is_terminal() }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A line for people; to stderr when stdout is for programs.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        // A closed pipe (`| head`) is no reason to fail.
        if self.is_json() {
            let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
        } else {
            let _ = writeln!(std::io::stdout().lock(), "{}", text.as_ref());
        }
    }

    /// Text for people without a line's end.
    pub(crate) fn part(&self, text: &str) {
        if !self.is_json() {
            let mut out = std::io::stdout().lock();
            let _ = write!(out, "{text}");
            let _ = out.flush();
        }
    }

    /// A document for programs.
    pub(crate) fn json<T: Serialize>(&self, body: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(body)
            .map_err(|err| Failure::caused("T603", &err, "report this as a fault of Tanist"))?;
        let _ = writeln!(std::io::stdout().lock(), "{text}");
        Ok(())
    }

    /// A document for programs on one line, for streams.
    pub(crate) fn json_line<T: Serialize>(&self, body: &T) -> Result<(), Failure> {
        let text = serde_json::to_string(body)
            .map_err(|err| Failure::caused("T603", &err, "report this as a fault of Tanist"))?;
        let _ = writeln!(std::io::stdout().lock(), "{text}");
        Ok(())
    }

    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.color || self.is_json() {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Warn => "33",
            Paint::Dim => "2",
            Paint::Bold => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        let mut err = std::io::stderr().lock();
        if self.is_json() {
            let body = serde_json::json!({
                "error": { "code": failure.code, "message": failure.message, "remedy": failure.remedy }
            });
            let _ = writeln!(err, "{body}");
            return;
        }
        let _ = writeln!(err, "error[{}]: {}", failure.code, failure.message);
        if !failure.remedy.is_empty() {
            let _ = writeln!(err, "  what to do: {}", failure.remedy);
        }
    }
}
