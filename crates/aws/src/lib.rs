//! The AWS surface: wire protocols, request signatures and the service models behind both.
//!
//! People drive Tanist with the AWS CLI, boto3 and Terraform. Those clients are generated from
//! service models, so this crate is driven by the same models: a request becomes an operation and a
//! [`value::Structure`], an answer goes back as one, and no element name is written by hand.
//!
//! Invariant: no input panics, and none needs more than 8 MiB; region and service of a request come
//! only from its verified signature ([`sigv4::Verified`]).
//!
//! Not here: engines and failover; a group is changed by writing its spec through the local API.

mod access;
mod book;
mod client;
mod cloudwatch;
mod digest;
mod ec2;
mod elasticache;
pub mod error;
mod front;
mod groups;
mod identity;
pub mod model;
pub mod request;
mod service;
pub mod sigv4;
mod sts;
pub mod value;
pub mod wire;

pub use book::{Book, BookError, Declared, DeclaredError};
pub use book::{DeclaredGroup, DeclaredRule, DeclaredSubnet, DeclaredVpc};
pub use client::{CallError, QueryClient, QueryConnection};
pub use front::{Front, FrontConfig, FrontError};
pub use identity::{
    AccessKey, Identity, IdentityError, KeySummary, MAX_KEYS, MAX_NAME_CHARS, MAX_PATTERNS,
    MAX_POLICY_BYTES, MAX_STATEMENTS, PolicyError,
};
pub use service::Settings;
