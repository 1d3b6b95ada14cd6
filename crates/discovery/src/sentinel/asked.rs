//! The command SENTINEL.
//!
//! Invariant: whatever is asked of the controller is asked by the local API, as a person would ask;
//! nothing about a group can be changed here but who is its primary.
//!
//! Not here: the words of refusals (`super::texts`), fields (`super::fields`).

use std::time::Duration;

use tanist_link::LinkError;
use tanist_link::api::{MoveAccepted, MovePrimary};
use tanist_resp::Request;
use tokio::time::timeout;

use super::fields::{self, Fields};
use super::notice::Lead;
use super::session::Session;
use super::view::{Stand, State, Watched};
use super::{Advertise, Seen, glob, info, texts};

/// How long the controller may take to accept a failover.
const PATIENCE: Duration = Duration::from_secs(5);

/// The settings that can be read; none can be written.
const CONFIG: [(&str, &str); 6] = [
    ("resolve-hostnames", "no"),
    ("announce-hostnames", "no"),
    ("announce-ip", ""),
    ("announce-port", "0"),
    ("sentinel-user", ""),
    ("sentinel-pass", ""),
];

impl Session {
    /// Answers `SENTINEL ...`; `name` is the subcommand's.
    pub(super) async fn sentinel(&mut self, name: &str, request: &Request) {
        let argument = request.arg(2).unwrap_or_default();
        match name {
            "sentinel|myid" => self.to().bulk(&mut self.out, &self.shared.id),
            "sentinel|pending-scripts" => self.to().array(&mut self.out, 0),
            "sentinel|help" => self.help(),
            "sentinel|config" => self.config(request),
            "sentinel|masters" => self.all().await,
            "sentinel|get-master-addr-by-name" => self.address(argument).await,
            "sentinel|is-master-down-by-addr" => self.is_down(request).await,
            "sentinel|info-cache" => self.info_cache(request).await,
            "sentinel|reset" => self.forget(argument).await,
            "sentinel|master" | "sentinel|replicas" | "sentinel|slaves" | "sentinel|sentinels"
            | "sentinel|ckquorum" | "sentinel|failover" | "sentinel|set" | "sentinel|remove" => {
                match self.known(argument).await {
                    Some((watched, seen)) => self.about(name, &watched, &seen).await,
                    None => self.refuse(texts::NO_SUCH),
                }
            }
            _ => self.refuse(texts::elsewhere(name)),
        }
    }

    /// What is known under a name. One that is not known may be new: it is looked for once more.
    async fn known(&self, name: &[u8]) -> Option<(Watched, Seen)> {
        let seen = self.current().await;
        if let Some(watched) = seen.view.find(name) {
            return Some((watched.clone(), seen));
        }
        let seen = self.shared.fresh().await;
        seen.view.find(name).cloned().map(|watched| (watched, seen))
    }

    /// What is known. Where nodes are named, a client that its node has just disconnected asks who is
    /// primary now, and a look from before would lead it back there, this time to stay.
    async fn current(&self) -> Seen {
        let seen = self.shared.seen().await;
        match self.shared.settings.advertise {
            Advertise::Nodes if seen.answers => self.shared.fresh().await,
            Advertise::Nodes | Advertise::Endpoint => seen,
        }
    }

    async fn about(&mut self, name: &str, watched: &Watched, seen: &Seen) {
        let age = seen.at.elapsed();
        match name {
            "sentinel|master" => {
                let fields = fields::primary(watched, &self.shared, age);
                fields::write(&fields, self.to(), &mut self.out);
            }
            "sentinel|replicas" | "sentinel|slaves" => {
                let of = |node| fields::replica(node, watched, age);
                self.list(watched.replicas.iter().map(of).collect());
            }
            "sentinel|sentinels" => {
                let others = self.shared.others.iter();
                self.list(others.map(|(id, at)| fields::sentinel(id, *at, age)).collect());
            }
            "sentinel|ckquorum" if seen.answers => {
                let usable = texts::quorum(self.shared.others.len() + 1);
                self.simple(&usable);
            }
            "sentinel|ckquorum" => self.refuse(texts::NO_QUORUM),
            "sentinel|failover" => self.failover(watched).await,
            _ => self.refuse(texts::elsewhere(name)),
        }
    }

    fn list(&mut self, all: Vec<Fields>) {
        let to = self.to();
        to.array(&mut self.out, all.len());
        all.iter().for_each(|fields| fields::write(fields, to, &mut self.out));
    }

    async fn all(&mut self) {
        let seen = self.current().await;
        let age = seen.at.elapsed();
        let of = |watched| fields::primary(watched, &self.shared, age);
        let all = seen.view.watched.iter().map(of).collect();
        self.list(all);
    }

    async fn address(&mut self, name: &[u8]) {
        let known = self.known(name).await;
        let (to, out) = (self.to(), &mut self.out);
        match known {
            Some((watched, _)) => {
                to.array(out, 2);
                to.bulk(out, watched.address.ip().to_string());
                to.bulk(out, watched.address.port().to_string());
            }
            None => to.null_array(out),
        }
    }

    /// Asked by other Sentinels only. It never gives its vote: nothing that Sentinels agree on counts.
    async fn is_down(&mut self, request: &Request) {
        let text = |at| str::from_utf8(request.arg(at).unwrap_or_default()).unwrap_or_default();
        let (Ok(port), Ok(_)) = (text(3).parse::<i64>(), text(4).parse::<i64>()) else {
            return self.refuse(texts::NOT_AN_INTEGER);
        };
        let view = self.shared.seen().await.view;
        let advertise = self.shared.settings.advertise;
        let is_down = view.watched.iter().any(|watched| {
            watched.address.ip().to_string() == text(2)
                && i64::from(watched.address.port()) == port
                && fields::is_down(watched, advertise)
        });
        let (to, out) = (self.to(), &mut self.out);
        to.array(out, 3);
        to.integer(out, i64::from(is_down));
        to.bulk(out, "*");
        to.integer(out, 0);
    }

    async fn failover(&mut self, watched: &Watched) {
        if watched.state == State::Moving {
            return self.refuse(texts::IN_PROGRESS);
        }
        // It would be accepted and wait for one in vain.
        if !watched.replicas.iter().any(|node| node.stand == Stand::Well) {
            return self.refuse(texts::NO_GOOD);
        }
        let path = format!("/v1/groups/{}/failover", watched.group);
        let asked = MovePrimary::default();
        let post = self.shared.controller.post::<_, MoveAccepted>(&path, &asked);
        match timeout(PATIENCE, post).await {
            Ok(Ok(accepted)) => {
                tracing::info!(group = watched.group, request = %accepted.request, "a failover was asked for");
                self.simple("OK");
            }
            Ok(Err(LinkError::Refused(error))) => match error.code.as_str() {
                "T410" => self.refuse(texts::NO_SUCH),
                "T412" => self.refuse(texts::IN_PROGRESS),
                "T204" => self.refuse(texts::NO_GOOD),
                code => {
                    let text = format!("ERR {} ({code}); {}", error.message, error.remedy);
                    self.refuse(text);
                }
            },
            Ok(Err(err)) => self.refuse(format!("ERR the controller does not answer: {err}")),
            Err(_) => self.refuse("ERR the controller does not answer; see tanist status"),
        }
    }

    /// There is nothing to forget: what is known is looked at afresh, and subscribers too.
    async fn forget(&mut self, pattern: &[u8]) {
        let view = self.shared.fresh().await.view;
        let matching = view.watched.iter().filter(|w| glob::matches(pattern, w.name.as_bytes()));
        let mut count = 0;
        for watched in matching {
            let lead = Lead { name: &watched.name, address: watched.address };
            // It fails if nobody has subscribed.
            let _nobody = self.shared.news.send(lead.told("+reset-master"));
            count += 1;
        }
        self.to().integer(&mut self.out, count);
    }

    async fn info_cache(&mut self, request: &Request) {
        let seen = self.shared.seen().await;
        let age = i64::try_from(seen.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        let known = request.args().skip(2).filter_map(|name| seen.view.find(name));
        let known: Vec<&Watched> = known.collect();
        let (to, out) = (self.to(), &mut self.out);
        to.array(out, known.len() * 2);
        for watched in known {
            to.bulk(out, &watched.name);
            to.array(out, watched.nodes().count());
            for node in watched.nodes() {
                to.array(out, 2);
                to.integer(out, age);
                to.bulk(out, info::of_node(node, watched));
            }
        }
    }

    fn config(&mut self, request: &Request) {
        let verb = request.arg(2).unwrap_or_default();
        if verb.eq_ignore_ascii_case(b"set") && request.argc() >= 5 {
            return self.refuse(texts::elsewhere("sentinel|config"));
        }
        if !verb.eq_ignore_ascii_case(b"get") || request.argc() < 4 {
            return self.refuse(texts::CONFIG);
        }
        let patterns: Vec<Vec<u8>> =
            request.args().skip(3).map(<[u8]>::to_ascii_lowercase).collect();
        let is_asked = |(name, _): &&(&str, &str)| {
            patterns.iter().any(|pattern| glob::matches(pattern, name.as_bytes()))
        };
        let found: Fields = CONFIG
            .iter()
            .filter(is_asked)
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        fields::write(&found, self.to(), &mut self.out);
    }

    fn help(&mut self) {
        let (to, out) = (self.to(), &mut self.out);
        to.array(out, texts::HELP.len());
        texts::HELP.iter().for_each(|line| to.simple(out, line));
    }
}
