//! How descriptors come through an `execve` without any of them being inheritable.
//!
//! They are sent into a pair of sockets whose other end becomes standard input, and wait in its queue.
//! Every descriptor of the process closes at the `execve` as always, so no other program can ever be
//! given one by mistake; and the next image takes them out of the queue as its own, without having
//! to trust a number.
//!
//! Invariant: nothing but standard input goes to the next image by inheritance, and that only within
//! [`Parcel::put_down`] and the `execve` right behind it.
//!
//! Not here: what the descriptors are (`super::estate`).

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::stdio::{dup2_stdin, stdin};

use super::{Estate, FORMAT};

/// Descriptors in one message; the kernel takes at most 253.
const BATCH: usize = 128;
/// Room for the messages' own bytes; the kernel gives as much of it as it allows.
const ROOM: usize = 4 << 20;
/// Says that a message is followed by others.
const MORE: u8 = b'+';
/// Says that the last descriptor of a message is that of what is written down, and that no other
/// follows.
const LAST: u8 = b'.';

/// What is on its way to the next image.
#[derive(Debug)]
pub(crate) struct Parcel {
    here: OwnedFd,
    there: OwnedFd,
    batch: Vec<OwnedFd>,
    count: usize,
}

impl Parcel {
    /// An empty one.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // It may be less; then a proxy of very many clients is refused.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&here, ROOM);
        Ok(Self { here, there, batch: Vec::new(), count: 0 })
    }

    /// Adds a descriptor; its place.
    pub(crate) fn add(&mut self, fd: impl AsFd) -> io::Result<usize> {
        if self.batch.len() == BATCH {
            self.send(MORE, FORMAT)?;
        }
        self.batch.push(fd.as_fd().try_clone_to_owned()?);
        self.count += 1;
        Ok(self.count - 1)
    }

    /// Sends the batch; every message says in which format things are written down, so that nobody reads
    /// what it does not understand.
    fn send(&mut self, what: u8, format: u32) -> io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = self.batch.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH + 1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        let (what, format) = ([what], format.to_le_bytes());
        let words = [IoSlice::new(&what), IoSlice::new(&format)];
        sendmsg(&self.here, &words, &mut control, SendFlags::NOSIGNAL)?;
        self.batch.clear();
        Ok(())
    }

    /// Adds what is written down, and makes all of it the standard input of whoever comes.
    pub(crate) fn put_down(mut self, estate: &Estate) -> Result<Laid, super::Refused> {
        let mut file = File::from(
            memfd_create("tanist-proxy", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
                .map_err(io::Error::from)?,
        );
        let mut writer = io::BufWriter::new(&mut file);
        serde_json::to_writer(&mut writer, estate)?;
        writer.flush()?;
        drop(writer);
        file.rewind()?;
        let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&file, all).map_err(io::Error::from)?;
        self.batch.push(file.into());
        self.send(LAST, estate.format)?;
        dup2_stdin(&self.there).map_err(io::Error::from)?;
        Ok(Laid)
    }
}

/// A parcel that lies on standard input; taken away again unless the next image takes it.
#[derive(Debug)]
pub(crate) struct Laid;

impl Drop for Laid {
    fn drop(&mut self) {
        clear_stdin();
    }
}

fn clear_stdin() {
    match File::open("/dev/null") {
        // Without it the next image would be given nothing worse than an empty queue.
        Ok(nothing) => drop(dup2_stdin(nothing)),
        Err(err) => tracing::warn!(%err, "standard input stays a socket"),
    }
}

/// What the image before has handed over.
#[derive(Debug)]
pub struct Inheritance {
    pub(crate) estate: Estate,
    pub(crate) fds: Vec<Option<OwnedFd>>,
}

impl Inheritance {
    /// Takes it from standard input.
    ///
    /// # Errors
    /// When there is nothing, or it is not what it should be.
    pub fn receive() -> io::Result<Self> {
        let received = receive(stdin());
        clear_stdin();
        received
    }

    /// The lock that was handed over.
    pub fn take_lock(&mut self) -> Option<OwnedFd> {
        let place = self.estate.lock?;
        self.take(place)
    }

    /// A descriptor, once.
    pub(crate) fn take(&mut self, place: usize) -> Option<OwnedFd> {
        self.fds.get_mut(place)?.take()
    }
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<Inheritance> {
    let wrong = |text| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut fds: Vec<Option<OwnedFd>> = Vec::new();
    loop {
        let (mut what, mut format) = ([0], [0; 4]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH + 1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let mut words = [IoSliceMut::new(&mut what), IoSliceMut::new(&mut format)];
        let message = recvmsg(socket, &mut words, &mut control, flags)?;
        if message.bytes != 5 || message.flags.contains(rustix::net::ReturnFlags::CTRUNC) {
            return Err(wrong("what was handed over is not whole"));
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights.map(Some));
            }
        }
        if !super::is_read(u32::from_le_bytes(format)) {
            return Err(wrong("it is written in a format of another release"));
        }
        if what[0] == LAST {
            break;
        }
    }
    let file = fds.pop().flatten().ok_or_else(|| wrong("nothing was written down"))?;
    let mut text = Vec::new();
    File::from(file).read_to_end(&mut text)?;
    Ok(Inheritance { estate: serde_json::from_slice(&text)?, fds })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn many_descriptors_arrive_in_their_order_and_are_nobody_elses() {
        let mut parcel = Parcel::new().unwrap();
        let mut addresses = Vec::new();
        for place in 0..(2 * BATCH + 3) {
            let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
            addresses.push(socket.local_addr().unwrap());
            assert_eq!(parcel.add(&socket).unwrap(), place);
        }
        let there = parcel.there.try_clone().unwrap();
        let estate = Estate { next_client: 7, ..Estate::default() };
        // The test's standard input is replaced and given back.
        drop(parcel.put_down(&estate).unwrap());
        let mut inheritance = receive(there.as_fd()).unwrap();
        assert_eq!(inheritance.estate.next_client, 7);
        for (place, address) in addresses.into_iter().enumerate() {
            let fd = inheritance.take(place).unwrap();
            let flags = rustix::io::fcntl_getfd(&fd).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            assert_eq!(UdpSocket::from(fd).local_addr().unwrap(), address);
            assert!(inheritance.take(place).is_none(), "each goes to one owner");
        }
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let mut parcel = Parcel::new().unwrap();
        parcel.add(File::open("/dev/null").unwrap()).unwrap();
        parcel.send(MORE, FORMAT).unwrap();
        let Parcel { here, there, .. } = parcel;
        drop(here);
        assert!(receive(there.as_fd()).is_err());
        assert!(receive(File::open("/dev/null").unwrap().as_fd()).is_err());
    }

    #[test]
    fn another_releases_format_is_refused() {
        let parcel = Parcel::new().unwrap();
        let there = parcel.there.try_clone().unwrap();
        let estate = Estate { format: FORMAT + 1, ..Estate::default() };
        drop(parcel.put_down(&estate).unwrap());
        let refused = receive(there.as_fd()).unwrap_err();
        assert!(refused.to_string().contains("another release"), "{refused}");
    }
}
