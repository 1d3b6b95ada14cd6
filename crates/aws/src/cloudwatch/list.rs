//! `ListMetrics`: which metrics there are.
//!
//! Invariant: a metric that exists during all pages is on exactly one of them.
//!
//! Not here: their numbers.

use std::sync::Arc;

use tanist_telemetry::{Dimensions, Filter, Key};

use super::{Desk, VALUE, token};
use crate::service::{Answer, Ask};
use crate::value::Structure;

/// Metrics of one page.
const PAGE: usize = 500;
const HOUR: i64 = 3_600_000;

/// The last metric of the page before: namespace, name and dimensions.
type Place = (String, String, Vec<(String, String)>);

impl Desk<'_> {
    pub(super) fn list(&self, ask: &Ask) -> Answer {
        let input = &ask.input;
        let recent = match input.text("RecentlyActive") {
            None => 14 * 24 * HOUR,
            Some("PT3H") => 3 * HOUR,
            Some(_) => return Err(ask.refuse(VALUE, super::one_of("RecentlyActive", &["PT3H"]))),
        };
        let region: Arc<str> = ask.region.as_str().into();
        let after = token::read::<Place>(ask)?.map(|(namespace, metric, dimensions)| {
            Key::new(&region, namespace, metric, &Dimensions::new(dimensions))
        });
        let dimensions: Vec<(&str, Option<&str>)> = input
            .structures("Dimensions")
            .map(|wanted| (wanted.text("Name").unwrap_or_default(), wanted.text("Value")))
            .collect();
        let filter = Filter {
            region: &region,
            namespace: input.text("Namespace"),
            metric: input.text("MetricName"),
            dimensions: &dimensions,
            since: super::now(ask) - recent,
        };
        let linked = input.flag("IncludeLinkedAccounts").unwrap_or(false);
        let ours = input.text("OwningAccount").is_none_or(|account| account == self.account);
        let mut found =
            if ours { self.metrics.list(&filter, after.as_ref(), PAGE + 1) } else { Vec::new() };
        let more = found.len() > PAGE;
        found.truncate(PAGE);
        let next = found.last().filter(|_| more).and_then(|last| token::write(ask, place(last)));
        let answer = Structure::new()
            .list("Metrics", found.iter().map(|key| metric(key)))
            .maybe("NextToken", next);
        Ok(match linked {
            true => answer.list("OwningAccounts", found.iter().map(|_| self.account)),
            false => answer,
        })
    }
}

fn place(key: &Key) -> Place {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    (key.namespace.to_string(), key.metric.to_string(), key.dimensions.iter().map(pair).collect())
}

fn metric(key: &Key) -> Structure {
    let dimensions = key
        .dimensions
        .iter()
        .map(|(name, value)| Structure::new().set("Name", name).set("Value", value));
    Structure::new()
        .set("Namespace", key.namespace.as_ref())
        .set("MetricName", key.metric.as_ref())
        .list("Dimensions", dimensions)
}
