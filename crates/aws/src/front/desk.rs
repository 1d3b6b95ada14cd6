//! One request, from its head to its answer.
//!
//! size, signature, region, service, content, permission, turn, operation: each step only if the one
//! before went well. The work is a task of its own, so that an operation which panics is an answer
//! and not a lost connection, and one whose client goes away is not cut off in its middle.
//!
//! Invariant: no operation sees a request that was not verified (or explicitly needs no signature),
//! allowed and decoded; every answer is in the dialect of its request and has its id.
//!
//! Not here: connections (`accept`), what an operation does.

use std::convert::Infallible;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CONNECTION, EXPECT, HOST, HeaderValue};
use http::uri::Authority;
use http::{Method, Response};
use hyper::body::Incoming;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, error, info};

use super::body::{self, Budget, Held, Unread};
use super::limits::Limits;
use super::services::{self, Services};
use super::socket::{Answer, Phases};
use crate::error::{ApiError, Fault, cut};
use crate::identity::Identity;
use crate::model::Service;
use crate::request::Request;
use crate::service::{Ask, Caller, Context};
use crate::sigv4::{Scope, Verifier, claimed_scope, claimed_service};
use crate::wire::{Protocol, Reply, decode, encode, encode_error};

/// Of answers to requests that needed no signature.
const UNSIGNED: &str = "x-tanist-unsigned";

/// For people who look at the address with a browser or curl.
const HELP: &str = "This address speaks the AWS API: let AWS_ENDPOINT_URL name it and sign with an \
                    access key of this installation.";

/// What all requests share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) verifier: Verifier<Identity>,
    pub(super) identity: Identity,
    pub(super) context: Context,
    /// Requests need no signature.
    pub(super) unsigned: bool,
    pub(super) limits: Limits,
    pub(super) bodies: Budget,
    pub(super) turns: Arc<Semaphore>,
    pub(super) services: Services,
}

/// A whole request.
#[derive(Debug)]
struct Received {
    head: http::request::Parts,
    body: Held,
    source: IpAddr,
    now: Timestamp,
    request_id: String,
}

impl Received {
    fn request(&self) -> Request<'_> {
        as_request(&self.head, &self.body.bytes)
    }
}

fn as_request<'a>(head: &'a http::request::Parts, body: &'a [u8]) -> Request<'a> {
    Request {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body,
    }
}

/// The dialect of an answer.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    protocol: Protocol,
    service: Option<&'static Service>,
}

/// What a signature says, in our own terms.
struct Who {
    caller: Caller,
    region: String,
    service: &'static Service,
}

impl Desk {
    /// Answers one request.
    pub(super) async fn respond(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
        source: IpAddr,
        phases: Phases,
    ) -> Result<Response<Answer>, Infallible> {
        let began = phases.serve();
        let (head, body) = request.into_parts();
        let request_id = request_id();
        let deadline = began + self.limits.request;
        let waits = head.headers.contains_key(EXPECT);
        let body = body::read(body, waits, deadline, &self.bodies, &self.limits).await;
        let (reply, goes_on) = match body {
            Ok(body) => {
                let now = Timestamp::now();
                (self.attend(Received { head, body, source, now, request_id }).await, true)
            }
            Err(Unread { fault, is_over }) => {
                info!(request_id, %source, fault = &fault as &dyn Error, "a request was not read");
                let dialect = self.claimed(&as_request(&head, b""));
                (refusal(dialect, &fault.answer(dialect.protocol), &request_id), is_over)
            }
        };
        Ok(self.response(reply, goes_on, &phases))
    }

    fn response(&self, reply: Reply, goes_on: bool, phases: &Phases) -> Response<Answer> {
        let mut response = Response::new(phases.answer(reply.body));
        // Every status of the tables in `crate::error` and of the models is one of HTTP's.
        *response.status_mut() = http::StatusCode::from_u16(reply.status)
            .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        for (name, value) in reply.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        if self.unsigned {
            headers.insert(UNSIGNED, HeaderValue::from_static("true"));
        }
        if !goes_on {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The dialect that a request claims; good enough for a refusal.
    fn claimed(&self, request: &Request<'_>) -> Dialect {
        let models = self.context.models;
        let claimed = claimed_service(request);
        let service = match &claimed {
            Some(scope) => models.in_scope(scope),
            None => services::named(models, request),
        };
        let protocol = Protocol::of(service.map(|service| service.scope), request.headers);
        Dialect { protocol, service }
    }

    async fn attend(self: &Arc<Self>, received: Received) -> Reply {
        let dialect = self.claimed(&received.request());
        let request_id = received.request_id.clone();
        let desk = Arc::clone(self);
        let work = tokio::spawn(async move { Box::pin(desk.carry_out(received, dialect)).await });
        let fault = match timeout(self.limits.operation, work).await {
            Ok(Ok(reply)) => return reply,
            Ok(Err(ended)) => {
                let said = ended.try_into_panic().map(|panic| said(&*panic)).unwrap_or_default();
                error!(request_id, said, "an operation panicked");
                Fault::Internal
            }
            Err(_) => Fault::Busy(
                "The operation takes long and goes on; look at its result before you repeat it.",
            ),
        };
        refusal(dialect, &fault.answer(dialect.protocol), &request_id)
    }

    async fn carry_out(self: Arc<Self>, received: Received, claimed: Dialect) -> Reply {
        let request_id = received.request_id.clone();
        let who = match self.identify(&received) {
            Ok(who) => who,
            Err(fault) => {
                debug!(request_id, source = %received.source, %fault, "a request was refused");
                let mut error = fault.answer(claimed.protocol);
                if fault == Fault::NotSigned {
                    error.message = format!("{fault}. {HELP}");
                }
                return refusal(claimed, &error, &request_id);
            }
        };
        let service = who.service;
        let protocol = Protocol::of(Some(service.scope), &received.head.headers);
        self.serve(received, who, protocol).await.unwrap_or_else(|error| {
            debug!(request_id, code = %error.code, message = error.message, "a request failed");
            refusal(Dialect { protocol, service: Some(service) }, &error, &request_id)
        })
    }

    /// Who asks, where, and of whom.
    fn identify(&self, received: &Received) -> Result<Who, Fault> {
        let request = received.request();
        let models = self.context.models;
        let (caller, scope) = match self.unsigned_scope(&request)? {
            Some(scope) => (self.identity.unsigned(), scope),
            None => {
                let verified = self.verifier.verify(&request, received.source, received.now)?;
                let caller = self.identity.caller(&verified.access_key_id);
                let (region, service) = (verified.region, verified.service);
                let access_key_id = verified.access_key_id;
                (caller.ok_or(Fault::UnknownKey)?, Scope { access_key_id, region, service })
            }
        };
        if !self.context.regions.contains(&scope.region) {
            let what = "Credential should be scoped to a valid region.";
            return Err(Fault::BadSignature(what.to_owned()));
        }
        let unknown = || Fault::UnknownService(scope.service.chars().take(64).collect());
        let service = models.in_scope(&scope.service).ok_or_else(unknown)?;
        Ok(Who { caller, region: scope.region, service })
    }

    /// Where signatures are not needed: the scope of a request that has none, or one of a key that
    /// nobody has. A key of this installation is verified even then: whoever tests policies wants to
    /// see them at work.
    fn unsigned_scope(&self, request: &Request<'_>) -> Result<Option<Scope>, Fault> {
        if !self.unsigned || is_from_a_page(request) {
            return Ok(None);
        }
        match claimed_scope(request) {
            Ok(scope) if self.identity.caller(&scope.access_key_id).is_some() => Ok(None),
            Ok(scope) => Ok(Some(scope)),
            Err(Fault::NotSigned) => {
                let service = services::named(self.context.models, request);
                let service = service.ok_or(Fault::MissingAction)?.scope.to_owned();
                let region = self.context.regions.first().cloned().unwrap_or_default();
                Ok(Some(Scope { access_key_id: String::new(), region, service }))
            }
            Err(fault) => Err(fault),
        }
    }

    async fn serve(
        &self,
        received: Received,
        who: Who,
        protocol: Protocol,
    ) -> Result<Reply, ApiError> {
        let request_id = received.request_id.clone();
        let (service, now) = (who.service, received.now);
        let spelled = |fault: Fault| fault.answer(protocol);
        let call = {
            let request = received.request();
            let (method, path) = (&received.head.method, request.path);
            if path != "/" || ![Method::POST, Method::GET].contains(method) {
                let action = cut(&format!("{method} {path}"));
                return Err(spelled(Fault::UnknownAction { action, version: "(none)".to_owned() }));
            }
            decode(protocol, service, &request).map_err(spelled)?
        };
        // What was decoded waits for its turn in the body's place: there is no more of it than there
        // may be of bodies, and of those that have their turn no more than there are turns.
        let place = received.body.into_place();
        let Who { caller, region, .. } = who;
        let (operation, input) = (call.operation, call.input);
        let ask = Ask { service, operation, protocol, input, region, caller, now, request_id };
        if !(self.services.is_built)(service, operation) {
            return Err(ask.unknown());
        }
        if !services::is_free(&ask) {
            let resources = (self.services.resources)(&self.context, &ask);
            let action = services::action(&ask);
            let allowed = self.identity.check(&ask.caller, &action, &resources);
            allowed.map_err(|why| spelled(Fault::Denied(why)))?;
        }
        let turn = timeout(self.limits.turn, self.turns.acquire()).await;
        let _turn = turn
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| spelled(Fault::Busy("Too many operations at one time.")))?;
        drop(place);
        let request_id = ask.request_id.clone();
        let answer = (self.services.answer)(self.context.clone(), ask).await?;
        debug!(request_id, service = service.scope, operation = operation.name, "served");
        encode(protocol, service, operation, &answer, &request_id).map_err(|err| {
            error!(request_id, err = &err as &dyn Error, "an answer could not be written");
            spelled(Fault::Internal)
        })
    }
}

/// Does a page in a browser send this? Every page that a person visits can send forms to a loopback
/// address and load pictures from it; where nothing is signed, that would be root's. A page whose
/// own name was made to lead here does not even say that it is one: only the name gives it away.
fn is_from_a_page(request: &Request<'_>) -> bool {
    let fetched = request.headers.get("sec-fetch-site").is_some_and(|site| site != "none");
    fetched || request.headers.contains_key("origin") || !names_this_machine(request)
}

/// Whether the request was sent to a name that nobody can make lead to another machine.
fn names_this_machine(request: &Request<'_>) -> bool {
    let mut hosts = request.headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    let Some(authority) = authority else { return false };
    let host = authority.host().to_ascii_lowercase();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    let is_local = host == "localhost" || host.ends_with(".localhost");
    is_local || bare.parse::<IpAddr>().is_ok()
}

/// An error as an answer.
fn refusal(dialect: Dialect, error: &ApiError, request_id: &str) -> Reply {
    let Dialect { protocol, service } = dialect;
    encode_error(protocol, service, error, request_id).unwrap_or_else(|err| {
        error!(request_id, err = &err as &dyn Error, "an error could not be written");
        let headers = vec![("x-amzn-requestid", request_id.to_owned())];
        Reply { status: error.status, headers, body: Vec::new() }
    })
}

/// The refusal of bytes that never became a request.
pub(super) fn refuse_bytes(fault: &Fault, unsigned: bool) -> Reply {
    let dialect = Dialect { protocol: Protocol::Query, service: None };
    let mut reply = refusal(dialect, &fault.answer(dialect.protocol), &request_id());
    if unsigned {
        reply.headers.push((UNSIGNED, "true".to_owned()));
    }
    reply
}

/// An id in the form of a random UUID.
fn request_id() -> String {
    let drawn = rand::random::<u128>();
    // Version 4, variant 1.
    let id = drawn & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let text = format!("{id:032x}");
    let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &text[part]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    cut(text.unwrap_or("(not a text)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_uuids_and_differ() {
        let ids: std::collections::BTreeSet<String> = (0..1000).map(|_| request_id()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            let lengths: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(id.as_bytes()[14], b'4', "{id}");
            assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }
}
