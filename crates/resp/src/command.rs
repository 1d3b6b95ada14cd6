//! Builds the requests that Tanist sends itself.
//!
//! Arguments are bytes and always go out as bulk strings, so nothing that a user or an operator
//! typed can become a second command.
//!
//! Invariant: what is encoded is one well-formed multibulk frame with the arguments as given.
//!
//! Not here: requests of clients, which are forwarded as they came ([`crate::request`]).

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::request::Request;
use crate::scan::{put_bulk, put_decimal, put_header};

/// One request under construction.
///
/// ```
/// use tanist_resp::Command;
/// let set = Command::new("SET").arg("key").arg("value").arg("PX").int(1500);
/// assert_eq!(&set.encode()[..13], b"*5\r\n$3\r\nSET\r\n");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    argc: usize,
    name_len: usize,
    /// The arguments without the frame's header, whose count is not known before the end.
    body: BytesMut,
}

impl Command {
    /// A command of one argument, its name. A name such as `CONFIG GET` is two arguments.
    #[must_use]
    pub fn new(name: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        Self { argc: 0, name_len: name.len(), body: BytesMut::new() }.arg(name)
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        put_bulk(&mut self.body, arg.as_ref());
        self.argc += 1;
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: AsRef<[u8]>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Adds a number in decimal.
    #[must_use]
    pub fn int(self, value: i64) -> Self {
        let mut digits = BytesMut::with_capacity(20);
        if value < 0 {
            digits.extend_from_slice(b"-");
        }
        put_decimal(&mut digits, value.unsigned_abs());
        self.arg(digits)
    }

    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.body.len() + 24);
        self.encode_into(&mut out);
        out.freeze()
    }

    /// Appends the frame to `out`.
    pub fn encode_into(&self, out: &mut BytesMut) {
        put_header(out, b'*', self.argc);
        out.extend_from_slice(&self.body);
    }

    /// The frame as a request, as if a client had sent it.
    #[must_use]
    pub fn to_request(&self) -> Request {
        let mut out = BytesMut::with_capacity(self.body.len() + 24);
        put_header(&mut out, b'*', self.argc);
        let first = out.len();
        out.extend_from_slice(&self.body);
        Request::new(out.freeze(), self.argc, first)
    }
}

impl fmt::Debug for Command {
    /// Leaves the arguments out: they hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.body.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let name = self.body.get(start..start + self.name_len).unwrap_or_default();
        f.debug_struct("Command")
            .field("name", &name.escape_ascii().to_string())
            .field("argc", &self.argc)
            .finish_non_exhaustive()
    }
}

/// Appends one frame to `out` without building a [`Command`]; `args` must not be empty, since an
/// empty frame gets no reply.
pub fn encode(out: &mut BytesMut, args: &[&[u8]]) {
    debug_assert!(!args.is_empty());
    put_header(out, b'*', args.len());
    for arg in args {
        put_bulk(out, arg);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_multibulk_frame() {
        let command = Command::new("SET").arg("k").arg(b"\r\n\0").int(-12);
        assert_eq!(command.encode(), "*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n\r\n\0\r\n$3\r\n-12\r\n");
        let request = command.to_request();
        assert_eq!(request.raw(), &command.encode());
        assert_eq!(request.argc(), 4);
        let args: Vec<&[u8]> = request.args().collect();
        assert_eq!(args, [b"SET".as_slice(), b"k", b"\r\n\0", b"-12"]);
    }

    #[test]
    fn several_commands_go_into_one_buffer() {
        let mut out = BytesMut::new();
        Command::new("PING").encode_into(&mut out);
        Command::new("DEL").args(["a", "b"]).encode_into(&mut out);
        encode(&mut out, &[b"GET", b"a"]);
        assert_eq!(
            out,
            "*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n\
             *2\r\n$3\r\nGET\r\n$1\r\na\r\n"
        );
    }

    #[test]
    fn debug_output_holds_no_argument() {
        let command = Command::new("AUTH").arg("user").arg("secret");
        let shown = format!("{command:?} {:?}", command.to_request());
        assert!(shown.contains("AUTH"), "{shown}");
        assert!(!shown.contains("secret") && !shown.contains("user"), "{shown}");
    }
}
