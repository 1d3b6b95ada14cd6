//! Which service a request is for, and its operations.
//!
//! Invariant: an operation that its service does not list is never called.
//!
//! Not here: what an operation does.

use std::future::Future;
use std::pin::Pin;

use crate::model::{Models, Operation, Service};
use crate::request::Request;
use crate::service::{Answer, Ask, Context};
use crate::{cloudwatch, ec2, elasticache, sts};

/// An operation at work.
pub(super) type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What the desk asks of the services. A value, so that tests can have services that fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Services {
    /// Is the operation built?
    pub(super) is_built: fn(&Service, &Operation) -> bool,
    /// What the request is about, as ARNs.
    pub(super) resources: fn(&Context, &Ask) -> Vec<String>,
    /// Carries the request out.
    pub(super) answer: fn(Context, Ask) -> Answering,
}

impl Services {
    pub(super) const ALL: Self = Self { is_built, resources, answer };
}

fn is_built(service: &Service, operation: &Operation) -> bool {
    let built = match service.scope {
        "elasticache" => elasticache::OPERATIONS,
        "ec2" => ec2::OPERATIONS,
        "sts" => sts::OPERATIONS,
        "monitoring" => cloudwatch::OPERATIONS,
        _ => &[],
    };
    built.contains(&operation.name)
}

fn resources(context: &Context, ask: &Ask) -> Vec<String> {
    match ask.service.scope {
        "elasticache" => elasticache::resources(context, ask),
        "ec2" => ec2::resources(context, ask),
        "sts" => sts::resources(context, ask),
        "monitoring" => cloudwatch::resources(context, ask),
        _ => vec!["*".to_owned()],
    }
}

fn answer(context: Context, ask: Ask) -> Answering {
    Box::pin(async move {
        match ask.service.scope {
            "elasticache" => Box::pin(elasticache::answer(&context, &ask)).await,
            "ec2" => Box::pin(ec2::answer(&context, &ask)).await,
            "sts" => sts::answer(&context, &ask).await,
            "monitoring" => Box::pin(cloudwatch::answer(&context, &ask)).await,
            _ => Err(ask.unknown()),
        }
    })
}

/// The action as policies name it, such as `cloudwatch:PutMetricData`.
pub(super) fn action(ask: &Ask) -> String {
    let service = match ask.service.scope {
        "monitoring" => "cloudwatch",
        scope => scope,
    };
    format!("{service}:{}", ask.operation.name)
}

/// Does the operation need no permission?
pub(super) fn is_free(ask: &Ask) -> bool {
    ask.service.scope == "sts" && ask.operation.name == "GetCallerIdentity"
}

/// The service that a request names beside its signature: by its target or its API's version. Good
/// for the form of a refusal, and for requests that need no signature.
pub(super) fn named(models: &'static Models, request: &Request<'_>) -> Option<&'static Service> {
    if let Some(target) = request.header("x-amz-target") {
        let prefix = target.split_once('.')?.0;
        return models.all().into_iter().find(|service| service.target_prefix == Some(prefix));
    }
    let pairs = [request.query.as_bytes(), request.body];
    let pairs = pairs.into_iter().flat_map(|text| text.split(|byte| *byte == b'&'));
    let version = pairs.filter_map(|pair| pair.strip_prefix(b"Version=")).next()?;
    models.all().into_iter().find(|service| service.api_version.as_bytes() == version)
}
