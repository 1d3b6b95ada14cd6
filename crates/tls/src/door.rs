//! How connections come in at an address: in plain text, encrypted, or as their client likes.
//!
//! What a client begins with tells the two apart, as at a group's endpoints: a TLS handshake begins with
//! a byte with which no request does.
//!
//! Invariant: beyond loopback a door is encrypted, or of a private network that was said to do without
//! ([`Door::checked`]); a client that says nothing is let go of within ten seconds; where encryption is required, no
//! byte of a plain request is read.
//!
//! Not here: what is said then, and who may say it (the surfaces), certificates (`super::authority`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tanist_core::model::is_near;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::trust::{Identity, failed};
use crate::{TlsError, provider};

/// How long who connects may take to begin, and to shake hands.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a TLS handshake begins with.
const HANDSHAKE: u8 = 0x16;

/// An address at which a surface is offered.
#[derive(Debug)]
pub struct Door {
    /// Who connects.
    pub listener: TcpListener,
    /// How.
    pub entrance: Entrance,
}

/// Why a door must not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// The listener has no address.
    #[error("asking the listener for its address")]
    Address(#[source] io::Error),
    /// The address can be reached from elsewhere, and nobody would have to say who he is.
    #[error(
        "{0} can be reached from other hosts: where whoever comes is served unknown, without a \
         signature or a password, listen on a loopback address"
    )]
    NobodyKnown(SocketAddr),
    /// The address can be reached from elsewhere, and connections there would not be encrypted.
    #[error(
        "{0} can be reached from other hosts: without TLS listen on a loopback address, and with \
         plain connections beside it on a private one"
    )]
    NotEncrypted(SocketAddr),
}

impl Door {
    /// Where it is, if it may be opened by a surface that `knows` who asks (or does not).
    ///
    /// # Errors
    /// Beyond loopback: [`DoorError::NobodyKnown`], or [`DoorError::NotEncrypted`] without TLS, or with plain
    /// connections beside it at an address that is not of a private network. [`DoorError::Address`].
    pub fn checked(&self, knows: bool) -> Result<SocketAddr, DoorError> {
        let address = self.listener.local_addr().map_err(DoorError::Address)?;
        if address.ip().is_loopback() {
            return Ok(address);
        }
        if !knows {
            return Err(DoorError::NobodyKnown(address));
        }
        let near = matches!(address.ip(), IpAddr::V4(ip) if is_near(ip));
        match &self.entrance {
            Entrance::Tls { plain, .. } if near || !plain => Ok(address),
            _ => Err(DoorError::NotEncrypted(address)),
        }
    }
}

impl From<TcpListener> for Door {
    fn from(listener: TcpListener) -> Self {
        Self { listener, entrance: Entrance::Plain }
    }
}

/// How connections come in.
#[derive(Debug, Clone)]
pub enum Entrance {
    /// In plain text.
    Plain,
    /// Encrypted.
    Tls {
        /// What is shown at that moment.
        shown: watch::Receiver<Arc<ServerConfig>>,
        /// Those that begin in plain text are let in, too.
        plain: bool,
    },
}

/// Why a connection was not let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAdmitted {
    /// It is in plain text where it has to be encrypted; it can still be told so.
    #[error("it is not encrypted")]
    Plain(TcpStream),
    /// It ended, or the handshake failed.
    #[error("the handshake failed")]
    Failed(#[source] io::Error),
    /// It did not begin, or did not shake hands, in time.
    #[error("nothing was said in time")]
    Late,
}

impl Entrance {
    /// Whether a plain connection comes in.
    #[must_use]
    pub const fn is_plain_admitted(&self) -> bool {
        matches!(self, Self::Plain | Self::Tls { plain: true, .. })
    }

    /// Lets a connection in.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub async fn admit(&self, stream: TcpStream) -> Result<Admitted, NotAdmitted> {
        let Self::Tls { shown, plain } = self else { return Ok(Admitted::Plain(stream)) };
        let acceptor = TlsAcceptor::from(Arc::clone(&shown.borrow()));
        let knock = async {
            let mut first = [0];
            match stream.peek(&mut first).await {
                Ok(0) => Err(NotAdmitted::Failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) if first != [HANDSHAKE] && *plain => Ok(Admitted::Plain(stream)),
                Ok(_) if first != [HANDSHAKE] => Err(NotAdmitted::Plain(stream)),
                Ok(_) => match acceptor.accept(stream).await {
                    Ok(stream) => Ok(Admitted::Tls(Box::new(stream))),
                    Err(err) => Err(NotAdmitted::Failed(err)),
                },
                Err(err) => Err(NotAdmitted::Failed(err)),
            }
        };
        timeout(PATIENCE, knock).await.unwrap_or(Err(NotAdmitted::Late))
    }
}

/// What a server shows to clients of which no certificate is asked: TLS 1.2 and 1.3.
///
/// # Errors
/// [`TlsError::Trust`] if the certificate and the key cannot be used.
pub fn showing(identity: Identity<'_>) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = identity.read()?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|err| failed(&err))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|err| failed(&err))?;
    Ok(Arc::new(config))
}

/// A connection that was let in.
#[derive(Debug)]
pub enum Admitted {
    /// In plain text.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Admitted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;
    use std::time::SystemTime;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{Authority, Trust};

    struct House {
        _dir: tempfile::TempDir,
        trust: Trust,
        door: Door,
    }

    async fn house(plain: bool) -> House {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(&dir.path().join("tls")).unwrap();
        let names = BTreeSet::from(["127.0.0.1".to_owned()]);
        let issued = authority.endpoint("h1", &names, SystemTime::now()).unwrap();
        let identity = Identity { chain: &issued.chain, key: &issued.key };
        let shown = watch::channel(showing(identity).unwrap()).1;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let trust = Trust::new(authority.pem(), None, None).unwrap();
        House {
            _dir: dir,
            trust,
            door: Door { listener, entrance: Entrance::Tls { shown, plain } },
        }
    }

    impl House {
        async fn admitted(&self) -> Result<Admitted, NotAdmitted> {
            let (stream, _) = self.door.listener.accept().await.unwrap();
            self.door.entrance.admit(stream).await
        }

        async fn plain(&self) -> TcpStream {
            TcpStream::connect(self.door.listener.local_addr().unwrap()).await.unwrap()
        }
    }

    #[tokio::test]
    async fn what_a_client_begins_with_says_whether_it_encrypts() {
        let house = house(true).await;
        let at = house.door.listener.local_addr().unwrap();
        let dialled = async {
            let mut stream = house.trust.connect(at, PATIENCE).await.unwrap();
            stream.write_all(b"encrypted").await.unwrap();
            stream.flush().await.unwrap();
            stream
        };
        let (admitted, _stream) = tokio::join!(house.admitted(), dialled);
        let mut admitted = admitted.unwrap();
        assert!(matches!(admitted, Admitted::Tls(_)));
        let mut said = [0; 9];
        admitted.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"encrypted");
        let mut client = house.plain().await;
        client.write_all(b"plain").await.unwrap();
        let mut admitted = house.admitted().await.unwrap();
        let mut said = [0; 5];
        admitted.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"plain", "nothing of it was taken away");
    }

    #[tokio::test]
    async fn where_encryption_is_required_a_plain_client_can_be_told() {
        let house = house(false).await;
        let mut client = house.plain().await;
        client.write_all(b"PING\r\n").await.unwrap();
        let Err(NotAdmitted::Plain(mut stream)) = house.admitted().await else {
            panic!("it was let in")
        };
        stream.write_all(b"no").await.unwrap();
        drop(stream);
        let mut said = [0; 2];
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"no");
        drop(house.plain().await);
        assert!(matches!(house.admitted().await, Err(NotAdmitted::Failed(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_let_go_of() {
        let house = house(false).await;
        let _client = house.plain().await;
        assert!(matches!(house.admitted().await, Err(NotAdmitted::Late)));
    }
}
