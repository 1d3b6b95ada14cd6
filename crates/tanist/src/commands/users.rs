//! `tanist user` and `tanist user-group`: who clients can be.
//!
//! Invariant: as for tokens: a password is read or made here, and only its hash leaves this process.
//!
//! Not here: what may be (`tanist-controller`).

use std::collections::BTreeSet;

use tanist_core::model::PasswordHash;
use tanist_core::model::accounts::password_fault;
use tanist_link::api::{
    CreateUser, CreateUserGroup, GroupStatus, ModifyGroup, ModifyUser, ModifyUserGroup,
    TokenChange, UserGroupStatus, UserStatus,
};
use tanist_link::{Client, hash_of};

use super::token::{lines_of, lines_of_file, make};
use super::{encoded, group_status};
use crate::cli::{PasswordArgs, UserCommand, UserGroupCommand};
use crate::failure::Failure;
use crate::output::Output;
use crate::{Done, Outcome};

/// Carries out what is asked about users.
pub(crate) async fn user(client: &Client, command: UserCommand, out: &Output) -> Outcome {
    match command {
        UserCommand::Create { id, name, engine, access, password } => {
            let given = passwords(&password, out)?;
            let asked = CreateUser {
                name: name.unwrap_or_else(|| id.clone()),
                id,
                engine: engine.into(),
                access,
                no_password: password.no_password,
                passwords: given.hashes.unwrap_or_default(),
                attributes: Default::default(),
            };
            show(client.post("/v1/users", &asked).await?, given.made, out)
        }
        UserCommand::Modify { id, access, append, password } => {
            let given = passwords(&password, out)?;
            let asked = ModifyUser {
                access,
                append,
                no_password: password.no_password.then_some(true),
                passwords: given.hashes,
                attributes: Default::default(),
            };
            let path = format!("/v1/users/{}/modify", encoded(&id));
            show(client.post(&path, &asked).await?, given.made, out)
        }
        UserCommand::Delete { id } => {
            client.delete::<UserStatus>(&format!("/v1/users/{}", encoded(&id))).await?;
            deleted(&id, out)
        }
        UserCommand::List => {
            let users: Vec<UserStatus> = client.get("/v1/users").await?;
            if out.is_json() {
                out.json(&users)?;
            } else {
                users.iter().for_each(|user| out.line(line(user)));
            }
            Ok(Done::Well)
        }
    }
}

/// Passwords that were given or made.
struct Given {
    hashes: Option<BTreeSet<PasswordHash>>,
    made: Option<String>,
}

fn passwords(args: &PasswordArgs, out: &Output) -> Result<Given, Failure> {
    let lines = match (&args.password_file, args.password_stdin) {
        (Some(path), _) => lines_of_file(path)?,
        (None, true) => lines_of(std::io::stdin().lock(), "the standard input")?,
        (None, false) if args.generate => {
            let made = make(out)?;
            let hashes = Some(BTreeSet::from([hash_of(made.as_bytes())]));
            return Ok(Given { hashes, made: Some(made) });
        }
        (None, false) => return Ok(Given { hashes: None, made: None }),
    };
    if let Some(fault) = lines.iter().find_map(|line| password_fault(line)) {
        let message = format!("this cannot be a password: {fault}");
        return Err(Failure::new("T670", message, "or have one made: --generate").exit(2));
    }
    let hashes = lines.iter().map(|line| hash_of(line.as_bytes())).collect();
    Ok(Given { hashes: Some(hashes), made: None })
}

fn show(user: UserStatus, made: Option<String>, out: &Output) -> Outcome {
    if out.is_json() {
        out.json(&user)?;
        return Ok(Done::Well);
    }
    if let Some(password) = made {
        out.line(format!("password  {password}    (it is not shown again)"));
    }
    out.line(line(&user));
    Ok(Done::Well)
}

fn line(user: &UserStatus) -> String {
    let by = match user.passwords {
        0 => "no password".to_owned(),
        1 => "1 password".to_owned(),
        more => format!("{more} passwords"),
    };
    let groups: Vec<&str> = user.user_groups.iter().map(String::as_str).collect();
    let within = if groups.is_empty() { "no user group".to_owned() } else { groups.join(", ") };
    format!("{}   {}   {}   {by}   {within}   {}", user.id, user.name, user.engine, user.access)
}

fn deleted(id: &str, out: &Output) -> Outcome {
    if out.is_json() {
        out.json(&serde_json::json!({ "deleted": id }))?;
    } else {
        out.line(format!("{id} deleted"));
    }
    Ok(Done::Well)
}

/// Carries out what is asked about sets of users.
pub(crate) async fn user_group(
    client: &Client,
    command: UserGroupCommand,
    out: &Output,
) -> Outcome {
    let set = |ids: Vec<String>| ids.into_iter().collect::<BTreeSet<String>>();
    match command {
        UserGroupCommand::Create { id, engine, users } => {
            let (users, attributes) = (set(users), Default::default());
            let asked = CreateUserGroup { id, engine: engine.into(), users, attributes };
            show_group(client.post("/v1/user-groups", &asked).await?, out)
        }
        UserGroupCommand::Modify { id, add, remove } => {
            let asked =
                ModifyUserGroup { add: set(add), remove: set(remove), ..Default::default() };
            let path = format!("/v1/user-groups/{}/modify", encoded(&id));
            show_group(client.post(&path, &asked).await?, out)
        }
        UserGroupCommand::Delete { id } => {
            let path = format!("/v1/user-groups/{}", encoded(&id));
            client.delete::<UserGroupStatus>(&path).await?;
            deleted(&id, out)
        }
        UserGroupCommand::List => {
            let groups: Vec<UserGroupStatus> = client.get("/v1/user-groups").await?;
            if out.is_json() {
                out.json(&groups)?;
            } else {
                groups.iter().for_each(|group| out.line(group_line(group)));
            }
            Ok(Done::Well)
        }
        UserGroupCommand::Attach { group, id } => {
            attach(client, &group, BTreeSet::from([id]), out).await
        }
        UserGroupCommand::Detach { group } => attach(client, &group, BTreeSet::new(), out).await,
    }
}

async fn attach(
    client: &Client,
    group: &str,
    user_groups: BTreeSet<String>,
    out: &Output,
) -> Outcome {
    let before = group_status(client, group).await?;
    let replaces = before.login.tokens > 0 && !user_groups.is_empty();
    let asked = ModifyGroup {
        token: replaces.then_some(TokenChange::Remove),
        user_groups: Some(user_groups),
        ..ModifyGroup::default()
    };
    let path = format!("/v1/groups/{}/modify", encoded(group));
    let status: GroupStatus = client.post(&path, &asked).await?;
    if out.is_json() {
        out.json(&status)?;
        return Ok(Done::Well);
    }
    let who: Vec<&str> = status.login.user_groups.iter().map(String::as_str).collect();
    out.line(match who.as_slice() {
        [] => format!("{group}: everybody is the default user"),
        ids => format!("{group}: clients are the users of {}", ids.join(", ")),
    });
    Ok(Done::Well)
}

fn show_group(group: UserGroupStatus, out: &Output) -> Outcome {
    if out.is_json() {
        out.json(&group)?;
    } else {
        out.line(group_line(&group));
    }
    Ok(Done::Well)
}

fn group_line(group: &UserGroupStatus) -> String {
    let users: Vec<&str> = group.users.iter().map(String::as_str).collect();
    let groups: Vec<&str> = group.groups.iter().map(|name| name.as_str()).collect();
    let used = if groups.is_empty() { "no group".to_owned() } else { groups.join(", ") };
    format!("{}   {}   {}   used by {used}", group.id, group.engine, users.join(", "))
}
