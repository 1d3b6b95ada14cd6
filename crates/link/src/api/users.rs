//! Tokens, users and user groups.
//!
//! Whoever asks sends hashes: a password stays where it was typed.
//!
//! Invariant: no answer holds a password or its hash.
//!
//! Not here: what a user may do (`tanist_core::acl`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tanist_core::model::{EngineKind, GroupName, PasswordHash};

/// A change of the tokens by which clients are a group's `default` user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenChange {
    /// Only this one, from now on.
    Set(PasswordHash),
    /// This one beside the newest one that there is.
    Rotate(PasswordHash),
    /// Of two only the newer one.
    Finish,
    /// None: everybody is `default` again.
    Remove,
}

/// How a group's clients say who they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginStatus {
    /// How many tokens are right: 0, 1, or 2 while one replaces the other.
    pub tokens: usize,
    /// When they were last changed, in milliseconds since 1970.
    pub changed_ms: Option<u64>,
    /// The user groups whose users there are.
    pub user_groups: BTreeSet<String>,
    /// Whoever has not said who they are is nobody.
    pub required: bool,
}

/// `POST /v1/users`: make a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// How it is referred to.
    pub id: String,
    /// How its clients call themselves.
    pub name: String,
    /// Of which engine the groups are that it may be used in.
    pub engine: EngineKind,
    /// What it may do, in the engine's language.
    pub access: String,
    /// Every password is right.
    #[serde(default)]
    pub no_password: bool,
    /// The SHA-256 of each password: two at most.
    #[serde(default)]
    pub passwords: BTreeSet<PasswordHash>,
    /// What the surface remembers, by its name.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// `POST /v1/users/{id}/modify`: changes what is named and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModifyUser {
    /// What it may do.
    #[serde(default)]
    pub access: Option<String>,
    /// Rules behind those that there are.
    #[serde(default)]
    pub append: Option<String>,
    /// Every password is right, or none is until some are given.
    #[serde(default)]
    pub no_password: Option<bool>,
    /// The SHA-256 of each password from now on.
    #[serde(default)]
    pub passwords: Option<BTreeSet<PasswordHash>>,
    /// What the surface remembers, by its name; `None` forgets it.
    #[serde(default)]
    pub attributes: BTreeMap<String, Option<String>>,
}

/// `GET /v1/users`: a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserStatus {
    /// How it is referred to.
    pub id: String,
    /// How its clients call themselves.
    pub name: String,
    /// Of which engine the groups are that it may be used in.
    pub engine: EngineKind,
    /// What it may do, as it was given.
    pub access: String,
    /// Every password is right.
    pub no_password: bool,
    /// How many passwords are right.
    pub passwords: usize,
    /// The user groups that it is in.
    pub user_groups: BTreeSet<String>,
    /// What the surface remembers, by its name.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// `POST /v1/user-groups`: make a set of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateUserGroup {
    /// How it is referred to.
    pub id: String,
    /// Of which engine the groups are that it may be used in.
    pub engine: EngineKind,
    /// Ids of users; one of them is named `default`.
    pub users: BTreeSet<String>,
    /// What the surface remembers, by its name.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// `POST /v1/user-groups/{id}/modify`: changes what is named and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModifyUserGroup {
    /// Ids of users that come.
    #[serde(default)]
    pub add: BTreeSet<String>,
    /// Ids of users that go.
    #[serde(default)]
    pub remove: BTreeSet<String>,
    /// What the surface remembers, by its name; `None` forgets it.
    #[serde(default)]
    pub attributes: BTreeMap<String, Option<String>>,
}

/// `GET /v1/user-groups`: a set of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserGroupStatus {
    /// How it is referred to.
    pub id: String,
    /// Of which engine the groups are that it may be used in.
    pub engine: EngineKind,
    /// Ids of users.
    pub users: BTreeSet<String>,
    /// The groups whose clients are these users.
    pub groups: Vec<GroupName>,
    /// What the surface remembers, by its name.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}
