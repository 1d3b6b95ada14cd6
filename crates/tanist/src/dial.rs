//! How Tanist's own commands dial a group's endpoints: as a client with the installation's trust, that
//! says who it is where clients have to.
//!
//! Invariant: a group that speaks TLS is dialled by it; nothing is sent to whom the authority does not
//! vouch for.
//!
//! Not here: what is asked then.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tanist_core::model::ClientCertificates;
use tanist_link::api::GroupStatus;
use tanist_resp::{Connection, ConnectionError};
use tanist_tls::{Authority, Identity, Trust, write_private};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::failure::Failure;
use crate::house::{self, House};
use crate::layout::Layout;

/// How long a certificate of the command line's own lives, in days.
const OWN_DAYS: u32 = 1;
/// The name in it.
const OWN_NAME: &str = "tanist";

/// What carries bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to an endpoint.
pub(crate) type Open = Connection<Box<dyn Stream>>;

/// How a group's endpoints are dialled.
#[derive(Debug, Clone)]
pub(crate) struct Dialler {
    trust: Option<Trust>,
    house: Option<House>,
}

impl Dialler {
    /// As the group is now.
    pub(crate) fn of(layout: &Layout, group: &GroupStatus) -> Result<Self, Failure> {
        let house = house::of(layout, &group.name, &group.login)?;
        if !group.transit.mode.is_on() {
            return Ok(Self { trust: None, house });
        }
        let failed = |err: &dyn std::error::Error| {
            Failure::caused("T670", err, "tanist ca says what to do about it")
        };
        let authority = Authority::load(&layout.tls()).map_err(|err| failed(&err))?;
        let own = match group.transit.clients {
            ClientCertificates::Off => None,
            _ => Some(
                authority
                    .client(OWN_NAME, OWN_DAYS, SystemTime::now())
                    .map_err(|err| failed(&err))?,
            ),
        };
        let identity = own.as_ref().map(|own| Identity { chain: &own.chain, key: &own.key });
        let shown = group.certificate.as_ref().map(|shown| shown.fingerprint.clone());
        let trust = Trust::new(authority.pem(), shown, identity).map_err(|err| failed(&err))?;
        Ok(Self { trust: Some(trust), house })
    }

    /// Opens a connection.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        deadline: Duration,
    ) -> Result<Open, ConnectionError> {
        let failed = |source| ConnectionError::Connect { address, source };
        let stream: Box<dyn Stream> = match &self.trust {
            Some(trust) => Box::new(trust.connect(address, deadline).await.map_err(failed)?),
            None => {
                let dialled = tokio::time::timeout(deadline, TcpStream::connect(address)).await;
                let socket = dialled.map_err(|_| ConnectionError::Deadline(deadline))?;
                let socket = socket.map_err(failed)?;
                socket.set_nodelay(true).map_err(failed)?;
                Box::new(socket)
            }
        };
        let mut connection = Connection::from_stream(stream);
        if let Some(house) = &self.house {
            connection.call(&house.auth(), deadline).await?;
        }
        Ok(connection)
    }
}

/// What redis-cli needs to be told to dial a group.
pub(crate) fn cli_arguments(layout: &Layout, group: &GroupStatus) -> Result<Vec<String>, Failure> {
    if !group.transit.mode.is_on() {
        return Ok(Vec::new());
    }
    let failed = |err: &dyn std::error::Error| {
        Failure::caused("T670", err, "tanist ca says what to do about it")
    };
    let authority = Authority::load(&layout.tls()).map_err(|err| failed(&err))?;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    // The owner's certificate may be of any authority that the system knows.
    let bundle = crate::bundle::write(layout, &authority)?;
    let mut arguments = vec!["--tls".to_owned(), "--cacert".to_owned(), text(bundle)];
    if group.transit.clients != ClientCertificates::Off {
        let own = authority.client(OWN_NAME, OWN_DAYS, SystemTime::now());
        let own = own.map_err(|err| failed(&err))?;
        // In one file: another redis-cli that starts at the same time writes both or neither.
        let path = layout.tls().join("cli.pem");
        write_private(&path, &format!("{}{}", own.chain, own.key)).map_err(|err| failed(&err))?;
        let path = text(path);
        arguments.extend(["--cert".to_owned(), path.clone(), "--key".to_owned(), path]);
    }
    Ok(arguments)
}
