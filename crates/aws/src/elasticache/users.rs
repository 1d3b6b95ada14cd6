//! Users and user groups: who the clients of a replication group are.
//!
//! Passwords are hashed before they leave this function; what is passed on, kept and shown knows only
//! how many there are.
//!
//! Invariant: an identifier is in lower case, as it is stored.
//!
//! Not here: what an access string may say and which users go together (the controller).

use std::collections::BTreeSet;

use tanist_core::model::accounts::password_fault;
use tanist_core::model::{DEFAULT_USER, EngineKind, PasswordHash};
use tanist_link::api::{
    CreateUser, CreateUserGroup, ModifyUser, ModifyUserGroup, UserGroupStatus, UserStatus,
};
use tanist_link::hash_of;

use super::describe::named;
use super::ids;
use super::page::page;
use super::refusal::{Refusal, bad_combination, bad_value, no_user, no_user_group, of_link};
use super::scene::{Scene, Sight};
use super::tags;
use crate::book::Pages;
use crate::service::{Answer, Ask, Context};
use crate::value::{Structure, Value};

/// Most passwords of a user.
const MOST_PASSWORDS: usize = 2;
/// What a user and a user group are once they are answered for.
const ACTIVE: &str = "active";
/// What one is that is gone.
const DELETING: &str = "deleting";

/// A `User`.
fn shown(scene: Scene<'_>, user: &UserStatus, status: &str) -> Structure {
    let authentication = match user.passwords {
        0 => Structure::new().set("Type", "no-password"),
        count => Structure::new()
            .set("Type", "password")
            .set("PasswordCount", i64::try_from(count).unwrap_or(i64::MAX)),
    };
    Structure::new()
        .set("UserId", user.id.as_str())
        .set("UserName", user.name.as_str())
        .set("Status", status)
        .set("Engine", user.engine.to_string())
        .set("MinimumEngineVersion", minimum(user.engine))
        .set("AccessString", user.access.as_str())
        .list("UserGroupIds", user.user_groups.iter().map(String::as_str))
        .set("Authentication", authentication)
        .set("ARN", scene.arn("user", &user.id))
}

/// A `UserGroup`.
fn group_shown(scene: Scene<'_>, group: &UserGroupStatus, status: &str) -> Structure {
    Structure::new()
        .set("UserGroupId", group.id.as_str())
        .set("Status", status)
        .set("Engine", group.engine.to_string())
        .list("UserIds", group.users.iter().map(String::as_str))
        .set("MinimumEngineVersion", minimum(group.engine))
        .list("ReplicationGroups", group.groups.iter().map(|name| name.as_str()))
        .list("ServerlessCaches", Vec::<Value>::new())
        .set("ARN", scene.arn("usergroup", &group.id))
}

/// The least version of the engine that knows users, as the service says it.
fn minimum(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Redis => "6.0",
        EngineKind::Valkey => "7.2",
    }
}

fn engine(input: &Structure) -> Result<EngineKind, Refusal> {
    match input.text("Engine").unwrap_or_default().to_ascii_lowercase().as_str() {
        "redis" => Ok(EngineKind::Redis),
        "valkey" => Ok(EngineKind::Valkey),
        other => Err(bad_value(format_args!(
            "Unknown parameter for Engine: {other}, must be one of: redis, valkey"
        ))),
    }
}

/// How a user logs in, as a request says it.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    NoPassword,
    Passwords(BTreeSet<PasswordHash>),
}

fn authentication(input: &Structure) -> Result<Asked, Refusal> {
    let plain: Vec<&str> = input.texts("Passwords").collect();
    let none = input.flag("NoPasswordRequired");
    let mode = input
        .structures("AuthenticationMode")
        .next()
        .or_else(|| input.structure("AuthenticationMode"));
    let Some(mode) = mode else {
        return match (none, plain.is_empty()) {
            (Some(true), false) => Err(bad_combination(
                "Passwords cannot be given with NoPasswordRequired: leave one of them out.",
            )),
            (Some(true), true) => Ok(Asked::NoPassword),
            (_, true) => Ok(Asked::Nothing),
            (_, false) => hashes(&plain).map(Asked::Passwords),
        };
    };
    if none.is_some() || !plain.is_empty() {
        return Err(bad_combination(
            "AuthenticationMode cannot be given with Passwords or NoPasswordRequired.",
        ));
    }
    let given: Vec<&str> = mode.texts("Passwords").collect();
    match mode.text("Type").unwrap_or_default() {
        "password" if given.is_empty() => {
            Err(bad_combination("A user with authentication mode password needs a password."))
        }
        "password" => hashes(&given).map(Asked::Passwords),
        kind if !given.is_empty() => Err(bad_combination(format_args!(
            "Password field is not allowed with authentication type: {kind}"
        ))),
        "no-password-required" => Ok(Asked::NoPassword),
        "iam" => Err(bad_value(
            "Authentication with IAM is not offered: use password or no-password-required.",
        )),
        other => Err(bad_value(format_args!(
            "Input Authentication type: {other} is not in the allowed list: \
             [password,no-password-required,iam]"
        ))),
    }
}

fn hashes(plain: &[&str]) -> Result<BTreeSet<PasswordHash>, Refusal> {
    if plain.len() > MOST_PASSWORDS {
        let message = format_args!("A user can have {MOST_PASSWORDS} passwords at most.");
        return Err(bad_value(message));
    }
    if let Some(fault) = plain.iter().find_map(|password| password_fault(password)) {
        return Err(bad_value(format_args!("A password is invalid: {fault}.")));
    }
    Ok(plain.iter().map(|password| hash_of(password.as_bytes())).collect())
}

/// `CreateUser`: what the controller is asked.
fn creation(input: &Structure) -> Result<CreateUser, Refusal> {
    let id = ids::user("UserId", input.text("UserId").unwrap_or(""))?;
    let engine = engine(input)?;
    let (no_password, passwords) = match authentication(input)? {
        Asked::Nothing => {
            return Err(bad_value(
                "No password was provided. If you want to create/update the user without \
                 password, please use the NoPasswordRequired flag.",
            ));
        }
        Asked::NoPassword => (true, BTreeSet::new()),
        Asked::Passwords(passwords) => (false, passwords),
    };
    Ok(CreateUser {
        id,
        name: input.text("UserName").unwrap_or_default().to_owned(),
        engine,
        access: input.text("AccessString").unwrap_or_default().to_owned(),
        no_password,
        passwords,
        attributes: Default::default(),
    })
}

/// `ModifyUser`: what the controller is asked.
fn change(input: &Structure) -> Result<ModifyUser, Refusal> {
    let (access, append) = (named(input, "AccessString"), named(input, "AppendAccessString"));
    if access.is_some() && append.is_some() {
        return Err(bad_combination("AccessString and AppendAccessString exclude each other."));
    }
    let (no_password, passwords) = match authentication(input)? {
        Asked::Nothing => (None, None),
        Asked::NoPassword => (Some(true), None),
        Asked::Passwords(passwords) => (None, Some(passwords)),
    };
    Ok(ModifyUser {
        access: access.map(str::to_owned),
        append: append.map(str::to_owned),
        no_password,
        passwords,
        attributes: Default::default(),
    })
}

fn user_ids(input: &Structure, member: &str) -> BTreeSet<String> {
    input.texts(member).map(str::to_ascii_lowercase).collect()
}

fn id_of(input: &Structure, member: &'static str) -> String {
    input.text(member).unwrap_or_default().to_ascii_lowercase()
}

/// `DescribeUsers`.
pub(super) fn describe(scene: Scene<'_>, input: &Structure) -> Result<Structure, Refusal> {
    let id = named(input, "UserId").map(str::to_ascii_lowercase);
    let engine = named(input, "Engine").map(|_| engine(input)).transpose()?;
    let mut wanted: Option<BTreeSet<String>> = id.clone().map(|id| BTreeSet::from([id]));
    for filter in input.structures("Filters") {
        let name = filter.text("Name").unwrap_or_default();
        if !matches!(name, "user-id" | "UserId") {
            return Err(bad_value(format_args!("Unknown filter: {name}. It can be: user-id")));
        }
        let values: BTreeSet<String> = user_ids(filter, "Values");
        wanted = Some(match wanted {
            Some(before) => before.intersection(&values).cloned().collect(),
            None => values,
        });
    }
    let fits = |user: &&UserStatus| {
        engine.is_none_or(|engine| user.engine == engine)
            && wanted.as_ref().is_none_or(|ids| ids.contains(&user.id))
    };
    let users: Vec<&UserStatus> = scene.users.iter().filter(fits).collect();
    if let (Some(id), true) = (&id, users.is_empty()) {
        return Err(no_user(id));
    }
    let items = users.into_iter().map(|user| (user.id.clone(), user));
    let (users, marker) = page("DescribeUsers", input, items)?;
    let users = users.into_iter().map(|user| shown(scene, user, ACTIVE));
    Ok(Structure::new().maybe("Marker", marker).list("Users", users))
}

/// `DescribeUserGroups`.
pub(super) fn describe_groups(scene: Scene<'_>, input: &Structure) -> Result<Structure, Refusal> {
    let id = named(input, "UserGroupId").map(str::to_ascii_lowercase);
    let fits = |group: &&UserGroupStatus| id.as_ref().is_none_or(|id| *id == group.id);
    let groups: Vec<&UserGroupStatus> = scene.user_groups.iter().filter(fits).collect();
    if let (Some(id), true) = (&id, groups.is_empty()) {
        return Err(no_user_group(id));
    }
    let items = groups.into_iter().map(|group| (group.id.clone(), group));
    let (groups, marker) = page("DescribeUserGroups", input, items)?;
    let groups = groups.into_iter().map(|group| group_shown(scene, group, ACTIVE));
    Ok(Structure::new().maybe("Marker", marker).list("UserGroups", groups))
}

/// Carries out an operation that changes users or user groups.
pub(super) async fn carry(context: &Context, ask: &Ask) -> Answer {
    let sight = Sight::of(context, ask).await?;
    let scene = sight.scene(context, ask);
    let (input, client) = (&ask.input, &context.groups.client);
    let refused = |no: Refusal| no.answer(ask);
    match ask.operation.name {
        "CreateUser" => {
            let asked = creation(input).map_err(refused)?;
            let tags = tags::given(input).map_err(refused)?;
            let user: UserStatus =
                client.post("/v1/users", &asked).await.map_err(|err| of_link(ask, &err))?;
            keep_tags(context, ask, scene.arn("user", &user.id), tags).await?;
            Ok(shown(scene, &user, ACTIVE))
        }
        "ModifyUser" => {
            let asked = change(input).map_err(refused)?;
            let path = format!("/v1/users/{}/modify", id_of(input, "UserId"));
            let user: UserStatus =
                client.post(&path, &asked).await.map_err(|err| of_link(ask, &err))?;
            Ok(shown(scene, &user, ACTIVE))
        }
        "DeleteUser" => {
            let path = format!("/v1/users/{}", id_of(input, "UserId"));
            let user: UserStatus = client.delete(&path).await.map_err(|err| of_link(ask, &err))?;
            keep_tags(context, ask, scene.arn("user", &user.id), tags::Tags::new()).await?;
            Ok(shown(scene, &user, DELETING))
        }
        "CreateUserGroup" => {
            let id = input.text("UserGroupId").unwrap_or("");
            let asked = CreateUserGroup {
                id: ids::user("UserGroupId", id).map_err(refused)?,
                engine: engine(input).map_err(refused)?,
                users: user_ids(input, "UserIds"),
                attributes: Default::default(),
            };
            let tags = tags::given(input).map_err(refused)?;
            let group: UserGroupStatus =
                client.post("/v1/user-groups", &asked).await.map_err(|err| of_link(ask, &err))?;
            keep_tags(context, ask, scene.arn("usergroup", &group.id), tags).await?;
            Ok(group_shown(scene, &group, ACTIVE))
        }
        "ModifyUserGroup" => {
            let (add, remove) =
                (user_ids(input, "UserIdsToAdd"), user_ids(input, "UserIdsToRemove"));
            if add.is_empty() && remove.is_empty() {
                let message = "At least one of UserIdsToAdd and UserIdsToRemove must be given.";
                return Err(bad_combination(message).answer(ask));
            }
            let asked = ModifyUserGroup { add, remove, attributes: Default::default() };
            let path = format!("/v1/user-groups/{}/modify", id_of(input, "UserGroupId"));
            let group: UserGroupStatus =
                client.post(&path, &asked).await.map_err(|err| of_link(ask, &err))?;
            Ok(group_shown(scene, &group, ACTIVE))
        }
        "DeleteUserGroup" => {
            let path = format!("/v1/user-groups/{}", id_of(input, "UserGroupId"));
            let group: UserGroupStatus =
                client.delete(&path).await.map_err(|err| of_link(ask, &err))?;
            keep_tags(context, ask, scene.arn("usergroup", &group.id), tags::Tags::new()).await?;
            Ok(group_shown(scene, &group, DELETING))
        }
        _ => Err(ask.unknown()),
    }
}

/// A user's tags are in the books, by its ARN.
async fn keep_tags(
    context: &Context,
    ask: &Ask,
    arn: String,
    tags: tags::Tags,
) -> Result<(), crate::error::ApiError> {
    let work = |pages: &mut Pages| {
        if tags.is_empty() {
            pages.cache_tags.remove(&arn);
        } else {
            pages.cache_tags.insert(&arn, tags.clone());
        }
        Ok::<(), crate::error::ApiError>(())
    };
    Ok(context.book.change(&ask.region, work).await?)
}

/// Whether an operation is about users, so that its sight has to have them.
pub(super) fn concerns(ask: &Ask) -> bool {
    let tagged = ask.input.text("ResourceName").is_some_and(|arn| arn.contains(":user"));
    tagged || ask.operation.name.contains("User")
}

/// The name of a user or of a user group that a tag's ARN names.
pub(super) fn exists(scene: Scene<'_>, kind: &str, id: &str) -> Result<(), Refusal> {
    let (found, refusal) = match kind {
        "user" => {
            let known = scene.users.iter().any(|user| user.id == id);
            (known && id != DEFAULT_USER, no_user(id))
        }
        _ => (scene.user_groups.iter().any(|group| group.id == id), no_user_group(id)),
    };
    if found { Ok(()) } else { Err(refusal) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::{Stage, xml};

    const LONG: &str = "0123456789abcdef";

    fn asked() -> Structure {
        Structure::new()
            .set("UserId", "App")
            .set("UserName", "app")
            .set("Engine", "Redis")
            .set("AccessString", "on ~app:* +@read")
    }

    fn code(input: &Structure) -> &'static str {
        creation(input).unwrap_err().code
    }

    #[test]
    fn a_user_is_asked_for_with_hashes_in_every_form() {
        let mode = |kind: &str| Structure::new().set("Type", kind);
        let one = asked().list("Passwords", [LONG]);
        let user = creation(&one).unwrap();
        assert_eq!((user.id.as_str(), user.engine), ("app", EngineKind::Redis));
        assert_eq!(user.passwords, [hash_of(LONG.as_bytes())].into());
        assert!(!format!("{user:?}").contains(LONG));
        let same = asked().set("AuthenticationMode", mode("password").list("Passwords", [LONG]));
        assert_eq!(creation(&same).unwrap(), user);
        for open in [
            asked().set("NoPasswordRequired", true),
            asked().set("AuthenticationMode", mode("no-password-required")),
        ] {
            assert!(creation(&open).unwrap().no_password);
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_its_code() {
        let mode = |kind: &str| Structure::new().set("Type", kind);
        let (value, combination) = ("InvalidParameterValue", "InvalidParameterCombination");
        assert_eq!(code(&asked()), value);
        assert_eq!(code(&asked().list("Passwords", ["short"])), value);
        assert_eq!(code(&asked().list("Passwords", [LONG, LONG, LONG])), value);
        let both = asked().list("Passwords", [LONG]).set("NoPasswordRequired", true);
        assert_eq!(code(&both), combination);
        let both = asked().list("Passwords", [LONG]).set("AuthenticationMode", mode("password"));
        assert_eq!(code(&both), combination);
        assert_eq!(code(&asked().set("AuthenticationMode", mode("password"))), combination);
        let iam = mode("iam").list("Passwords", [LONG]);
        assert_eq!(code(&asked().set("AuthenticationMode", iam)), combination);
        assert_eq!(code(&asked().set("AuthenticationMode", mode("iam"))), value);
        assert_eq!(code(&asked().set("AuthenticationMode", mode("x"))), value);
        assert_eq!(
            code(&asked().set("Engine", "memcached").set("NoPasswordRequired", true)),
            value
        );
        for bad in ["", "1a", "-a", "a.b", &"a".repeat(41)] {
            let input = asked().set("UserId", bad).set("NoPasswordRequired", true);
            assert_eq!(code(&input), value, "{bad}");
        }
        let two = Structure::new().set("AccessString", "on").set("AppendAccessString", "+get");
        assert_eq!(change(&two).unwrap_err().code, combination);
    }

    #[test]
    fn users_and_user_groups_are_shown_with_all_that_clients_read() {
        let mut stage = Stage::new();
        let user = UserStatus {
            id: "app".to_owned(),
            name: "application".to_owned(),
            engine: EngineKind::Redis,
            access: "on ~app:* +@read".to_owned(),
            no_password: false,
            passwords: 2,
            user_groups: ["team".to_owned()].into(),
            attributes: Default::default(),
        };
        stage.users = vec![user];
        stage.user_groups = vec![UserGroupStatus {
            id: "team".to_owned(),
            engine: EngineKind::Redis,
            users: ["app".to_owned()].into(),
            groups: vec!["web".into()],
            attributes: Default::default(),
        }];
        let text = xml("DescribeUsers", &describe(stage.scene(), &Structure::new()).unwrap());
        for part in [
            "<UserId>app</UserId><UserName>application</UserName><Status>active</Status>",
            "<Engine>redis</Engine>",
            "<AccessString>on ~app:* +@read</AccessString>",
            "<UserGroupIds><member>team</member></UserGroupIds>",
            "<Authentication><Type>password</Type><PasswordCount>2</PasswordCount>",
            "<ARN>arn:aws:elasticache:us-east-1:123456789012:user:app</ARN>",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let none = Structure::new();
        let text = xml("DescribeUserGroups", &describe_groups(stage.scene(), &none).unwrap());
        for part in ["<UserIds><member>app</member>", "<ReplicationGroups><member>web</member>"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let other = Structure::new().set("UserId", "x");
        assert_eq!(describe(stage.scene(), &other).unwrap_err().code, "UserNotFound");
        let other = Structure::new().set("UserGroupId", "x");
        assert_eq!(describe_groups(stage.scene(), &other).unwrap_err().code, "UserGroupNotFound");
        let valkey = describe(stage.scene(), &Structure::new().set("Engine", "valkey")).unwrap();
        assert!(valkey.items("Users").is_empty());
    }
}
