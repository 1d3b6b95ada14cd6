//! How bytes travel between clients and a group's endpoints.
//!
//! Two questions, asked for each group: whether a connection is encrypted, and whether a client shows
//! a certificate. Engines never see either; the endpoints answer them.
//!
//! Invariant: what is left out is off, so that a group of an earlier release stays as it was.
//!
//! Not here: certificates (`tanist-tls`), handshakes (`tanist-proxy`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransitMode {
    /// None is.
    #[default]
    Off,
    /// Those are whose client begins with a TLS handshake; the port is the same.
    Preferred,
    /// All are; others are closed.
    Required,
}

impl TransitMode {
    /// Whether TLS is spoken at all.
    #[must_use]
    pub fn is_on(self) -> bool {
        self != Self::Off
    }
}

impl fmt::Display for TransitMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Preferred => "preferred",
            Self::Required => "required",
        })
    }
}

/// Whether clients show certificates of the installation's authority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// None is asked for.
    #[default]
    Off,
    /// One that is shown has to be good.
    Optional,
    /// Nobody connects without one.
    Required,
}

impl fmt::Display for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        })
    }
}

/// How bytes travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transit {
    /// Whether connections are encrypted.
    #[serde(default)]
    pub mode: TransitMode,
    /// Whether clients show certificates; asked of encrypted connections only.
    #[serde(default)]
    pub clients: ClientCertificates,
}

impl Transit {
    /// Whether a connection may go on: an encrypted one with or without a client's certificate
    /// (`Some(shown)`), or a plain one (`None`).
    #[must_use]
    pub fn allows(self, encrypted: Option<bool>) -> bool {
        match encrypted {
            None => self.mode != TransitMode::Required,
            Some(shown) => shown || self.clients != ClientCertificates::Required,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_off() {
        let none: Transit = serde_json::from_str("{}").unwrap();
        assert_eq!(none, Transit::default());
        assert!(!none.mode.is_on() && none.allows(None));
        let some: Transit = serde_json::from_str(r#"{"mode":"preferred"}"#).unwrap();
        assert_eq!((some.mode, some.clients), (TransitMode::Preferred, ClientCertificates::Off));
    }

    #[test]
    fn only_required_closes_plain_connections_and_those_without_a_certificate() {
        let transit = |mode, clients| Transit { mode, clients };
        for clients in [ClientCertificates::Off, ClientCertificates::Optional] {
            assert!(transit(TransitMode::Preferred, clients).allows(None));
            assert!(transit(TransitMode::Required, clients).allows(Some(false)));
            assert!(!transit(TransitMode::Required, clients).allows(None));
        }
        let strict = transit(TransitMode::Preferred, ClientCertificates::Required);
        assert!(strict.allows(Some(true)) && !strict.allows(Some(false)) && strict.allows(None));
    }
}
