//! What every Redis client says, whatever it wants: HELLO, AUTH, CLIENT, PING, INFO, SUBSCRIBE.
//!
//! Invariant: the shapes and texts are those of a Sentinel of redis 7.0; QUIT, RESET and CLIENT
//! SETINFO, which it does not know, are answered as later engines answer them.
//!
//! Not here: the command SENTINEL (`super::asked`).

use tanist_resp::{Request, Version};

use super::known;
use super::session::Session;
use super::subscriptions::By;
use super::{info, texts};

impl Session {
    /// Answers one request.
    pub(super) async fn handle(&mut self, request: &Request) {
        let known = match known::find(request) {
            Ok(known) => known,
            Err(text) => return self.refuse(text),
        };
        if !self.authenticated && !known.is_open {
            return self.refuse(texts::NO_AUTH);
        }
        let is_subscriber = self.version == Version::Resp2 && self.subscriptions.count() > 0;
        if is_subscriber && !known.is_for_subscribers {
            return self.refuse(texts::not_for_subscribers(known.name));
        }
        match known.name {
            "auth" => self.auth(request),
            "hello" => self.hello(request),
            "ping" => self.ping(request),
            "quit" => {
                self.simple("OK");
                self.closing = true;
            }
            "reset" => self.reset(),
            "role" => self.role().await,
            "info" => self.info(request).await,
            "publish" => self.refuse("ERR Only HELLO messages are accepted by Sentinel instances."),
            "subscribe" => self.subscribe_to(By::Channel, request),
            "psubscribe" => self.subscribe_to(By::Pattern, request),
            "unsubscribe" => self.unsubscribe_from(By::Channel, request),
            "punsubscribe" => self.unsubscribe_from(By::Pattern, request),
            name if name.starts_with("client|") => self.client(name, request),
            name if name.starts_with("command") => self.command(name, request),
            name => self.sentinel(name, request).await,
        }
    }

    /// An error, with its code and without its dash.
    pub(super) fn refuse(&mut self, text: impl AsRef<[u8]>) {
        self.to().error(&mut self.out, text);
    }

    /// A status.
    pub(super) fn simple(&mut self, text: &str) {
        self.to().simple(&mut self.out, text);
    }

    fn auth(&mut self, request: &Request) {
        match (request.arg(1), request.arg(2), request.arg(3)) {
            (Some(_), None, None) if self.shared.settings.password.is_none() => {
                self.refuse(texts::NO_PASSWORD);
            }
            (Some(password), None, None) => {
                if self.log_in(b"default", password) {
                    self.simple("OK");
                }
            }
            (Some(user), Some(password), None) => {
                if self.log_in(user, password) {
                    self.simple("OK");
                }
            }
            _ => self.refuse(texts::SYNTAX),
        }
    }

    /// Whether the client is who it says; it hears if it is not.
    fn log_in(&mut self, user: &[u8], password: &[u8]) -> bool {
        // Without a password, `default` may have any, as in engines.
        let is_right = match &self.shared.settings.password {
            Some(set) => set.is(password),
            None => true,
        };
        if user == b"default" && is_right {
            self.authenticated = true;
            return true;
        }
        self.refuse(texts::WRONG_PASS);
        false
    }

    fn hello(&mut self, request: &Request) {
        let mut version = self.version;
        if let Some(asked) = request.arg(1) {
            version = match str::from_utf8(asked).ok().and_then(|text| text.parse::<i64>().ok()) {
                Some(2) => Version::Resp2,
                Some(3) => Version::Resp3,
                Some(_) => return self.refuse("NOPROTO unsupported protocol version"),
                None => {
                    return self.refuse("ERR Protocol version is not an integer or out of range");
                }
            };
        }
        let mut name = None;
        let options: Vec<&[u8]> = request.args().skip(2).collect();
        let mut rest = options.as_slice();
        while let Some((option, after)) = rest.split_first() {
            rest = match after {
                [user, password, more @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                    if !self.log_in(user, password) {
                        return;
                    }
                    more
                }
                [asked, more @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                    name = Some(*asked);
                    more
                }
                _ => return self.refuse(texts::hello_option(option)),
            };
        }
        if !self.authenticated {
            return self.refuse(texts::HELLO_NO_AUTH);
        }
        if let Some(name) = name
            && !self.set_name(name)
        {
            return;
        }
        self.version = version;
        self.introduce();
    }

    /// Who answers here.
    fn introduce(&mut self) {
        let (to, out) = (self.to(), &mut self.out);
        to.map(out, 6);
        to.bulk(out, "server");
        to.bulk(out, "redis");
        to.bulk(out, "version");
        to.bulk(out, texts::VERSION);
        to.bulk(out, "proto");
        to.integer(out, if self.version == Version::Resp3 { 3 } else { 2 });
        to.bulk(out, "id");
        to.integer(out, self.id);
        to.bulk(out, "mode");
        to.bulk(out, "sentinel");
        to.bulk(out, "modules");
        to.array(out, 0);
    }

    fn ping(&mut self, request: &Request) {
        if request.argc() > 2 {
            return self.refuse("ERR wrong number of arguments for 'ping' command");
        }
        let (to, said) = (self.to(), request.arg(1));
        if self.version == Version::Resp2 && self.subscriptions.count() > 0 {
            to.array(&mut self.out, 2);
            to.bulk(&mut self.out, "pong");
            to.bulk(&mut self.out, said.unwrap_or_default());
        } else if let Some(said) = said {
            to.bulk(&mut self.out, said);
        } else {
            self.simple("PONG");
        }
    }

    /// As a client that has just connected.
    fn reset(&mut self) {
        self.subscriptions = Default::default();
        self.version = Version::Resp2;
        self.name.clear();
        self.authenticated = self.shared.settings.password.is_none();
        self.simple("RESET");
    }

    async fn role(&mut self) {
        let view = self.shared.seen().await.view;
        let (to, out) = (self.to(), &mut self.out);
        to.array(out, 2);
        to.bulk(out, "sentinel");
        to.array(out, view.watched.len());
        view.watched.iter().for_each(|watched| to.bulk(out, &watched.name));
    }

    async fn info(&mut self, request: &Request) {
        let seen = self.shared.seen().await;
        let sections: Vec<&[u8]> = request.args().skip(1).collect();
        let text = info::text(&self.shared, &seen, self.dialled, &sections);
        self.to().bulk(&mut self.out, text);
    }

    fn subscribe_to(&mut self, by: By, request: &Request) {
        let to = self.to();
        for name in request.args().skip(1) {
            if !self.subscriptions.add(by, name, to, &mut self.out) {
                return self.refuse(texts::TOO_MANY_SUBSCRIPTIONS);
            }
        }
    }

    fn unsubscribe_from(&mut self, by: By, request: &Request) {
        let to = self.to();
        if request.argc() == 1 {
            return self.subscriptions.clear(by, to, &mut self.out);
        }
        for name in request.args().skip(1) {
            self.subscriptions.remove(by, name, to, &mut self.out);
        }
    }

    fn client(&mut self, name: &str, request: &Request) {
        let argument = request.arg(2).unwrap_or_default();
        match name {
            "client|getname" if self.name.is_empty() => self.to().null(&mut self.out),
            "client|getname" => self.to().bulk(&mut self.out, &self.name),
            "client|id" => self.to().integer(&mut self.out, self.id),
            "client|setname" => {
                if self.set_name(argument) {
                    self.simple("OK");
                }
            }
            _ if [b"lib-name".as_slice(), b"lib-ver"]
                .iter()
                .any(|known| argument.eq_ignore_ascii_case(known)) =>
            {
                self.simple("OK");
            }
            _ => self.refuse(texts::client_option(argument)),
        }
    }

    /// Whether it can be the client's name; it hears if it cannot.
    fn set_name(&mut self, name: &[u8]) -> bool {
        if name.iter().all(u8::is_ascii_graphic) {
            self.name = name.to_vec();
            return true;
        }
        self.refuse(texts::BAD_NAME);
        false
    }

    fn command(&mut self, name: &str, request: &Request) {
        let (to, out) = (self.to(), &mut self.out);
        let named = request.args().skip(2);
        match name {
            "command" => known::describe_all(to, out),
            "command|info" if named.len() == 0 => known::describe_all(to, out),
            "command|info" => {
                to.array(out, named.len());
                named.for_each(|name| known::describe_one(name, to, out));
            }
            "command|count" => {
                to.integer(out, i64::try_from(known::count()).unwrap_or(i64::MAX));
            }
            "command|list" => {
                to.set(out, known::names().count());
                known::names().for_each(|name| to.bulk(out, name));
            }
            // The documents are on paper.
            _ => to.map(out, 0),
        }
    }
}
