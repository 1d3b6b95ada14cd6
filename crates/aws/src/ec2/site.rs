//! What an operation is given: the request, and the facts of the installation that it may use.
//!
//! Invariant: an operation reads time and lots from here or its arguments only, so the same
//! request on the same records gives the same answer.
//!
//! Not here: the records (`crate::book`).

use std::fmt::Display;

use crate::access::Holding;
use crate::error::ApiError;
use crate::service::Ask;
use crate::value::Structure;

use super::keys::FreshKey;

/// Where a request is carried out.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) ask: &'a Ask,
    /// Twelve digits.
    pub(crate) account: &'a str,
    /// Every region.
    pub(crate) regions: &'a [String],
    /// The zones of the request's region.
    pub(crate) zones: &'a [String],
    /// What replication groups hold on to, for operations that take something away.
    pub(crate) holdings: &'a [Holding],
    /// A key pair that nobody has yet, for the operation that gives one out.
    pub(crate) key: Option<&'a FreshKey>,
}

impl<'a> Site<'a> {
    /// The request's input.
    pub(super) fn input(&self) -> &'a Structure {
        &self.ask.input
    }

    /// An error of EC2's.
    pub(super) fn refuse(&self, code: &'static str, message: impl Display) -> ApiError {
        self.ask.refuse(code, message)
    }

    /// The refusal of a value.
    pub(super) fn bad_value(&self, message: impl Display) -> ApiError {
        self.refuse("InvalidParameterValue", message)
    }

    /// The refusal of a request that lacks a parameter.
    pub(super) fn missing(&self, parameter: &str) -> ApiError {
        let text = format!("The request must contain the parameter {parameter}");
        self.refuse("MissingParameter", text)
    }

    /// The refusal of a parameter that asks for something which is not kept here.
    pub(super) fn unsupported(&self, what: &str) -> ApiError {
        let text = format!("The functionality you requested is not available here: {what}");
        self.refuse("UnsupportedOperation", text)
    }

    /// A string that is there and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.input().text(name).filter(|text| !text.is_empty())
    }

    /// A string that must be there.
    pub(super) fn need(&self, name: &'static str) -> Result<&'a str, ApiError> {
        self.text(name).ok_or_else(|| self.missing(name))
    }

    /// The value of an attribute such as `EnableDnsSupport={Value=true}`.
    pub(super) fn attribute(&self, name: &str) -> Option<bool> {
        self.input().structure(name)?.flag("Value")
    }

    /// An ARN of something in this region, such as `subnet/subnet-1`.
    pub(super) fn arn(&self, resource: &str) -> String {
        format!("arn:aws:ec2:{}:{}:{resource}", self.ask.region, self.account)
    }

    /// A replication group that has this security group.
    pub(super) fn holder(&self, security_group: &str) -> Option<&'a Holding> {
        self.holdings.iter().find(|holding| holding.has(security_group))
    }

    /// When the request came, in milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        self.ask.now.as_millisecond()
    }

    /// The id of a zone, such as `use1-az1` of `us-east-1a`.
    pub(super) fn zone_id(&self, zone: &str) -> String {
        zone_id(zone)
    }
}

/// The id that AWS gives to a zone in some account: the region in short and the letter's number.
fn zone_id(zone: &str) -> String {
    let (region, letter) = match zone.char_indices().next_back() {
        Some((at, letter)) => (&zone[..at], letter),
        None => return String::new(),
    };
    let mut short = String::new();
    for (at, part) in region.split('-').enumerate() {
        match part {
            "northeast" => short.push_str("ne"),
            "northwest" => short.push_str("nw"),
            "southeast" => short.push_str("se"),
            "southwest" => short.push_str("sw"),
            _ if at == 0 => short.push_str(part),
            _ => short.extend(part.chars().next()),
        }
    }
    let number = u32::from(letter).saturating_sub(u32::from('a')) + 1;
    format!("{short}-az{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_are_regions_in_short() {
        let ids = ["us-east-1a", "ap-southeast-1b", "eu-central-1c", "us-gov-west-1a"].map(zone_id);
        assert_eq!(ids, ["use1-az1", "apse1-az2", "euc1-az3", "usgw1-az1"]);
        assert_eq!(zone_id(""), "");
    }
}
