//! Where an installation's own surfaces are offered: the AWS endpoint and Sentinel.
//!
//! On loopback they speak plain text, as long as the machine is its owner's. With `listen = "host"` every server
//! of a fleet offers them at its own address as well, encrypted, and to nobody who cannot say who he is.
//!
//! Invariant: an address that is named is listened on; nothing is offered beyond loopback that the file
//! does not ask for, and nothing that it must not ask for.
//!
//! Not here: handshakes (`tanist-tls`), what is asked there (`tanist-aws`, `tanist-discovery`).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use tanist_core::model::{Listen, TransitMode, is_near};
use tanist_tls::{Authority, Door, Entrance, Identity, RENEW_AFTER_DAYS, showing};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::Config;
use crate::failure::{Failure, chain};

/// Age at which a certificate is replaced.
const RENEW_AFTER: Duration = Duration::from_secs(RENEW_AFTER_DAYS as u64 * 24 * 3600);
/// How soon one that could not be replaced is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(60);

/// What of the file must not be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) section: &'static str,
    pub(crate) key: &'static str,
    pub(crate) why: String,
    pub(crate) remedy: &'static str,
}

/// Refuses what would offer a surface to the network that is not protected there.
pub(crate) fn check(config: &Config) -> Result<(), Wrong> {
    let (api, sentinel) = (config.api, &config.sentinel);
    let all = [
        ("api", "the AWS endpoint", api.listen, api.tls),
        ("sentinel", "Sentinel", sentinel.listen, sentinel.tls),
    ];
    for (section, what, listen, tls) in all {
        let wrong = |why, remedy| Err(Wrong { section, key: "tls", why, remedy });
        match (listen, tls) {
            (Listen::Loopback, Some(_)) => {
                let why = format!("{what} is on loopback only, where it is not encrypted");
                return wrong(why, "add listen = \"host\", or leave tls out");
            }
            (Listen::Host, Some(TransitMode::Off)) => {
                let why = format!("{what} is not offered to the network without encryption");
                return wrong(why, "use \"required\", or \"preferred\" in a private network");
            }
            (Listen::Host, Some(TransitMode::Preferred)) => {
                let mut servers = config.host.iter().filter_map(|host| host.server());
                if let Some(far) = servers.find(|address| !is_near(*address)) {
                    let why =
                        format!("{what} would be offered in plain text at {far}, a public address");
                    return wrong(why, "use \"required\"");
                }
            }
            _ => {}
        }
    }
    if sentinel.listen == Listen::Host && sentinel.password.is_none() {
        let why = "Sentinel would be offered to the network without a password".to_owned();
        let remedy = "add a password to [sentinel]";
        return Err(Wrong { section: "sentinel", key: "listen", why, remedy });
    }
    Ok(())
}

/// At which addresses a surface is to be.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// On loopback.
    pub(crate) near: Option<Ipv4Addr>,
    /// There too, if nobody else is.
    pub(crate) also: Option<Ipv4Addr>,
    /// At this host's own address, and how.
    pub(crate) host: Option<(Ipv4Addr, Entrance)>,
}

impl Places {
    /// Those of a server of a fleet. A simulated host has one address, which is its own: there the file's
    /// word holds.
    pub(crate) fn of_server(address: Ipv4Addr, entrance: Option<Entrance>) -> Self {
        let loopback = if address.is_loopback() { address } else { Ipv4Addr::LOCALHOST };
        let near = (entrance.is_none() || !address.is_loopback()).then_some(loopback);
        Self { near, also: None, host: entrance.map(|entrance| (address, entrance)) }
    }

    /// Opens them; what cannot be listened on is a failure with this code.
    pub(crate) async fn open(
        self,
        port: u16,
        what: &str,
        code: &str,
    ) -> Result<(Vec<Door>, Vec<Opened>), Failure> {
        let near = self.near.map(|address| (address, Entrance::Plain));
        let mut doors = Vec::new();
        for (address, entrance) in near.into_iter().chain(self.host) {
            let listener = TcpListener::bind((address, port)).await.map_err(|err| {
                let message = format!("{what} {address}:{port} cannot be listened on: {err}");
                Failure::new(code, message, "end what listens there, or use another address")
            })?;
            doors.push(Door { listener, entrance });
        }
        if let Some(also) = self.also {
            // Whoever was first has it; the others are there in any case.
            doors.extend(TcpListener::bind((also, port)).await.ok().map(Door::from));
        }
        let opened = doors.iter().filter_map(|door| {
            let address = door.listener.local_addr().ok()?;
            Some(Opened { address, encrypted: !matches!(door.entrance, Entrance::Plain) })
        });
        let opened = opened.collect();
        Ok((doors, opened))
    }
}

/// An address that is listened on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) address: SocketAddr,
    pub(crate) encrypted: bool,
}

impl Opened {
    /// As HTTP clients name it.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

/// How connections come in at a host's address, if the surface is to be there.
pub(crate) fn entrance(
    listen: Listen,
    tls: Option<TransitMode>,
    shown: Option<&watch::Receiver<Arc<ServerConfig>>>,
) -> Option<Entrance> {
    let shown = shown.filter(|_| listen == Listen::Host)?.clone();
    Some(Entrance::Tls { shown, plain: tls == Some(TransitMode::Preferred) })
}

/// What a host shows of itself: a certificate with these names and addresses, replaced long before it
/// ends for as long as somebody listens. Its key is in memory only.
pub(crate) fn shown(
    authority: Arc<Authority>,
    host: String,
    names: BTreeSet<String>,
) -> Result<watch::Receiver<Arc<ServerConfig>>, Failure> {
    let make = move || {
        let issued = authority.endpoint(&host, &names, SystemTime::now())?;
        showing(Identity { chain: &issued.chain, key: &issued.key })
    };
    let first = make().map_err(|err| {
        Failure::caused("T670", &err, "see the message; tanist ca shows the authority")
    })?;
    let (sender, receiver) = watch::channel(first);
    tokio::spawn(async move {
        let mut pause = RENEW_AFTER;
        loop {
            tokio::select! {
                () = sender.closed() => return,
                // waits: a certificate's age is a time.
                () = tokio::time::sleep(pause) => {}
            }
            match make() {
                Ok(next) => {
                    info!("this host shows a new certificate");
                    sender.send_replace(next);
                    pause = RENEW_AFTER;
                }
                Err(err) => {
                    warn!("no new certificate to show: {}", chain(&err));
                    pause = RENEW_AGAIN;
                }
            }
        }
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Option<Wrong> {
        check(&toml::from_str(text).unwrap()).err()
    }

    #[test]
    fn what_would_be_open_to_the_network_is_refused() {
        let host = |address: &str| {
            format!(
                "[[host]]\nname = \"h1\"\naz = \"a\"\naddress = \"{address}\"\n\
                 roles = [\"server\", \"agent\", \"proxy\"]\n"
            )
        };
        let all = |address: &str, api: &str, sentinel: &str| {
            format!("[api]\n{api}\n[sentinel]\n{sentinel}\n{}", host(address))
        };
        let offered = "listen = \"host\"\n";
        let preferred = "listen = \"host\"\ntls = \"preferred\"\n";
        let with_password = |text: &str| format!("{text}password = \"p\"\n");
        for (address, api, sentinel) in [
            ("10.0.0.1", "", String::new()),
            ("203.0.113.7", offered, with_password(offered)),
            ("10.0.0.1", preferred, with_password(preferred)),
            ("203.0.113.7", "listen = \"host\"\ntls = \"required\"\n", String::new()),
        ] {
            assert_eq!(wrong(&all(address, api, &sentinel)), None, "{api} {sentinel}");
        }
        for (address, api, sentinel, section, why) in [
            ("203.0.113.7", preferred, "", "api", "203.0.113.7, a public address"),
            ("10.0.0.1", "listen = \"host\"\ntls = \"off\"\n", "", "api", "without encryption"),
            ("10.0.0.1", "tls = \"required\"\n", "", "api", "on loopback only"),
            ("10.0.0.1", "", offered, "sentinel", "without a password"),
            ("203.0.113.7", "", preferred, "sentinel", "a public address"),
        ] {
            let found = wrong(&all(address, api, sentinel)).unwrap();
            assert_eq!(found.section, section, "{api} {sentinel}");
            assert!(found.why.contains(why), "{}", found.why);
        }
    }

    #[test]
    fn a_simulated_host_is_listened_on_once() {
        let entrance = || {
            let (_, shown) = watch::channel(config());
            Some(Entrance::Tls { shown, plain: false })
        };
        let (real, simulated) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(127, 9, 0, 1));
        let near = |address, entrance| Places::of_server(address, entrance).near;
        assert_eq!(near(real, None), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(near(real, entrance()), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(near(simulated, None), Some(simulated));
        assert_eq!(near(simulated, entrance()), None);
    }

    fn authority() -> (tempfile::TempDir, Arc<Authority>) {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(&dir.path().join("tls")).unwrap();
        (dir, Arc::new(authority))
    }

    fn config() -> Arc<ServerConfig> {
        let (_dir, authority) = authority();
        let issued =
            authority.endpoint("h1", &["h1".to_owned()].into(), SystemTime::now()).unwrap();
        showing(Identity { chain: &issued.chain, key: &issued.key }).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_host_shows_is_replaced_long_before_it_ends() {
        let (_dir, authority) = authority();
        let mut shown = shown(authority, "h1".to_owned(), ["10.0.0.1".to_owned()].into()).unwrap();
        let first = Arc::clone(&shown.borrow_and_update());
        let began = tokio::time::Instant::now();
        shown.changed().await.unwrap();
        assert!(!Arc::ptr_eq(&first, &shown.borrow_and_update()));
        let days = began.elapsed().as_secs() / (24 * 3600);
        assert_eq!(days, u64::from(RENEW_AFTER_DAYS));
    }
}
