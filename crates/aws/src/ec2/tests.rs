//! Operations as clients call them. Each answer also goes through the wire, which refuses members
//! that the model does not have.

mod conversation;
mod groups;
mod instances;
mod networks;

use serde_json::{Map, Value as Json};

use super::*;
use crate::book::lay_region;
use crate::model::Models;
use crate::service::Caller;
use crate::value::{Structure, Value};
use crate::wire::encode;

pub(crate) const REGION: &str = "us-east-1";
pub(crate) const ACCOUNT: &str = "123456789012";

/// A region's records, and a client at the desk.
pub(crate) struct Desk {
    pub(crate) pages: Pages,
    pub(crate) ids: Ids,
    pub(crate) now_ms: i64,
    pub(crate) holdings: Vec<Holding>,
    key: FreshKey,
}

pub(crate) fn zones() -> [String; 3] {
    ["a", "b", "c"].map(|letter| format!("{REGION}{letter}"))
}

fn value(json: &Json) -> Value {
    match json {
        Json::String(text) => text.into(),
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => number.as_i64().unwrap().into(),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(_) => Value::Structure(structure(json)),
        Json::Null => panic!("there is no null on the wire"),
    }
}

fn structure(json: &Json) -> Structure {
    let entries = json.as_object().unwrap().iter();
    entries.map(|(name, inner)| (name.clone(), value(inner))).collect()
}

fn shown(structure: &Structure) -> Json {
    fn one(value: &Value) -> Json {
        match value {
            Value::Text(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Boolean(flag) => (*flag).into(),
            Value::Timestamp(at) => at.as_millisecond().into(),
            Value::List(items) => items.iter().map(one).collect(),
            Value::Structure(inner) => shown(inner),
        }
    }
    Json::Object(structure.iter().map(|(k, v)| (k.to_owned(), one(v))).collect::<Map<_, _>>())
}

impl Desk {
    pub(crate) fn new() -> Self {
        let (mut pages, mut ids) = (Pages::default(), Ids::seeded(7));
        lay_region(&mut pages, &mut ids, zones().iter().map(String::as_str));
        let now_ms = 1_790_000_000_000;
        Self { pages, ids, now_ms, holdings: Vec::new(), key: FreshKey::of_bits(512) }
    }

    /// Carries a decoded request out, as [`answer`] does with a store.
    fn carry(&mut self, operation: &str, input: Structure) -> Answer {
        let service = &Models::load().unwrap().ec2;
        let ask = Ask {
            service,
            operation: service.operation(operation).unwrap(),
            protocol: Protocol::Ec2,
            input,
            region: REGION.to_owned(),
            caller: Caller { access_key_id: String::new(), arn: String::new() },
            now: jiff::Timestamp::from_millisecond(self.now_ms).unwrap(),
            request_id: "the-request-id".to_owned(),
        };
        let site = Site {
            ask: &ask,
            account: ACCOUNT,
            regions: &[REGION.to_owned(), "eu-central-1".to_owned()],
            zones: &zones(),
            holdings: &self.holdings,
            key: Some(&self.key),
        };
        let answer = match work_of(operation).unwrap() {
            Look(look) => look(&self.pages, &site)?,
            Change(change) | Remove(change) | Admit(change) => {
                let mut pages = self.pages.clone();
                let answer = change(&mut pages, &site, &mut self.ids)?;
                self.pages = pages;
                answer
            }
        };
        encode(Protocol::Ec2, service, ask.operation, &answer, &ask.request_id).unwrap();
        Ok(answer)
    }

    /// A request that succeeds.
    pub(crate) fn ok(&mut self, operation: &str, input: Json) -> Json {
        let answer = self.carry(operation, structure(&input));
        shown(&answer.unwrap_or_else(|error| panic!("{operation} {input}: {error:?}")))
    }

    /// The code of a request that is refused.
    pub(crate) fn code(&mut self, operation: &str, input: Json) -> String {
        self.refusal(operation, input).0
    }

    /// Code and text of a request that is refused.
    pub(crate) fn refusal(&mut self, operation: &str, input: Json) -> (String, String) {
        let before = self.pages.clone();
        match self.carry(operation, structure(&input)) {
            Ok(answer) => panic!("{operation} {input}: {answer:?}"),
            Err(error) => {
                assert_eq!(self.pages, before, "{operation} {input}");
                (error.code.into_owned(), error.message)
            }
        }
    }

    /// The text at a pointer of a successful answer.
    pub(crate) fn text(&mut self, operation: &str, input: Json, pointer: &str) -> String {
        let answer = self.ok(operation, input);
        let found = answer.pointer(pointer).and_then(Json::as_str);
        found.unwrap_or_else(|| panic!("{pointer} in {answer}")).to_owned()
    }

    /// The default VPC.
    pub(crate) fn vpc(&self) -> String {
        self.pages.vpcs.values().find(|vpc| vpc.is_default).unwrap().id.clone()
    }
}

#[test]
fn every_operation_of_the_model_is_built() {
    let service = &Models::load().unwrap().ec2;
    let modelled: Vec<&str> = service.operations().map(|operation| operation.name).collect();
    assert_eq!(modelled, OPERATIONS);
}

#[test]
fn unknown_filters_are_refused_everywhere() {
    let mut desk = Desk::new();
    for operation in Models::load().unwrap().ec2.operations() {
        let members = Models::load().unwrap().ec2.members(operation.input);
        if operation.name.starts_with("Describe") && members.iter().any(|m| m.name == "Filters") {
            let input = serde_json::json!({"Filters": [{"Name": "colour", "Values": ["red"]}]});
            let (code, text) = desk.refusal(operation.name, input);
            assert_eq!(code, "InvalidParameterValue", "{}", operation.name);
            assert_eq!(text, "The filter 'colour' is invalid");
        }
    }
}
