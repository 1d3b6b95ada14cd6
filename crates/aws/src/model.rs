//! The service models: which operations there are, and what their bytes look like.
//!
//! `cargo xtask models` takes them from botocore into `models/*.json`, which are part of the binary.
//! They are read once; names are then pieces of the binary itself, so that a request's tree costs no
//! memory for them.
//!
//! Invariant: a model that has a property which the wire protocols would not heed does not load.
//!
//! Not here: the wire protocols ([`crate::wire`]); what an operation does.

mod load;

use std::collections::BTreeMap;
use std::sync::OnceLock;

pub use load::ModelError;

/// Every service that is served.
#[derive(Debug)]
pub struct Models {
    /// Replication groups and what belongs to them.
    pub elasticache: Service,
    /// Networks and their bookkeeping.
    pub ec2: Service,
    /// Who am I.
    pub sts: Service,
    /// Metrics and alarms.
    pub cloudwatch: Service,
}

impl Models {
    /// The embedded models, read at the first call.
    ///
    /// # Errors
    /// [`ModelError`] if a generated file is not what this version expects; then no call succeeds.
    pub fn load() -> Result<&'static Self, &'static ModelError> {
        static MODELS: OnceLock<Result<Models, ModelError>> = OnceLock::new();
        MODELS.get_or_init(Self::read).as_ref()
    }

    fn read() -> Result<Self, ModelError> {
        Ok(Self {
            elasticache: Service::parse(include_str!("../models/elasticache.json"))?,
            ec2: Service::parse(include_str!("../models/ec2.json"))?,
            sts: Service::parse(include_str!("../models/sts.json"))?,
            cloudwatch: Service::parse(include_str!("../models/cloudwatch.json"))?,
        })
    }

    /// The service that a signature's scope names, such as `monitoring`.
    #[must_use]
    pub fn in_scope(&self, name: &str) -> Option<&Service> {
        self.all().into_iter().find(|service| service.scope == name)
    }

    /// Every service.
    #[must_use]
    pub const fn all(&self) -> [&Service; 4] {
        [&self.elasticache, &self.ec2, &self.sts, &self.cloudwatch]
    }
}

/// One service.
#[derive(Debug)]
pub struct Service {
    /// The name in a signature's scope, such as `elasticache`.
    pub scope: &'static str,
    /// The version of its API, such as `2015-02-02`.
    pub api_version: &'static str,
    /// The namespace of its XML.
    pub xml_namespace: &'static str,
    /// What `X-Amz-Target` begins with, where the service speaks JSON.
    pub target_prefix: Option<&'static str>,
    /// Its JSON's version, such as `1.0`.
    pub json_version: Option<&'static str>,
    operations: BTreeMap<&'static str, Operation>,
    shapes: Vec<Shape>,
    failures: BTreeMap<&'static str, Failure>,
}

impl Service {
    /// An operation.
    #[must_use]
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.get(name)
    }

    /// Every operation, by name.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values()
    }

    /// A shape of this service.
    #[must_use]
    pub fn shape(&self, id: ShapeId) -> &Shape {
        &self.shapes[id.0]
    }

    /// The members of a structure; none for any other shape, or for no shape.
    #[must_use]
    pub fn members(&self, id: Option<ShapeId>) -> &[Member] {
        match id.map(|id| &self.shape(id).kind) {
            Some(Kind::Structure(members)) => members,
            _ => &[],
        }
    }

    /// An error, by its code or by its shape's name.
    #[must_use]
    pub fn failure(&self, name: &str) -> Option<&Failure> {
        let by_code = || self.failures.values().find(|failure| failure.code == name);
        self.failures.get(name).or_else(by_code)
    }

    /// Every error, by its shape's name.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.failures.values()
    }
}

/// One operation.
#[derive(Debug)]
pub struct Operation {
    /// Its name, such as `CreateReplicationGroup`.
    pub name: &'static str,
    /// What a request holds.
    pub input: Option<ShapeId>,
    /// What an answer holds.
    pub output: Option<ShapeId>,
    /// The element around an answer of the Query protocol.
    pub result_wrapper: Option<&'static str>,
    /// The shapes' names of the errors that clients expect of it.
    pub errors: Vec<&'static str>,
}

/// One error.
#[derive(Debug)]
pub struct Failure {
    /// The shape's name, such as `CacheClusterNotFoundFault`.
    pub name: &'static str,
    /// What clients branch on, such as `CacheClusterNotFound`.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
}

/// A shape of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeId(usize);

/// What a value looks like.
#[derive(Debug)]
pub struct Shape {
    /// The model's name for it.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The least number, or length of a string (in characters) or list.
    pub min: Option<f64>,
    /// The greatest number, or length of a string (in characters) or list.
    pub max: Option<f64>,
    /// The regular expression of a string. Information: it is not enforced.
    pub pattern: Option<String>,
}

/// A shape's type.
#[derive(Debug)]
pub enum Kind {
    /// Named members in the model's order.
    Structure(Vec<Member>),
    /// Values of one shape.
    List {
        /// The shape.
        member: ShapeId,
        /// The name of each value's element or parameter.
        location: Option<&'static str>,
        /// Whether the values stand without an element around all of them.
        flattened: bool,
    },
    /// Values under names that the request chooses.
    Map {
        /// The name's shape, and its element's name.
        key: (ShapeId, &'static str),
        /// The value's shape, and its element's name.
        value: (ShapeId, &'static str),
        /// Whether the entries stand without an element around all of them.
        flattened: bool,
    },
    /// A string; with values, those that the model knows. Services know new ones before models do,
    /// so they are not enforced.
    Text(Vec<&'static str>),
    /// A whole number of 32 bits.
    Integer,
    /// A whole number of 64 bits.
    Long,
    /// A number.
    Float,
    /// True or false.
    Boolean,
    /// A point in time.
    Timestamp,
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// The model's name for it, which clients and [`crate::value::Structure`] use.
    pub name: &'static str,
    /// Its element's name, and in JSON its key's, if that is another one.
    pub location: Option<&'static str>,
    /// Its parameter's name of the EC2 protocol, if no rule makes it.
    pub query_name: Option<&'static str>,
    /// Whether a request must have it.
    pub required: bool,
    /// What it looks like.
    pub shape: ShapeId,
}

impl Member {
    /// The name of its element or key.
    #[must_use]
    pub fn element(&self) -> &'static str {
        self.location.unwrap_or(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_models_load() {
        let models = Models::load().unwrap();
        let count = |service: &Service| service.operations().count();
        assert_eq!(count(&models.elasticache), 54);
        assert_eq!(count(&models.ec2), 49);
        assert_eq!(count(&models.cloudwatch), 11);
        assert_eq!(count(&models.sts), 1);
        let prefix = models.in_scope("monitoring").and_then(|service| service.target_prefix);
        assert_eq!(prefix, Some("GraniteServiceVersion20100801"));
        assert!(models.in_scope("cloudwatch").is_none());
    }

    #[test]
    fn errors_are_found_by_code_and_by_shape() {
        let service = &Models::load().unwrap().elasticache;
        for name in ["CacheClusterNotFound", "CacheClusterNotFoundFault"] {
            let failure = service.failure(name).unwrap();
            assert_eq!((failure.code, failure.status), ("CacheClusterNotFound", 404));
        }
        assert_eq!(service.failure("CacheSubnetGroupNotFoundFault").unwrap().status, 400);
        assert!(service.failure("NoSuchFault").is_none());
    }

    #[test]
    fn every_listed_error_of_an_operation_exists() {
        for service in Models::load().unwrap().all() {
            for operation in service.operations() {
                for name in &operation.errors {
                    assert!(service.failure(name).is_some(), "{} {name}", operation.name);
                }
            }
        }
    }
}
