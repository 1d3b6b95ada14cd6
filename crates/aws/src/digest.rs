//! What tells one request from another: a digest of its members.
//!
//! Invariant: the order of members does not matter, that of a list's values does.
//!
//! Not here: what a difference means (pages in `crate::cloudwatch`, client tokens in `crate::ec2`).

use sha2::{Digest, Sha256};

use crate::value::{Structure, Value};

/// A digest of what was asked, some members excepted.
pub(crate) fn digest(input: &Structure, except: &[&str]) -> String {
    let mut hash = Sha256::new();
    members(&mut hash, input, except);
    hex::encode(&hash.finalize()[..8])
}

fn members(hash: &mut Sha256, structure: &Structure, except: &[&str]) {
    let mut members: Vec<_> = structure.iter().filter(|(name, _)| !except.contains(name)).collect();
    members.sort_by_key(|(name, _)| *name);
    for (name, value) in members {
        hash.update(format!("{name}="));
        match value {
            Value::Structure(inner) => members_of(hash, inner),
            Value::List(values) => values.iter().for_each(|value| match value {
                Value::Structure(inner) => members_of(hash, inner),
                other => hash.update(format!("{other:?};")),
            }),
            other => hash.update(format!("{other:?};")),
        }
    }
}

fn members_of(hash: &mut Sha256, structure: &Structure) {
    hash.update("{");
    members(hash, structure, &[]);
    hash.update("}");
}
