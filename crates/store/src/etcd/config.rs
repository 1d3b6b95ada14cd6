//! Where an installation's etcd is, and how long one waits for it.
//!
//! Whoever reaches etcd can rewrite every decision, so what is not encrypted is refused beyond this
//! machine unless somebody says that the network may be trusted.
//!
//! Invariant: a `Checked` configuration has endpoints that can be dialled, and a prefix that no other
//! installation's prefix begins with.
//!
//! Not here: reading it from files (whoever wires the store).

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint as Target, Identity, Uri};

use crate::error::StoreError;

/// Longest prefix in bytes: 256 keys with it still fit into etcd's largest request.
const MAX_PREFIX_BYTES: usize = 256;
/// Most endpoints: more than any cluster has members.
const MAX_ENDPOINTS: usize = 32;
/// Bytes of answers that may wait for whoever reads them, for one stream and for all of a connection.
/// Many watches with slow listeners must not use up what the others need.
const STREAM_WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 32 << 20;
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// How a store on etcd is reached.
#[derive(Clone)]
pub struct EtcdConfig {
    /// Members' client addresses, `https://host:port` or `http://host:port`. They are used in this
    /// order: the first one that works is kept until it no longer does.
    pub endpoints: Vec<String>,
    /// This host's own address. The member there is kept whenever it serves: it is lost with this
    /// host only, whereas what was sent to one on a host that vanishes hangs.
    pub near: Option<IpAddr>,
    /// Needed for `https://`.
    pub tls: Option<EtcdTls>,
    /// What all keys begin with, such as `/tanist/abc/`: at most 256 bytes, with `/` at its end.
    /// Installations that share an etcd have different ones.
    pub prefix: String,
    /// Allows `http://` beyond loopback. Everybody on the network between can then read and change
    /// everything.
    pub allow_plaintext: bool,
    /// How long one waits.
    pub timeouts: EtcdTimeouts,
}

/// Whom one trusts and who one is; PEM.
#[derive(Clone)]
pub struct EtcdTls {
    /// The authorities that may have signed the members' certificates.
    pub ca: Vec<u8>,
    /// The client's own certificate, where etcd asks for one (`--client-cert-auth`).
    pub identity: Option<EtcdIdentity>,
}

/// A client certificate and its key; PEM.
#[derive(Clone)]
pub struct EtcdIdentity {
    /// The certificate, and those between it and its authority.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

impl fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<_> = self.endpoints.iter().map(|endpoint| shown(endpoint)).collect();
        f.debug_struct("EtcdConfig")
            .field("endpoints", &endpoints)
            .field("near", &self.near)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .field("allow_plaintext", &self.allow_plaintext)
            .field("timeouts", &self.timeouts)
            .finish()
    }
}

impl fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdTls")
            .field("identity", &self.identity.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EtcdIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdIdentity").finish_non_exhaustive()
    }
}

/// How long one waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EtcdTimeouts {
    /// For a connection to one member, TLS included.
    pub connect: Duration,
    /// For one member's answer to a read or a keep-alive. A hung member costs this once.
    pub attempt: Duration,
    /// For one member's answer to what has to be on disks: a transaction, whose outcome is unknown
    /// then, and what is done with leases and history, which is tried again.
    pub commit: Duration,
    /// For a call in all, over all members. No attempt begins later, so that a call takes at most
    /// `call + connect + attempt + commit`.
    pub call: Duration,
    /// How long a watch may hear nothing from a member, which it asks for a sign of life three
    /// times in this time.
    pub silence: Duration,
}

impl Default for EtcdTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(500),
            attempt: Duration::from_millis(500),
            commit: Duration::from_secs(2),
            call: Duration::from_secs(5),
            silence: Duration::from_secs(3),
        }
    }
}

impl EtcdConfig {
    /// A configuration with the default timeouts, without TLS.
    #[must_use]
    pub fn new(endpoints: Vec<String>, prefix: impl Into<String>) -> Self {
        Self {
            endpoints,
            near: None,
            tls: None,
            prefix: prefix.into(),
            allow_plaintext: false,
            timeouts: EtcdTimeouts::default(),
        }
    }

    /// What may be the matter with a member that ends connections and has never answered: TLS tells
    /// that a client's certificate is refused only after the client took its connection for good.
    pub(super) fn suspicion(&self) -> Option<&'static str> {
        match &self.tls {
            None => None,
            Some(EtcdTls { identity: None, .. }) => {
                Some("it may want a client certificate, and none is configured")
            }
            Some(_) => Some("it may refuse the client certificate"),
        }
    }

    /// What can be dialled: a name for errors, and the way there.
    pub(super) fn targets(&self) -> Result<Vec<(String, Target)>, StoreError> {
        let prefix = |wrong| StoreError::BadEtcdConfig { what: self.prefix.clone(), wrong };
        if self.prefix.len() > MAX_PREFIX_BYTES {
            return Err(prefix("the prefix is longer than 256 bytes"));
        }
        if self.prefix.len() < 2 || !self.prefix.ends_with('/') {
            return Err(prefix("the prefix must have a name and end with \"/\""));
        }
        if self.prefix.chars().any(char::is_control) {
            return Err(prefix("the prefix has a control character"));
        }
        if !(1..=MAX_ENDPOINTS).contains(&self.endpoints.len()) {
            let what = format!("{} endpoints", self.endpoints.len());
            return Err(StoreError::BadEtcdConfig { what, wrong: "1 to 32 are needed" });
        }
        let tls = self.tls.as_ref().map(client_tls).transpose()?;
        self.endpoints.iter().map(|endpoint| self.target(endpoint, tls.as_ref())).collect()
    }

    /// Whether an endpoint is at this host's own address.
    pub(super) fn is_near(&self, endpoint: &str) -> bool {
        let uri = endpoint.parse::<Uri>().ok();
        let host = uri.as_ref().and_then(Uri::host).and_then(|host| host.parse::<IpAddr>().ok());
        host.is_some() && host == self.near
    }

    fn target(
        &self,
        endpoint: &str,
        tls: Option<&ClientTlsConfig>,
    ) -> Result<(String, Target), StoreError> {
        let bad = |wrong| StoreError::BadEtcdConfig { what: shown(endpoint).to_owned(), wrong };
        let uri: Uri = endpoint.parse().map_err(|_| bad("it is not a URL"))?;
        let host =
            uri.host().ok_or_else(|| bad("it is not http://host:port or https://host:port"))?;
        if endpoint.contains('@') {
            return Err(bad("it names a user; members are trusted by certificates"));
        }
        if uri.port_u16().is_none() || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("it is not http://host:port or https://host:port"));
        }
        let target = Target::from(uri.clone());
        let target = match (uri.scheme_str(), tls) {
            (Some("http"), None) if self.allow_plaintext || is_loopback(host) => target,
            (Some("http"), None) => {
                return Err(bad(
                    "http:// is for this machine only: everybody on the network could \
                                rewrite the store. Use https://, or allow it explicitly",
                ));
            }
            (Some("http"), Some(_)) => return Err(bad("it is http:// although TLS is configured")),
            (Some("https"), None) => return Err(bad("https:// needs a certificate authority")),
            (Some("https"), Some(tls)) => target
                .tls_config(tls.clone())
                .map_err(|_| bad("the certificates or the key cannot be used"))?,
            _ => return Err(bad("it is neither http:// nor https://")),
        };
        let target = target
            .connect_timeout(self.timeouts.connect)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .tcp_nodelay(true);
        Ok((endpoint.trim_end_matches('/').to_owned(), target))
    }
}

/// An endpoint, unless it may hold a password where a host belongs.
fn shown(endpoint: &str) -> &str {
    if endpoint.contains('@') { "an endpoint with a user" } else { endpoint }
}

fn client_tls(tls: &EtcdTls) -> Result<ClientTlsConfig, StoreError> {
    if !tls.ca.windows(BEGIN.len()).any(|part| part == BEGIN) {
        let what = "the certificate authority of etcd".to_owned();
        return Err(StoreError::BadEtcdConfig { what, wrong: "it has no certificate in PEM" });
    }
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
    Ok(match &tls.identity {
        Some(own) => config.identity(Identity::from_pem(&own.certificate, &own.key)),
        None => config,
    })
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(config: &EtcdConfig) -> String {
        config.targets().unwrap_err().to_string()
    }

    fn at(endpoint: &str) -> EtcdConfig {
        EtcdConfig::new(vec![endpoint.to_owned()], "/tanist/a/")
    }

    #[test]
    fn plain_http_is_for_loopback_unless_it_is_allowed() {
        for near in ["http://127.0.0.1:2379", "http://127.9.8.7:1", "http://localhost:2379/"] {
            assert!(at(near).targets().is_ok(), "{near}");
        }
        assert!(at("http://[::1]:2379").targets().is_ok());
        for far in ["http://10.0.0.1:2379", "http://etcd.example:2379", "http://0.0.0.0:1"] {
            let text = wrong(&at(far));
            assert!(text.contains(far) && text.contains("for this machine only"), "{text}");
            assert!(EtcdConfig { allow_plaintext: true, ..at(far) }.targets().is_ok());
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_by_name() {
        for bad in ["", "127.0.0.1:2379", "http://", "http://127.0.0.1", "ftp://127.0.0.1:1"] {
            assert!(at(bad).targets().is_err(), "{bad}");
        }
        for bad in ["http://127.0.0.1:1/x", "http://127.0.0.1:1?x=1", "unix:///x", "\0"] {
            assert!(at(bad).targets().is_err(), "{bad}");
        }
        assert!(wrong(&at("https://127.0.0.1:1")).contains("needs a certificate authority"));
        assert!(wrong(&EtcdConfig::new(Vec::new(), "/a/")).contains("1 to 32"));
    }

    #[test]
    fn no_secret_is_in_an_error_or_in_debug_output() {
        let named = at("http://root:geheim@127.0.0.1:1");
        assert!(!wrong(&named).contains("geheim") && !format!("{named:?}").contains("geheim"));
        let own = EtcdIdentity { certificate: b"c".to_vec(), key: b"geheim".to_vec() };
        let tls = EtcdTls { ca: BEGIN.to_vec(), identity: Some(own) };
        let config = EtcdConfig { tls: Some(tls), ..at("https://127.0.0.1:1") };
        let text = wrong(&config);
        assert!(text.contains("cannot be used") && !text.contains("geheim"), "{text}");
        let shown = format!("{config:?}");
        assert!(!shown.contains("geheim") && !shown.contains("103, 101"), "{shown}");
    }

    #[test]
    fn no_prefix_begins_another() {
        for bad in ["", "/", "a", "/tanist/a", "/tanist/\n/"] {
            let config = EtcdConfig::new(vec!["http://127.0.0.1:1".to_owned()], bad);
            assert!(wrong(&config).contains("prefix"), "{bad}");
        }
        let long = EtcdConfig::new(vec!["http://127.0.0.1:1".to_owned()], "x".repeat(256) + "/");
        assert!(wrong(&long).contains("256"));
    }
}
