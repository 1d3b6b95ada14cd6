//! Every record of one region.
//!
//! Invariant: each shelf has a kind of its own in the store's keys, and a kind is never given to
//! another shelf.
//!
//! Not here: transactions (`super`).

use serde::Serialize;
use serde::de::DeserializeOwned;
use tanist_core::model::stored::Stored;

use super::records::{
    CacheParameterGroup, CacheSubnetGroup, Instance, InternetGateway, KeyPair, NetworkAcl,
    RouteTable, SecurityGroup, Subnet, Tags, Vpc,
};
use super::shelf::{Changed, Shelf};

/// One write: the kind and id of a record, and its document, or `None` if the record is gone.
pub(super) struct Write {
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) document: Option<Vec<u8>>,
}

fn difference<T: Clone + PartialEq + Serialize>(
    kind: &'static str,
    (before, after): (&Shelf<T>, &Shelf<T>),
    writes: &mut Vec<Write>,
) -> Result<(), serde_json::Error> {
    for changed in after.since(before) {
        writes.push(match changed {
            Changed::Put(id, record) => {
                let document = serde_json::to_vec(&Stored::new(record))?;
                Write { kind, id: id.to_owned(), document: Some(document) }
            }
            Changed::Gone(id) => Write { kind, id: id.to_owned(), document: None },
        });
    }
    Ok(())
}

fn restore<T: Clone + PartialEq + DeserializeOwned>(
    shelf: &mut Shelf<T>,
    id: &str,
    document: &[u8],
) -> Result<(), serde_json::Error> {
    let stored: Stored<T> = serde_json::from_slice(document)?;
    shelf.insert(id, stored.into_body());
    Ok(())
}

macro_rules! pages {
    ($($(#[$doc:meta])* $kind:literal $shelf:ident: $record:ty,)*) => {
        /// Every record of one region.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub(crate) struct Pages {
            $($(#[$doc])* pub(crate) $shelf: Shelf<$record>,)*
        }

        impl Pages {
            /// How many records there are.
            pub(crate) fn len(&self) -> usize {
                [$(self.$shelf.len()),*].into_iter().sum()
            }

            /// What must be written so that `before` becomes this.
            pub(super) fn since(&self, before: &Self) -> Result<Vec<Write>, serde_json::Error> {
                let mut writes = Vec::new();
                $(difference($kind, (&before.$shelf, &self.$shelf), &mut writes)?;)*
                Ok(writes)
            }

            /// Puts a stored document in its place; false if no shelf has this kind.
            pub(super) fn restore(
                &mut self,
                kind: &str,
                id: &str,
                document: &[u8],
            ) -> Result<bool, serde_json::Error> {
                match kind {
                    $($kind => restore(&mut self.$shelf, id, document)?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
}

pages! {
    "vpc" vpcs: Vpc,
    "subnet" subnets: Subnet,
    "internet-gateway" internet_gateways: InternetGateway,
    "route-table" route_tables: RouteTable,
    "network-acl" network_acls: NetworkAcl,
    "security-group" security_groups: SecurityGroup,
    "key-pair" key_pairs: KeyPair,
    "instance" instances: Instance,
    /// By resource id, of everything that EC2 has; gone with the resource.
    "tags" tags: Tags,
    /// By name.
    "cache-subnet-group" cache_subnet_groups: CacheSubnetGroup,
    /// By name.
    "cache-parameter-group" cache_parameter_groups: CacheParameterGroup,
    /// By ARN, of what ElastiCache has and keeps no tags itself.
    "cache-tags" cache_tags: Tags,
}
