//! Becoming a member: the first server makes the fleet, every other host is invited into it.
//!
//! Invariant: a data directory belongs to one installation for ever; a host that fails to join is no
//! member, and may try again with another invitation.
//!
//! Not here: who is invited (`tanist-controller`), what a guest is given (`super::admission`).

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tanist_core::model::HostId;
use tanist_link::api::{AuthorityPair, Invitation, JoinFleet, Welcome};
use tanist_link::{Client, Secret, Server, Servers};
use tanist_tls::{Authority, joining, write_private};
use tokio::sync::watch;

use super::etcd::Place;
use super::member::{Member, Membership};
use super::plan::{FleetPlan, Role};
use crate::cli::{InitArgs, JoinArgs};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::output::Output;
use crate::{Done, Outcome, config};

/// What a token begins with: the form that it has.
const FORM: &str = "tanist1";
/// The longest token, in bytes.
const MOST: u64 = 4096;
/// How long the servers may take to let a host in.
const LIMIT: Duration = Duration::from_secs(30);

/// Makes a fleet, of which this host is the first server.
pub(crate) fn init(layout: &Layout, args: &InitArgs, out: &Output) -> Outcome {
    let config = absolute(&args.config)?;
    let plan = FleetPlan::of(&config::read(Some(&config))?)?;
    let host = named(args.host.as_deref(), &plan)?;
    if !plan.host(host.as_str())?.is(Role::Server) {
        let message = format!("{host} is no server, and the first host of a fleet has to be one");
        return Err(Failure::new("T704", message, "run tanist init on a server").exit(2));
    }
    unused(layout)?;
    layout.create()?;
    let made = |err: &dyn std::error::Error| {
        Failure::caused("T704", err, "see the message; name an empty --data-dir to try again")
    };
    let authority = Authority::load_or_create(&layout.fleet_authority()).map_err(|e| made(&e))?;
    for dir in [layout.tls(), layout.store_authority()] {
        Authority::load_or_create(&dir).map_err(|err| made(&err))?;
    }
    let secret = Secret::load_or_create(&layout.secret()).map_err(|err| made(&err))?;
    let key = Member::key(layout)?;
    let names = Member::names(&plan, &host)?;
    let issued = authority.member(host.as_str(), &names, &key.public(), SystemTime::now());
    let (chain, _) = issued.map_err(|err| made(&err))?;
    write_private(&layout.member_chain(), &chain).map_err(|err| made(&err))?;
    write_private(&layout.member_authority(), authority.pem()).map_err(|err| made(&err))?;
    let installation = secret.password("installation").chars().take(32).collect();
    let is = Membership { host: host.clone(), installation, config };
    if plan.etcd_ports().is_some() {
        Place::found(layout, &is.installation)?;
    }
    Member::save(&is, layout)?;
    let servers = plan.servers(&host).len();
    out.line(format!("{host} is the first server of a fleet in {}", plan.region));
    out.line(format!("authority {}", authority.fingerprint()));
    out.line(format!("next, on this host:       tanist server     ({servers} in the file)"));
    out.line("                          tanist agent");
    out.line("for each other host HOST: tanist host invite HOST | ssh HOST tanist join");
    Ok(Done::Well)
}

/// Lets this host into a fleet.
pub(crate) async fn join(layout: &Layout, args: &JoinArgs, out: &Output) -> Outcome {
    unused(layout)?;
    let invitation = read(&token(args, out)?)?;
    layout.create()?;
    let key = Member::key(layout)?;
    let host = invitation.host.clone();
    let asked = JoinFleet {
        host: host.clone(),
        secret: invitation.secret.clone(),
        key: key.public().digits(),
    };
    let trust = joining(&invitation.authority)
        .map_err(|err| Failure::caused("T705", &err, "ask for another token"))?;
    let servers = invitation
        .servers
        .iter()
        .map(|server| Server { host: server.host.clone(), address: server.address });
    let servers = Servers::new(servers.collect(), watch::channel(trust).1);
    let client = Client::fleet(Arc::new(servers)).within(LIMIT);
    let welcome: Welcome = client.post("/link/v1/join", &asked).await?;
    settle(layout, args, &host, &welcome)?;
    out.line(format!("{host} has joined the fleet"));
    let member = Member::need(layout)?;
    let planned = member.plan.host(host.as_str())?;
    if planned.is(Role::Server) {
        out.line("next:  tanist server");
    }
    if planned.is(Role::Agent) {
        out.line("next:  tanist agent");
    }
    Ok(Done::Well)
}

/// Writes down what was given; the membership last.
fn settle(
    layout: &Layout,
    args: &JoinArgs,
    host: &HostId,
    welcome: &Welcome,
) -> Result<(), Failure> {
    let failed = |err: &dyn std::error::Error| {
        Failure::caused("T705", err, "free disk space, and join with another token")
    };
    let write = |path: &Path, text: &str| write_private(path, text).map_err(|err| failed(&err));
    let config = match &args.config {
        Some(path) => absolute(path)?,
        None => {
            write(&layout.fleet_config(), &welcome.config)?;
            layout.fleet_config()
        }
    };
    let secret = Secret::parse(&welcome.secret).ok_or_else(|| {
        let message = "what the server gave is no secret";
        Failure::new("T705", message, "the two sides may be of different releases")
    })?;
    secret.write(&layout.secret()).map_err(|err| failed(&err))?;
    write(&layout.member_chain(), &welcome.chain)?;
    write(&layout.member_authority(), &welcome.authority)?;
    if let Some((fleet, endpoints)) = &welcome.authorities {
        put(&layout.fleet_authority(), fleet)?;
        put(&layout.tls(), endpoints)?;
    }
    if let Some(keepers) = &welcome.keepers {
        put(&layout.store_authority(), keepers)?;
    }
    let installation = welcome.installation.clone();
    Member::save(&Membership { host: host.clone(), installation, config }, layout)
}

/// Puts an authority into its directory.
fn put(dir: &Path, pair: &AuthorityPair) -> Result<(), Failure> {
    let failed = |err: &dyn std::error::Error| {
        Failure::caused("T705", err, "free disk space, and join with another token")
    };
    crate::layout::private_dir(dir).map_err(|err| failed(&err))?;
    write_private(&dir.join(tanist_tls::KEY), &pair.key).map_err(|err| failed(&err))?;
    write_private(&dir.join(tanist_tls::CERTIFICATE), &pair.certificate).map_err(|err| failed(&err))
}

/// Refuses a directory in which an installation is already.
fn unused(layout: &Layout) -> Result<(), Failure> {
    if [layout.membership(), layout.store(), layout.moved()].iter().all(|path| !path.exists()) {
        return Ok(());
    }
    let message = format!("{} belongs to an installation already", layout.root().display());
    Err(Failure::new("T706", message, "name another directory: --data-dir DIR").exit(2))
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|err| Failure::caused("T700", &err, "name a file that exists").exit(2))
}

/// The host that was named, or this one by its own name.
fn named(name: Option<&str>, plan: &FleetPlan) -> Result<HostId, Failure> {
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let short = own.split('.').next().unwrap_or_default();
    Ok(plan.host(name.unwrap_or(short))?.host.clone())
}

/// The token as it is given: on one line, as people copy it.
pub(crate) fn write(invitation: &Invitation) -> String {
    let Invitation { host, secret, authority, servers, until_ms: _ } = invitation;
    let servers: Vec<String> =
        servers.iter().map(|server| format!("{}={}", server.host, server.address)).collect();
    format!("{FORM}/{host}/{secret}/{authority}/{}", servers.join(","))
}

fn read(token: &str) -> Result<Invitation, Failure> {
    let bad = || {
        let message = "that is no token of tanist host invite, or not the whole of it";
        Failure::new("T705", message, "copy the whole line").exit(2)
    };
    let mut parts = token.trim().split('/');
    let form = parts.next();
    let mut next = || parts.next().filter(|part| !part.is_empty()).ok_or_else(bad);
    if form != Some(FORM) {
        return Err(bad());
    }
    let (host, secret, authority, servers) = (next()?, next()?, next()?, next()?);
    let server = |text: &str| {
        let (host, address) = text.split_once('=')?;
        let (host, address) = (HostId::new(host), address.parse().ok()?);
        Some(tanist_link::api::ServerAddress { host, address })
    };
    let servers: Option<Vec<_>> = servers.split(',').map(server).collect();
    Ok(Invitation {
        host: HostId::new(host),
        secret: secret.to_owned(),
        until_ms: 0,
        authority: authority.to_owned(),
        servers: servers.ok_or_else(bad)?,
    })
}

/// The token, from a file or from the standard input: arguments are everybody's to read.
fn token(args: &JoinArgs, out: &Output) -> Result<String, Failure> {
    let unread = |err: std::io::Error| {
        let message = format!("the token cannot be read: {err}");
        Failure::new("T705", message, "give it on the standard input, or with --token-file").exit(2)
    };
    let mut text = String::new();
    match &args.token_file {
        Some(path) => {
            let file = std::fs::File::open(path).map_err(unread)?;
            file.take(MOST).read_to_string(&mut text).map_err(unread)?;
        }
        None if std::io::stdin().is_terminal() => {
            out.part("token (on a server: tanist host invite HOST): ");
            std::io::stdin().read_line(&mut text).map_err(unread)?;
        }
        None => {
            std::io::stdin().lock().take(MOST).read_to_string(&mut text).map_err(unread)?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_everything_and_nothing_less_is_taken() {
        let token = "tanist1/h4/aa/bb/h1=10.0.1.11:4460,h2=10.0.2.11:4460";
        let invitation = read(&format!("{token}\n")).unwrap();
        assert_eq!(invitation.host.as_str(), "h4");
        assert_eq!(invitation.servers.len(), 2);
        assert_eq!(write(&invitation), token);
        for cut in ["", "tanist1/h4/aa/bb", "tanist2/h4/aa/bb/h1=10.0.1.11:4460"] {
            assert_eq!(read(cut).unwrap_err().code, "T705", "{cut}");
        }
        assert!(read("tanist1/h4/aa/bb/h1=10.0.1.11").is_err(), "without a port");
        assert!(!format!("{invitation:?}").contains("aa"), "its secret is nobody's to log");
    }
}
