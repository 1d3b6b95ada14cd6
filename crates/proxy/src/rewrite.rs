//! Answers in which an engine names itself or its neighbours, in terms of node endpoints.
//!
//! A client that reads `INFO` or `ROLE` dials what it finds there, and only endpoints lead anywhere:
//! engines are reached by lanes alone, and a replica announces a tag in place of its address.
//!
//! Invariant: no answer names an engine's address or a tag; every other byte stays as it was.
//!
//! Not here: which replies are such answers (`crate::session`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use tanist_core::model::Route;
use tanist_link::wire::lane_owner;
use tanist_resp::{Encoder, Value, Version};

/// What an engine's neighbours are to clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neighbours<'a> {
    /// The shard.
    pub(crate) route: &'a Route,
    /// Where this proxy is.
    pub(crate) host: Ipv4Addr,
}

impl Neighbours<'_> {
    /// The endpoint of whatever an engine calls `host` and `port`.
    fn endpoint(self, host: &str, port: u16) -> (String, u16) {
        let route = self.route;
        let address = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        // A tag of an attachment that is over still begins with its node's name.
        let node = host.rsplitn(3, '.').nth(2);
        let found = route.nodes.iter().find(|known| {
            known.tag.as_deref() == Some(host)
                || address == Some(known.address)
                || node == Some(known.node.as_str())
        });
        // Whoever is not known is led to where every client may go.
        let endpoint = found.map_or(route.endpoints.reader, |known| known.endpoint);
        let at = route.endpoints.at(endpoint, self.host);
        (at.ip().to_string(), at.port())
    }
}

/// Rewrites the text of an `INFO` answer, in either of its wire forms.
pub(crate) fn info(raw: &Bytes, around: Neighbours<'_>) -> Bytes {
    let Some(header) = raw.iter().position(|byte| *byte == b'\n').map(|at| at + 1) else {
        return raw.clone();
    };
    let body = raw.get(header..raw.len().saturating_sub(2)).unwrap_or_default();
    // INFO is ASCII but for module sections; a text that is not UTF-8 has lines all the same.
    if !contains(body, b"slave") && !contains(body, b"master_host:") {
        return raw.clone();
    }
    let mut text = BytesMut::with_capacity(body.len() + 64);
    let mut leader = None;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        rewrite_line(&mut text, line, body, around, &mut leader);
    }
    let mut out = BytesMut::with_capacity(text.len() + 16);
    let kind = raw.first().copied().unwrap_or(b'$');
    out.extend_from_slice(format!("{}{}\r\n", char::from(kind), text.len()).as_bytes());
    out.extend_from_slice(&text);
    out.extend_from_slice(b"\r\n");
    out.freeze()
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

fn rewrite_line(
    out: &mut BytesMut,
    line: &[u8],
    body: &[u8],
    around: Neighbours<'_>,
    leader: &mut Option<u16>,
) {
    let text = std::str::from_utf8(line).unwrap_or_default();
    if let Some(host) = text.strip_prefix("master_host:") {
        let (ip, port) = around.endpoint(host.trim_end(), leader_port(body));
        *leader = Some(port);
        out.extend_from_slice(format!("master_host:{ip}\r\n").as_bytes());
    } else if let (true, Some(port)) = (text.starts_with("master_port:"), *leader) {
        out.extend_from_slice(format!("master_port:{port}\r\n").as_bytes());
    } else if let Some(rewritten) = replica_line(text, around) {
        out.extend_from_slice(rewritten.as_bytes());
    } else {
        out.extend_from_slice(line);
    }
}

fn leader_port(body: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().find_map(|line| line.strip_prefix("master_port:"));
    line.and_then(|port| port.trim_end().parse().ok()).unwrap_or_default()
}

/// `slave0:ip=...,port=...,` and the rest.
fn replica_line(line: &str, around: Neighbours<'_>) -> Option<String> {
    let (name, value) = line.split_once(":ip=")?;
    let number = name.strip_prefix("slave")?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (host, rest) = value.split_once(",port=")?;
    let (port, rest) = rest.split_once(',')?;
    let (ip, port) = around.endpoint(host, port.parse().ok()?);
    Some(format!("{name}:ip={ip},port={port},{rest}"))
}

/// Rewrites a `ROLE` answer.
pub(crate) fn role(raw: &Bytes, around: Neighbours<'_>, version: Version) -> Bytes {
    let Ok(mut value) = Value::decode(raw) else { return raw.clone() };
    let Value::Array(fields) = &mut value else { return raw.clone() };
    match fields.as_mut_slice() {
        [Value::Bulk(role), _, Value::Array(replicas)] if role.as_ref() == b"master" => {
            for replica in replicas {
                if let Value::Array(replica) = replica
                    && let [host, port, _] = replica.as_mut_slice()
                {
                    rename(host, port, around);
                }
            }
        }
        [Value::Bulk(role), host, port, ..] if role.as_ref() == b"slave" => {
            rename(host, port, around);
        }
        _ => return raw.clone(),
    }
    let mut out = BytesMut::with_capacity(raw.len() + 32);
    Encoder::new(version).value(&mut out, &value);
    out.freeze()
}

fn rename(host: &mut Value, port: &mut Value, around: Neighbours<'_>) {
    let known = port.as_int().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
    let (ip, number) = around.endpoint(host.as_str().unwrap_or_default(), known);
    *host = Value::Bulk(ip.into());
    *port = match port {
        Value::Integer(_) => Value::Integer(i64::from(number)),
        _ => Value::Bulk(number.to_string().into()),
    };
}

/// Rewrites a `CLIENT TRACKINGINFO` answer: the engine knows the client that is redirected to by the
/// number of a connection of the proxy's.
pub(crate) fn redirect(raw: Bytes, client: Option<u64>) -> Bytes {
    const FIELD: &[u8] = b"$8\r\nredirect\r\n:";
    let Some(client) = client else { return raw };
    // Before it there are only the engine's own words.
    let Some(at) = raw.windows(FIELD.len()).position(|part| part == FIELD) else { return raw };
    let (before, rest) = raw.split_at(at + FIELD.len());
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || rest.starts_with(b"0") {
        return raw;
    }
    let mut out = BytesMut::with_capacity(raw.len() + 8);
    out.extend_from_slice(before);
    out.extend_from_slice(client.to_string().as_bytes());
    out.extend_from_slice(rest.get(digits..).unwrap_or_default());
    out.freeze()
}

/// What every lane's user begins with.
const LANE: &[u8] = b"lane-";

/// Whether a lane's user may be named.
pub(crate) fn names_a_lane(raw: &[u8]) -> bool {
    contains(raw, LANE)
}

/// An error in which the engine names a user: the client knows itself by another name.
pub(crate) fn error(raw: Bytes) -> Bytes {
    if raw.first() != Some(&b'-') || !names_a_lane(&raw) {
        return raw;
    }
    own_names(&raw)
}

/// The name of a user that an engine answers.
pub(crate) fn user(raw: Bytes) -> Bytes {
    if raw.first() != Some(&b'$') || !names_a_lane(&raw) {
        return raw;
    }
    let Some(header) = raw.iter().position(|byte| *byte == b'\n').map(|at| at + 1) else {
        return raw;
    };
    let body = own_names(raw.get(header..raw.len().saturating_sub(2)).unwrap_or_default());
    let mut out = BytesMut::with_capacity(body.len() + 16);
    out.extend_from_slice(format!("${}\r\n", body.len()).as_bytes());
    out.extend_from_slice(&body);
    out.extend_from_slice(b"\r\n");
    out.freeze()
}

/// Puts in place of every word that is a lane's user the client's user that it stands for.
fn own_names(text: &[u8]) -> Bytes {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'\'' | b'"' | b',');
    let mut out = BytesMut::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(LANE.len()).position(|part| part == LANE) {
        let (before, from) = rest.split_at(at);
        let end = from.iter().position(ends).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        let owner = std::str::from_utf8(word).ok().and_then(lane_owner);
        out.extend_from_slice(before);
        out.extend_from_slice(owner.map_or(word, str::as_bytes));
        rest = after;
    }
    out.extend_from_slice(rest);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tanist_core::model::{Durability, Epoch, GroupEndpoints, NodeRoute, Rev, RouteState};

    use super::*;

    fn around(route: &Route) -> Neighbours<'_> {
        Neighbours { route, host: Ipv4Addr::new(10, 0, 0, 7) }
    }

    fn route() -> Route {
        let node = |name: &str, port, last, tag: Option<&str>| NodeRoute {
            node: name.into(),
            zone: "a".into(),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            endpoint: Ipv4Addr::new(127, 9, 9, last),
            tag: tag.map(str::to_owned),
            lane: Some(Epoch(1)),
            users: Some(0),
            readable: true,
        };
        Route {
            group: "web".into(),
            shard: "0001".into(),
            rev: Rev(1),
            epoch: Epoch(1),
            durability: Durability::Async,
            endpoint_hosts: Default::default(),
            access: tanist_core::model::Access::Everyone,
            accounts: Default::default(),
            transit: Default::default(),
            reads: tanist_core::model::Reads::default(),
            endpoints: GroupEndpoints {
                primary: Ipv4Addr::new(127, 9, 9, 200),
                reader: Ipv4Addr::new(127, 9, 9, 201),
                port: 6379,
                ports_from: None,
            },
            state: RouteState::Vacant,
            nodes: vec![
                node("web-001", 7001, 1, None),
                node("web-002", 7002, 2, Some("web-002.0123abcd.7")),
            ],
        }
    }

    fn bulk(text: &str) -> Bytes {
        format!("${}\r\n{text}\r\n", text.len()).into()
    }

    #[test]
    fn a_primary_names_its_replicas_by_their_endpoints() {
        let text = |ip: &str, old: &str, odd: &str| {
            format!(
                "# Replication\r\nrole:master\r\nconnected_slaves:3\r\n\
                 slave0:ip={ip},state=online,offset=10,lag=0\r\n\
                 slave1:ip={old},state=online,offset=9,lag=1\r\n\
                 slave2:ip={odd},state=online,offset=9,lag=1\r\n\
                 slave_expires_tracked_keys:0\r\nmaster_replid:ab\r\n"
            )
        };
        let before =
            text("web-002.0123abcd.7,port=7002", "web-001.ffffffff.3,port=1", "10.0.0.9,port=7");
        let after = text("127.9.9.2,port=6379", "127.9.9.1,port=6379", "127.9.9.201,port=6379");
        assert_eq!(info(&bulk(&before), around(&route())), bulk(&after));
        let verbatim = Bytes::from(format!("={}\r\ntxt:{before}\r\n", before.len() + 4));
        let expected = Bytes::from(format!("={}\r\ntxt:{after}\r\n", after.len() + 4));
        assert_eq!(info(&verbatim, around(&route())), expected);
    }

    #[test]
    fn on_a_fleet_neighbours_are_ports_of_this_host() {
        let mut fleet = route();
        fleet.endpoints.ports_from = Some(7000);
        let known = fleet.nodes[0].clone();
        let (ip, port) =
            around(&fleet).endpoint(&known.address.ip().to_string(), known.address.port());
        assert_eq!((ip.as_str(), port), ("10.0.0.7", fleet.endpoints.port_of(known.endpoint)));
        assert_ne!(port, fleet.endpoints.port_of(fleet.endpoints.reader));
    }

    #[test]
    fn a_replica_names_its_primary_by_its_endpoint() {
        let before = "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:7001\r\nx:1\r\n";
        let after = "role:slave\r\nmaster_host:127.9.9.1\r\nmaster_port:6379\r\nx:1\r\n";
        assert_eq!(info(&bulk(before), around(&route())), bulk(after));
    }

    #[test]
    fn a_client_is_called_by_its_own_name() {
        let before =
            "-NOPERM User lane-7-proxy-1:app has no permissions to run the 'set' command\r\n";
        let after = "-NOPERM User app has no permissions to run the 'set' command\r\n";
        assert_eq!(error(before.into()), after);
        assert_eq!(user(bulk("lane-12-p1:app")), bulk("app"));
        // What a client has written is its own.
        assert_eq!(user(bulk("lane-x")), bulk("lane-x"));
        assert_eq!(error("+lane-1-p1\r\n".into()), "+lane-1-p1\r\n");
    }

    #[test]
    fn other_sections_stay_as_they_are() {
        let text = bulk("# Server\r\nredis_version:7.0.15\r\ntcp_port:7001\r\n");
        assert_eq!(info(&text, around(&route())), text);
        assert_eq!(info(&Bytes::from_static(b"$0\r\n\r\n"), around(&route())), "$0\r\n\r\n");
    }

    #[test]
    fn role_names_endpoints_in_both_roles() {
        let primary = Bytes::from_static(
            b"*3\r\n$6\r\nmaster\r\n:5\r\n*1\r\n*3\r\n$18\r\nweb-002.0123abcd.7\r\n$4\r\n7002\r\n\
              $1\r\n5\r\n",
        );
        assert_eq!(
            role(&primary, around(&route()), Version::Resp2),
            "*3\r\n$6\r\nmaster\r\n:5\r\n*1\r\n*3\r\n$9\r\n127.9.9.2\r\n$4\r\n6379\r\n$1\r\n5\r\n"
        );
        let replica = Bytes::from_static(
            b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:7001\r\n$9\r\nconnected\r\n:5\r\n",
        );
        assert_eq!(
            role(&replica, around(&route()), Version::Resp2),
            "*5\r\n$5\r\nslave\r\n$9\r\n127.9.9.1\r\n:6379\r\n$9\r\nconnected\r\n:5\r\n"
        );
    }
}
