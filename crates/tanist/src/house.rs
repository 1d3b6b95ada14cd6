//! How the installation's own programs log in at an endpoint whose clients have to.
//!
//! The password follows from the installation's secret, which only its owner can read; so whoever may
//! run `tanist cli` or a drill needs no token of the application's.
//!
//! Invariant: the password is handed over in a message or in the environment, never in arguments.
//!
//! Not here: who clients may be (`tanist-proxy`).

use std::fmt;

use tanist_core::model::GroupName;
use tanist_link::Secret;
use tanist_link::api::LoginStatus;
use tanist_link::wire::{HOUSE_USER, house_label};
use tanist_resp::Command;

use crate::failure::Failure;
use crate::layout::Layout;

/// A name and a password.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) password: String,
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("House(..)")
    }
}

impl House {
    /// The name.
    pub(crate) const USER: &str = HOUSE_USER;

    /// The request that says who we are.
    pub(crate) fn auth(&self) -> Command {
        Command::new("AUTH").arg(Self::USER).arg(&self.password)
    }
}

/// What a group's endpoints have to be told; nothing if everybody is let in.
pub(crate) fn of(
    layout: &Layout,
    group: &GroupName,
    login: &LoginStatus,
) -> Result<Option<House>, Failure> {
    if !login.required {
        return Ok(None);
    }
    let secret = Secret::load_or_create(&layout.secret())
        .map_err(|err| Failure::caused("T612", &err, "restore the secret file from a copy"))?;
    Ok(Some(House { password: secret.password(&house_label(group)) }))
}
