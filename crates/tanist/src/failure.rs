//! What went wrong, as the person at the terminal sees it.
//!
//! Invariant: every failure has a stable code, says why, and names what to do now.
//!
//! Not here: the API's own errors, which arrive in this form already.

use std::error::Error;

use tanist_link::LinkError;
use tanist_link::api::ApiError;

/// A failure with its exit code.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) remedy: String,
    pub(crate) exit: u8,
}

impl Failure {
    /// A failure of the command itself (exit 1).
    pub(crate) fn new(code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), remedy: remedy.into(), exit: 1 }
    }

    /// The same with another exit code.
    pub(crate) fn exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// A failure with an error's whole chain of causes.
    pub(crate) fn caused(code: &str, err: &dyn Error, remedy: impl Into<String>) -> Self {
        Self::new(code, chain(err), remedy)
    }
}

/// An error and everything that caused it, in one line.
pub(crate) fn chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

impl From<ApiError> for Failure {
    fn from(err: ApiError) -> Self {
        let exit = if err.code.starts_with("T2") { 5 } else { 1 };
        Self { code: err.code, message: err.message, remedy: err.remedy, exit }
    }
}

impl From<LinkError> for Failure {
    fn from(err: LinkError) -> Self {
        match err {
            LinkError::Refused(err) => err.into(),
            err if err.is_unreachable() => {
                let remedy = "start it: tanist dev --data-dir DIR, on a fleet tanist server (or point --data-dir at the \
                     right one)";
                Self::caused("T601", &err, remedy).exit(4)
            }
            err => Self::caused("T602", &err, "the two sides may be of different releases"),
        }
    }
}
