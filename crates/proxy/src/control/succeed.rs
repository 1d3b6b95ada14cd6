//! Handing over to the next program image, and taking over from the one before.
//!
//! Invariant: between writing the first client down and the `execve` nothing else runs, so that what is
//! written is one moment.
//!
//! Not here: when everybody is at rest (`crate::renewal`).

use std::rc::Rc;

use tanist_link::wire::{FromProxy, Renewed};
use tokio::task::spawn_local;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Control, begin};
use crate::client;
use crate::endpoint::Seat;
use crate::octets::Clock;
use crate::renewal::{
    Estate, Inheritance, Next, Parcel, Refused, Wanted, become_it, machine_micros,
};
use crate::shard::Shard;

impl Control {
    /// Somebody wants the proxy to become another program; the answer, if it is to stay.
    pub(super) fn ask_to_renew(&mut self, wanted: Wanted) -> Option<FromProxy> {
        match self.conduct.ask(&wanted) {
            Ok(()) => {
                info!(program = %wanted.program.display(), "an upgrade is asked for");
                None
            }
            Err(refused) => say(&wanted, &refused),
        }
    }

    /// Goes on with an upgrade; what to say to whoever asked for it, if it failed.
    pub(super) fn conduct_on(&mut self, next: Next) -> Option<FromProxy> {
        match next {
            Next::Asked => {
                let program = self.conduct.own_program();
                self.ask_to_renew(Wanted { program, number: None })
            }
            Next::Tried((wanted, outcome)) => {
                self.conduct.tried();
                match outcome {
                    Ok(()) => {
                        let shards = self.shards.values();
                        self.conduct.begin(wanted, &self.identity.renewal, shards);
                        None
                    }
                    Err(refused) => say(&wanted, &refused),
                }
            }
            Next::Look => {
                let looked = self.conduct.look(&self.identity.renewal, self.shards.values());
                let (wanted, refused) = match looked {
                    Ok(None) => return None,
                    Ok(Some((wanted, since))) => {
                        let refused = self.hand_over(&wanted, since);
                        (wanted, refused)
                    }
                    Err(failed) => failed,
                };
                let shards = self.shards.values();
                self.conduct.give_up(&self.identity.renewal, &refused, shards);
                say(&wanted, &refused)
            }
        }
    }

    /// Becomes the program; returns only if that fails.
    fn hand_over(&mut self, wanted: &Wanted, since: u64) -> Refused {
        let laid = match self.write_down(wanted, since) {
            Ok(laid) => laid,
            Err(refused) => return refused,
        };
        let refused = match self.conduct.succession() {
            Ok(succession) => become_it(&wanted.program, succession),
            Err(refused) => refused,
        };
        drop(laid);
        refused
    }

    fn write_down(&self, wanted: &Wanted, since: u64) -> Result<crate::renewal::Laid, Refused> {
        let now = Instant::now();
        let identity = &self.identity;
        let mut parcel = Parcel::new()?;
        let lock = self.conduct.succession()?.lock.as_ref();
        let lock = lock.map(|lock| parcel.add(lock)).transpose()?;
        let endpoints = self.endpoints.hand_over(&mut parcel, Clock(now))?;
        let mut clients = Vec::new();
        for client in identity.renewal.clients() {
            clients.extend(client.borrow().hand_over(&mut parcel, now)?);
        }
        let estate = Estate {
            number: wanted.number,
            since,
            next_client: identity.next_client.get(),
            ended: identity.renewal.ended(),
            notice: identity.renewal.notice(),
            lock,
            certificates: identity.certificates.told(),
            shards: self.shards.values().map(|shard| shard.estate()).collect(),
            endpoints,
            clients,
            ..Estate::default()
        };
        parcel.put_down(&estate)
    }

    /// Goes on with what the image before has handed over.
    pub(super) async fn take_over(&mut self) {
        self.conduct.listen();
        let Some(mut inheritance) = self.inheritance.take() else { return };
        let now = Instant::now();
        let estate = std::mem::take(&mut inheritance.estate);
        let identity = Rc::clone(&self.identity);
        identity.next_client.set(estate.next_client.max(1));
        identity.renewal.follow_notice(estate.notice);
        for certificate in &estate.certificates {
            if let Err(err) = identity.certificates.learn(certificate) {
                let err = &err as &dyn std::error::Error;
                warn!(group = %certificate.group, err, "a certificate that was handed over");
            }
        }
        for shard in estate.shards {
            let shard = Shard::restore(shard, Rc::clone(&identity));
            self.shards.insert(shard.key.clone(), begin(shard));
        }
        for endpoint in estate.endpoints {
            let address = endpoint.address;
            let listener = inheritance.take(endpoint.listener);
            let shard = self.shards.get(&endpoint.key);
            let Some((listener, shard)) = listener.zip(shard) else { continue };
            if let Err(err) = self.endpoints.adopt(endpoint, listener, shard, Clock(now)) {
                warn!(%address, %err, "an endpoint that was handed over");
            }
        }
        let arrivals: Vec<_> =
            self.shards.values().map(|shard| (Rc::clone(shard), shard.arrivals())).collect();
        let (mut kept, mut lost) = (0, 0);
        for client in estate.clients {
            if self.take_client(client, &mut inheritance, now) {
                kept += 1;
            } else {
                lost += 1;
            }
        }
        for (shard, arrivals) in arrivals {
            shard.forget_arrivals(&arrivals);
        }
        let ended = estate.ended + lost;
        let millis = machine_micros().saturating_sub(estate.since) / 1000;
        info!(kept, ended, millis, "upgraded: the clients of the image before go on");
        self.renewed = Some(Renewed { number: estate.number, kept, ended, millis });
        self.offer(None).await;
    }

    fn take_client(
        &self,
        estate: crate::renewal::ClientEstate,
        inheritance: &mut Inheritance,
        now: Instant,
    ) -> bool {
        let address = estate.endpoint;
        let socket = inheritance.take(estate.socket);
        let upstream = estate.upstream.and_then(|place| inheritance.take(place));
        let place = self.endpoints.at(address);
        let Some((socket, (endpoint, shard))) = socket.zip(place) else {
            error!(%address, "a client was handed over without its socket or endpoint");
            return false;
        };
        let Some(seat) = Seat::take(&self.identity) else {
            error!(%address, "there is no place for a client that was handed over");
            return false;
        };
        match client::restore(estate, socket, upstream, (endpoint, shard, seat), now) {
            Ok(client) => {
                spawn_local(client);
                true
            }
            Err(err) => {
                error!(%address, %err, "a client that was handed over cannot go on");
                false
            }
        }
    }
}

/// Says that the proxy stays what it is.
fn say(wanted: &Wanted, refused: &Refused) -> Option<FromProxy> {
    warn!(program = %wanted.program.display(), %refused, "the upgrade is given up");
    let number = wanted.number?;
    Some(FromProxy::NotRenewed { number, reason: refused.to_string() })
}
