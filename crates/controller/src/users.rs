//! Users and user groups: what is asked of them, and what may be.
//!
//! A user is known by an id, and calls itself by a name that several users may have; a user group is
//! a set of users with different names, one of them `default`. A group whose clients are a user
//! group's users knows exactly those. Whoever changes a user changes every group that knows it, and
//! is answered when every proxy works by it.
//!
//! Invariant: a user that is accepted has an access string that engines understand, and nobody is
//! accepted who would be let in without a word unless that was asked for.
//!
//! Not here: the store (`crate::archive`), what a proxy makes of it (`tanist-proxy`).

use std::collections::{BTreeMap, BTreeSet};

use tanist_core::acl::{self, AclError, Reading};
use tanist_core::model::{DEFAULT_USER, EngineKind, GroupName, GroupSpec, User, UserGroup};
use tanist_link::api::{
    ApiError, CreateUser, CreateUserGroup, LoginStatus, ModifyUser, ModifyUserGroup, TokenChange,
    UserGroupStatus, UserStatus,
};
use tanist_link::wire::HOUSE_USER;
use tanist_resp::CommandTable;

use crate::archive::Archive;

/// Most users of an installation.
const MAX_USERS: usize = 1000;
/// Most user groups of an installation.
const MAX_USER_GROUPS: usize = 100;
/// Most users of a user group.
const MAX_MEMBERS: usize = 100;
/// Most characters of an id.
const MAX_ID: usize = 40;
/// Most characters of a name.
const MAX_NAME: usize = 120;
/// Most passwords of a user.
const MAX_PASSWORDS: usize = 2;

/// The user that is always there.
pub(crate) fn built_in() -> User {
    User {
        id: DEFAULT_USER.to_owned(),
        name: DEFAULT_USER.to_owned(),
        engine: EngineKind::Redis,
        access: "on ~* &* +@all".to_owned(),
        no_password: true,
        passwords: BTreeSet::new(),
        attributes: BTreeMap::new(),
    }
}

/// Reads an access string; commands are those that the engines have.
pub(crate) fn read_access(text: &str) -> Result<Reading, AclError> {
    let table = CommandTable::builtin();
    acl::read(text, &|name| match name.split_once('|') {
        Some((family, sub)) => table.lookup_sub(family.as_bytes(), sub.as_bytes()).is_some(),
        None => table.lookup(name.as_bytes()).is_some(),
    })
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new("T444", message, "see docs/endpoint.md, users")
}

fn id(what: &str, text: &str) -> Result<String, ApiError> {
    let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if letters && first && text.len() <= MAX_ID {
        return Ok(text.to_owned());
    }
    Err(bad(format!(
        "the {what}'s id {text:?} cannot be: 1 to {MAX_ID} lower-case letters, digits and hyphens, \
         a letter first"
    )))
}

fn check(user: &User) -> Result<(), ApiError> {
    // Engines put names between quotes.
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'"' | b',');
    let visible = user.name.bytes().all(plain);
    if user.name.is_empty() || user.name.len() > MAX_NAME || !visible || user.name == HOUSE_USER {
        return Err(bad(format!(
            "the user's name {:?} cannot be: 1 to {MAX_NAME} visible ASCII characters \
             without quotes and commas",
            user.name
        )));
    }
    read_access(&user.access).map_err(|err| bad(err.to_string()))?;
    if user.passwords.len() > MAX_PASSWORDS {
        return Err(bad(format!("a user has {MAX_PASSWORDS} passwords at most")));
    }
    if user.no_password != user.passwords.is_empty() {
        return Err(bad(format!(
            "user {} needs one or two passwords, or has to be said to need none",
            user.id
        )));
    }
    Ok(())
}

/// The user that is asked for.
pub(crate) fn create(archive: &Archive, asked: &CreateUser) -> Result<User, ApiError> {
    let id = id("user", &asked.id)?;
    if archive.user(&id).is_some() {
        let message = format!("the user {id} exists already");
        return Err(ApiError::new("T442", message, "choose another id, or modify it"));
    }
    if archive.users.len() >= MAX_USERS {
        let message = format!("there are {MAX_USERS} users already");
        return Err(ApiError::new("T448", message, "delete a user that is not needed"));
    }
    let user = User {
        id,
        name: asked.name.clone(),
        engine: asked.engine,
        access: asked.access.clone(),
        no_password: asked.no_password,
        passwords: asked.passwords.clone(),
        attributes: asked.attributes.clone(),
    };
    check(&user)?;
    Ok(user)
}

/// The user as it will be.
pub(crate) fn modify(archive: &Archive, id: &str, asked: &ModifyUser) -> Result<User, ApiError> {
    let mut user = User::clone(&*known(archive, id)?);
    if !archive.users.contains_key(id) {
        return Err(bad(format!("the user {id} is always there as it is; make one of your own")));
    }
    if let Some(access) = &asked.access {
        user.access.clone_from(access);
    }
    if let Some(more) = &asked.append {
        user.access = format!("{} {more}", user.access);
    }
    if let Some(passwords) = &asked.passwords {
        user.passwords.clone_from(passwords);
        user.no_password = false;
    }
    if let Some(none) = asked.no_password {
        user.no_password = none;
        if none {
            user.passwords.clear();
        }
    }
    take_attributes(&mut user.attributes, &asked.attributes);
    check(&user)?;
    Ok(user)
}

fn take_attributes(own: &mut BTreeMap<String, String>, asked: &BTreeMap<String, Option<String>>) {
    for (surface, value) in asked {
        match value {
            Some(value) => own.insert(surface.clone(), value.clone()),
            None => own.remove(surface),
        };
    }
}

fn known(archive: &Archive, id: &str) -> Result<std::sync::Arc<User>, ApiError> {
    archive.user(id).ok_or_else(|| {
        let message = format!("there is no user {id}");
        ApiError::new("T440", message, "tanist user list shows the users")
    })
}

/// A user that may be deleted.
pub(crate) fn deletable(archive: &Archive, id: &str) -> Result<UserStatus, ApiError> {
    let user = known(archive, id)?;
    if !archive.users.contains_key(id) {
        return Err(bad(format!("the user {id} is always there")));
    }
    let groups: Vec<&str> = archive.groups_of_user(id).map(|group| group.id.as_str()).collect();
    if user.name == DEFAULT_USER && !groups.is_empty() {
        let message =
            format!("the user {id} is who says nothing in user groups: {}", groups.join(", "));
        let remedy = "put another user of that name in its place first: tanist user-group modify";
        return Err(ApiError::new("T445", message, remedy));
    }
    Ok(status(archive, &user))
}

/// A user for people and programs.
pub(crate) fn status(archive: &Archive, user: &User) -> UserStatus {
    UserStatus {
        id: user.id.clone(),
        name: user.name.clone(),
        engine: user.engine,
        access: user.access.clone(),
        no_password: user.no_password,
        passwords: user.passwords.len(),
        user_groups: archive.groups_of_user(&user.id).map(|group| group.id.clone()).collect(),
        attributes: user.attributes.clone(),
    }
}

/// All users, by id.
pub(crate) fn list(archive: &Archive) -> Vec<UserStatus> {
    let stored = archive.users.values().map(|held| (*held.body).clone());
    let mut all: Vec<User> = std::iter::once(built_in()).chain(stored).collect();
    all.sort_by(|one, other| one.id.cmp(&other.id));
    all.iter().map(|user| status(archive, user)).collect()
}

/// The user group that is asked for.
pub(crate) fn create_group(
    archive: &Archive,
    asked: &CreateUserGroup,
) -> Result<UserGroup, ApiError> {
    let id = id("user group", &asked.id)?;
    if archive.user_groups.contains_key(&id) {
        let message = format!("the user group {id} exists already");
        return Err(ApiError::new("T443", message, "choose another id, or modify it"));
    }
    if archive.user_groups.len() >= MAX_USER_GROUPS {
        let message = format!("there are {MAX_USER_GROUPS} user groups already");
        return Err(ApiError::new("T449", message, "delete a user group that is not needed"));
    }
    let group = UserGroup {
        id,
        engine: asked.engine,
        users: asked.users.clone(),
        attributes: asked.attributes.clone(),
    };
    check_group(archive, &group)?;
    Ok(group)
}

/// The user group as it will be.
pub(crate) fn modify_group(
    archive: &Archive,
    id: &str,
    asked: &ModifyUserGroup,
) -> Result<UserGroup, ApiError> {
    let mut group = UserGroup::clone(known_group(archive, id)?);
    if let Some(missing) = asked.remove.iter().find(|user| !group.users.contains(*user)) {
        let message = format!("the user {missing} is not in the user group {id}");
        return Err(ApiError::new("T440", message, "tanist user-group list shows who is"));
    }
    group.users.retain(|user| !asked.remove.contains(user));
    group.users.extend(asked.add.iter().cloned());
    take_attributes(&mut group.attributes, &asked.attributes);
    check_group(archive, &group)?;
    Ok(group)
}

fn check_group(archive: &Archive, group: &UserGroup) -> Result<(), ApiError> {
    if group.users.len() > MAX_MEMBERS {
        return Err(bad(format!("a user group has {MAX_MEMBERS} users at most")));
    }
    let mut names = BTreeSet::new();
    for id in &group.users {
        let user = known(archive, id)?;
        if group.engine == EngineKind::Redis && user.engine != EngineKind::Redis {
            return Err(bad(format!("the user {id} is for valkey, the user group for redis")));
        }
        if !names.insert(user.name.clone()) {
            let message =
                format!("two users of the user group {} are named {}", group.id, user.name);
            return Err(ApiError::new("T447", message, "leave one of them out"));
        }
    }
    if !names.contains(DEFAULT_USER) {
        let message = format!("no user of the user group {} is named {DEFAULT_USER}", group.id);
        return Err(ApiError::new("T446", message, "add one: it is who says nothing"));
    }
    Ok(())
}

fn known_group<'a>(archive: &'a Archive, id: &str) -> Result<&'a UserGroup, ApiError> {
    archive.user_groups.get(id).map(|held| &*held.body).ok_or_else(|| {
        let message = format!("there is no user group {id}");
        ApiError::new("T441", message, "tanist user-group list shows them")
    })
}

/// A user group that may be deleted.
pub(crate) fn deletable_group(archive: &Archive, id: &str) -> Result<UserGroupStatus, ApiError> {
    let status = group_status(archive, known_group(archive, id)?);
    if let Some(group) = status.groups.first() {
        let message = format!("the user group {id} is used by the group {group}");
        return Err(ApiError::new("T450", message, "detach it first, or delete the group"));
    }
    Ok(status)
}

/// A user group for people and programs.
pub(crate) fn group_status(archive: &Archive, group: &UserGroup) -> UserGroupStatus {
    let uses = |spec: &GroupSpec| spec.login.user_groups.contains(&group.id);
    let groups = archive.specs.values().filter(|held| uses(&held.body));
    UserGroupStatus {
        id: group.id.clone(),
        engine: group.engine,
        users: group.users.clone(),
        groups: groups.map(|held| held.body.name.clone()).collect::<Vec<GroupName>>(),
        attributes: group.attributes.clone(),
    }
}

/// All user groups, by id.
pub(crate) fn list_groups(archive: &Archive) -> Vec<UserGroupStatus> {
    archive.user_groups.values().map(|held| group_status(archive, &held.body)).collect()
}

/// Gives a group the users of these user groups.
pub(crate) fn attach(
    archive: &Archive,
    spec: &mut GroupSpec,
    user_groups: &BTreeSet<String>,
) -> Result<(), ApiError> {
    if user_groups.len() > 1 {
        let message = "a group's clients are the users of one user group";
        return Err(ApiError::new("T451", message, "put all of them into one user group"));
    }
    for id in user_groups {
        let group = known_group(archive, id)?;
        if spec.engine == EngineKind::Redis && group.engine != EngineKind::Redis {
            let message = format!("the user group {id} is for valkey, the group for redis");
            return Err(ApiError::new("T451", message, "make a user group for redis"));
        }
    }
    spec.login.user_groups.clone_from(user_groups);
    Ok(())
}

/// Changes a group's tokens.
pub(crate) fn change_token(
    spec: &mut GroupSpec,
    change: &TokenChange,
    now_ms: u64,
) -> Result<(), ApiError> {
    let tokens = &mut spec.login.tokens;
    let none = || {
        let message = format!("{} has no token", spec.name);
        ApiError::new("T452", message, "set one first: tanist token set")
    };
    match change {
        TokenChange::Set(token) => *tokens = vec![token.clone()],
        TokenChange::Rotate(token) => {
            let newest = tokens.last().cloned().ok_or_else(none)?;
            *tokens = vec![newest, token.clone()];
            tokens.dedup();
        }
        TokenChange::Finish => {
            let newest = tokens.last().cloned().ok_or_else(none)?;
            *tokens = vec![newest];
        }
        TokenChange::Remove => tokens.clear(),
    }
    spec.login.changed_ms = Some(now_ms);
    Ok(())
}

/// Whether a group's tokens and user groups go together.
pub(crate) fn check_login(spec: &GroupSpec) -> Result<(), ApiError> {
    if spec.login.tokens.is_empty() || spec.login.user_groups.is_empty() {
        return Ok(());
    }
    let message = format!("{} has a token, and users have passwords of their own", spec.name);
    Err(ApiError::new("T451", message, "remove the token with the same change"))
}

/// How clients log in, for people and programs.
pub(crate) fn login_status(spec: &GroupSpec) -> LoginStatus {
    LoginStatus {
        tokens: spec.login.tokens.len(),
        changed_ms: spec.login.changed_ms,
        user_groups: spec.login.user_groups.clone(),
        required: !spec.accounts.is_open(),
    }
}

#[cfg(test)]
mod tests {
    use tanist_link::hash_of;

    use super::*;
    use crate::tests::rig::spec;

    #[test]
    fn the_engines_commands_are_known_by_name() {
        for good in [
            "on ~app:* +@read -@dangerous",
            "on ~* &* +@all -config|get +client|list (~x +get)",
            "off",
            "on allkeys +hset -debug",
        ] {
            assert!(read_access(good).is_ok(), "{good}");
        }
        for bad in ["+nosuch", "+client|nosuch", "+get|x", "on >secret", "+@nosuch", "", "reset"] {
            assert!(read_access(bad).is_err(), "{bad}");
        }
        assert!(read_access(&built_in().access).unwrap().rules.is_full());
    }

    #[test]
    fn two_tokens_are_right_while_one_replaces_the_other() {
        let [one, two, three] = ["one", "two", "three"].map(|text| hash_of(text.as_bytes()));
        let mut spec = spec();
        let mut change = |asked: TokenChange| {
            let done = change_token(&mut spec, &asked, 7).map_err(|err| err.code);
            done.map(|()| spec.login.tokens.clone())
        };
        assert_eq!(change(TokenChange::Rotate(one.clone())), Err("T452".to_owned()));
        assert_eq!(change(TokenChange::Finish), Err("T452".to_owned()));
        assert_eq!(change(TokenChange::Set(one.clone())), Ok(vec![one.clone()]));
        assert_eq!(change(TokenChange::Rotate(one.clone())), Ok(vec![one.clone()]));
        assert_eq!(change(TokenChange::Rotate(two.clone())), Ok(vec![one, two.clone()]));
        assert_eq!(change(TokenChange::Rotate(three.clone())), Ok(vec![two, three.clone()]));
        assert_eq!(change(TokenChange::Finish), Ok(vec![three]));
        assert_eq!(change(TokenChange::Remove), Ok(vec![]));
    }

    #[test]
    fn a_user_without_a_password_is_one_of_which_that_was_said() {
        let mut user = built_in();
        assert!(check(&user).is_ok());
        user.no_password = false;
        assert_eq!(check(&user).unwrap_err().code, "T444");
        user.passwords = [hash_of(b"a"), hash_of(b"b")].into();
        assert!(check(&user).is_ok());
        user.passwords.insert(hash_of(b"c"));
        assert!(check(&user).is_err());
        for name in ["", "a b", "a'b", "a,b", "\u{e4}", &"x".repeat(MAX_NAME + 1), HOUSE_USER] {
            let user = User { name: name.to_owned(), ..built_in() };
            assert!(check(&user).is_err(), "{name}");
        }
        for bad in ["", "A", "1a", "-a", "a_b", &"a".repeat(MAX_ID + 1)] {
            assert!(id("user", bad).is_err(), "{bad}");
        }
    }
}
