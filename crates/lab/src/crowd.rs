//! Many callers who change the same few things at the same time, and whether a change was lost.
//!
//! Each caller has a connection of its own, and something of its own inside of what all share: a tag
//! of a group, a rule of a security group. It waits for each answer before it goes on, so that the
//! last change that it was acknowledged is what must be found at the end.
//!
//! Invariant: what is found is read after the last answer; a change without an acknowledgement is
//! named, never passed over.
//!
//! Not here: what a caller may expect while others are at work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tanist_aws::{QueryClient, QueryConnection};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::surface::texts;

/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The service and the version of its API.
const ELASTICACHE: (&str, &str) = ("elasticache", "2015-02-02");
/// As above.
const EC2: (&str, &str) = ("ec2", "2016-11-15");

/// What became of the changes of a crowd.
#[derive(Debug, Default)]
pub struct Crowd {
    /// How long each acknowledged change took.
    pub took: Vec<Duration>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Changes that were not acknowledged, and why.
    pub refused: Vec<String>,
    /// Things of callers that are not as the last acknowledgement left them.
    pub lost: Vec<String>,
    /// What there is at the end, by the thing that all share.
    pub found: BTreeMap<String, Found>,
}

/// What callers have in a thing that they share: whose, and its value.
pub type Found = BTreeMap<String, String>;

/// One change, and what is there once it is acknowledged; `None` for nothing.
struct Change {
    action: &'static str,
    parameters: Vec<(&'static str, String)>,
    leaves: Option<String>,
}

/// One caller: the thing that it shares, its own part of it, and what it does.
struct Caller {
    service: (&'static str, &'static str),
    shared: String,
    own: String,
    changes: Vec<Change>,
}

/// What one caller met with.
struct Met {
    shared: String,
    own: String,
    took: Vec<Duration>,
    refused: Vec<String>,
    /// What the last acknowledgement promised; `None` if nothing was acknowledged.
    promised: Option<Option<String>>,
}

/// Each of `callers` gives a tag of its own `changes` values after one another, on one of the groups
/// with these ARNs.
///
/// # Panics
/// If the endpoint does not answer.
pub async fn tags(client: &QueryClient, arns: &[String], callers: usize, changes: usize) -> Crowd {
    let caller = |(number, arn): (usize, &String)| {
        let key = format!("caller-{number}");
        let change = |value: usize| Change {
            action: "AddTagsToResource",
            parameters: vec![
                ("ResourceName", arn.clone()),
                ("Tags.Tag.1.Key", key.clone()),
                ("Tags.Tag.1.Value", value.to_string()),
            ],
            leaves: Some(value.to_string()),
        };
        let changes = (1..=changes).map(change).collect();
        Caller { service: ELASTICACHE, shared: arn.clone(), own: key, changes }
    };
    let all = (0..callers).zip(arns.iter().cycle()).map(caller).collect();
    let mut busy = go(client, all).await;
    let mut connection = open(client).await;
    for (arn, found) in &mut busy.found {
        let asked = [("ResourceName", arn.as_str())];
        let xml = ask(&mut connection, ELASTICACHE, "ListTagsForResource", &asked).await;
        let tags = texts(&xml, "Key").into_iter().zip(texts(&xml, "Value"));
        found.extend(tags.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    busy.judged()
}

/// Each of `callers` adds and takes away a rule of its own by turns, in one of these security
/// groups; every second one ends with a rule, after one change fewer if `changes` is even.
///
/// # Panics
/// If the endpoint does not answer, or there are more callers than 200 times 200.
pub async fn rules(client: &QueryClient, ids: &[String], callers: usize, changes: usize) -> Crowd {
    let caller = |(number, id): (usize, &String)| {
        // Every second network, so that no two of them are one larger network.
        assert!(number < 200 * 200, "too many callers");
        let cidr = format!("10.{}.{}.0/25", number / 200, number % 200);
        let adds = |turn: usize| turn.is_multiple_of(2);
        let change = |turn: usize| Change {
            action: if adds(turn) {
                "AuthorizeSecurityGroupIngress"
            } else {
                "RevokeSecurityGroupIngress"
            },
            parameters: vec![
                ("GroupId", id.clone()),
                ("IpPermissions.1.IpProtocol", "tcp".to_owned()),
                ("IpPermissions.1.FromPort", "6379".to_owned()),
                ("IpPermissions.1.ToPort", "6379".to_owned()),
                ("IpPermissions.1.IpRanges.1.CidrIp", cidr.clone()),
            ],
            leaves: adds(turn).then(|| "admitted".to_owned()),
        };
        let stays = (number / ids.len()).is_multiple_of(2);
        let turns = if stays != changes.is_multiple_of(2) { changes } else { changes - 1 };
        let changes = (0..turns).map(change).collect();
        Caller { service: EC2, shared: id.clone(), own: cidr, changes }
    };
    let all = (0..callers).zip(ids.iter().cycle()).map(caller).collect();
    let mut busy = go(client, all).await;
    let mut connection = open(client).await;
    for (id, found) in &mut busy.found {
        let asked = [("GroupId.1", id.as_str())];
        let xml = ask(&mut connection, EC2, "DescribeSecurityGroups", &asked).await;
        let inwards = texts(&xml, "ipPermissions").concat();
        let admitted = texts(&inwards, "cidrIp").into_iter();
        found.extend(admitted.map(|cidr| (cidr.to_owned(), "admitted".to_owned())));
    }
    busy.judged()
}

/// A crowd at work: what it was promised is judged when it is known what there is.
struct Busy {
    crowd: Crowd,
    promised: Vec<(String, String, Option<String>)>,
    found: BTreeMap<String, Found>,
}

impl Busy {
    fn judged(self) -> Crowd {
        let Self { mut crowd, promised, found } = self;
        for (shared, own, promise) in promised {
            let is = found.get(&shared).and_then(|found| found.get(&own));
            if is != promise.as_ref() {
                crowd.lost.push(format!("{own} of {shared}: {is:?} instead of {promise:?}"));
            }
        }
        crowd.found = found;
        crowd
    }
}

async fn go(client: &QueryClient, callers: Vec<Caller>) -> Busy {
    let mut connected = Vec::new();
    for caller in callers {
        connected.push((open(client).await, caller));
    }
    let started = Instant::now();
    let mut at_work = JoinSet::new();
    for (connection, caller) in connected {
        at_work.spawn(caller.work(connection));
    }
    let mut busy = Busy { crowd: Crowd::default(), promised: Vec::new(), found: BTreeMap::new() };
    for met in at_work.join_all().await {
        busy.crowd.took.extend(met.took);
        busy.crowd.refused.extend(met.refused);
        busy.found.entry(met.shared.clone()).or_default();
        if let Some(promised) = met.promised {
            busy.promised.push((met.shared, met.own, promised));
        }
    }
    busy.crowd.elapsed = started.elapsed();
    busy
}

impl Caller {
    async fn work(self, mut connection: QueryConnection) -> Met {
        let Self { service: (service, version), shared, own, changes } = self;
        let (mut took, mut refused, mut promised) = (Vec::new(), Vec::new(), None);
        for change in changes {
            let parameters: Vec<(&str, &str)> =
                change.parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let began = Instant::now();
            let call = connection.call(service, version, change.action, &parameters);
            match timeout(PATIENCE, call).await {
                Ok(Ok(_)) => {
                    took.push(began.elapsed());
                    promised = Some(change.leaves);
                }
                Ok(Err(err)) => refused.push(format!("{} {own}: {err}", change.action)),
                Err(_) => refused.push(format!("{} {own}: no answer", change.action)),
            }
        }
        Met { shared, own, took, refused, promised }
    }
}

async fn open(client: &QueryClient) -> QueryConnection {
    client.connect().await.unwrap_or_else(|err| panic!("{}: {err}", client.endpoint))
}

async fn ask(
    connection: &mut QueryConnection,
    (service, version): (&str, &str),
    action: &str,
    parameters: &[(&str, &str)],
) -> String {
    let answer = timeout(PATIENCE, connection.call(service, version, action, parameters)).await;
    match answer {
        Ok(Ok(xml)) => xml,
        Ok(Err(err)) => panic!("{action} {parameters:?}: {err}"),
        Err(_) => panic!("{action} {parameters:?}: no answer within {PATIENCE:?}"),
    }
}
