//! A group's certificate on its way to the proxies.
//!
//! Invariant: the key is in no `Debug` output, and on no wire but the one between controller and proxy.
//!
//! Not here: making it (`tanist-tls`), using it (`tanist-proxy`).

use std::fmt;

use serde::{Deserialize, Serialize};
use tanist_core::model::{ClientCertificates, GroupName};

/// What a proxy shows to a group's clients, and what it asks of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The group.
    pub group: GroupName,
    /// The certificate and those between it and its authority, PEM.
    pub chain: String,
    /// The certificate's key, PEM.
    pub key: PrivateKey,
    /// Whether clients show certificates.
    pub clients: ClientCertificates,
    /// The authority that clients' certificates are of, PEM.
    pub authority: String,
}

/// A private key as PEM, which nothing prints.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKey(pub String);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ToProxy;

    #[test]
    fn a_key_is_never_printed() {
        let message = ToProxy::Certificate(Box::new(Certificate {
            group: "web".into(),
            chain: "chain".to_owned(),
            key: PrivateKey("very secret".to_owned()),
            clients: ClientCertificates::Off,
            authority: "authority".to_owned(),
        }));
        let printed = format!("{message:?} {message:#?}");
        assert!(!printed.contains("very secret"), "{printed}");
        let sent = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<ToProxy>(&sent).unwrap(), message);
    }

    #[test]
    fn a_proxy_of_an_earlier_release_understands_no_certificates() {
        let hello = r#"{"hello":{"proxy":"p","pid":1}}"#;
        let hello: crate::wire::FromProxy = serde_json::from_str(hello).unwrap();
        assert!(matches!(hello, crate::wire::FromProxy::Hello { certificates: false, .. }));
    }
}
