//! How a replication group's clients log in: by a token, or as users of a user group.
//!
//! Invariant: a token is hashed before it leaves this function.
//!
//! Not here: users and user groups themselves (`super::users`).

use std::collections::BTreeSet;

use tanist_core::model::PasswordHash;
use tanist_core::model::accounts::token_fault;
use tanist_link::api::TokenChange;
use tanist_link::hash_of;

use super::describe::named;
use super::refusal::{Refusal, bad_combination, bad_value, no_user_group};
use crate::groups::Group;
use crate::value::Structure;

/// Whether a group may have a token or users. AWS wants encryption in transit for both; here nobody
/// else than this machine reads a loopback address, so it does not take it.
fn check_may_log_in(_input: &Structure) -> Result<(), Refusal> {
    Ok(())
}

/// The hash of a token that a request names.
fn token(input: &Structure) -> Result<Option<PasswordHash>, Refusal> {
    let Some(text) = named(input, "AuthToken") else { return Ok(None) };
    check_may_log_in(input)?;
    match token_fault(text) {
        None => Ok(Some(hash_of(text.as_bytes()))),
        Some(fault) => Err(bad_value(format_args!("Invalid AuthToken provided: {fault}."))),
    }
}

fn ids(input: &Structure, member: &str) -> BTreeSet<String> {
    input.texts(member).map(str::to_ascii_lowercase).collect()
}

fn check_one(user_groups: &BTreeSet<String>) -> Result<(), Refusal> {
    if user_groups.len() <= 1 {
        return Ok(());
    }
    Err(bad_combination("A replication group can have one user group only."))
}

/// How the clients of a new group log in.
pub(super) fn founding(
    input: &Structure,
) -> Result<(Vec<PasswordHash>, BTreeSet<String>), Refusal> {
    let tokens: Vec<PasswordHash> = token(input)?.into_iter().collect();
    let user_groups = ids(input, "UserGroupIds");
    if !user_groups.is_empty() {
        check_may_log_in(input)?;
    }
    check_one(&user_groups)?;
    if !tokens.is_empty() && !user_groups.is_empty() {
        return Err(bad_combination("AuthToken and UserGroupIds cannot be given together."));
    }
    Ok((tokens, user_groups))
}

/// A change of how clients log in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LoginChange {
    pub(super) token: Option<TokenChange>,
    pub(super) user_groups: Option<BTreeSet<String>>,
    /// `AuthTokenStatus` while it is made.
    pub(super) status: Option<&'static str>,
}

/// What a modification says of it. A strategy alone says nothing: Terraform sends one after every
/// import.
pub(super) fn change(group: &Group, input: &Structure) -> Result<LoginChange, Refusal> {
    let strategy = named(input, "AuthTokenUpdateStrategy");
    let known = &group.status.login.user_groups;
    let (add, remove) = (ids(input, "UserGroupIdsToAdd"), ids(input, "UserGroupIdsToRemove"));
    if let Some(missing) = remove.iter().find(|id| !known.contains(*id)) {
        return Err(no_user_group(missing));
    }
    let all = input.flag("RemoveUserGroups") == Some(true);
    let mut next: BTreeSet<String> = if all { BTreeSet::new() } else { known.clone() };
    next.retain(|id| !remove.contains(id));
    next.extend(add.iter().cloned());
    check_one(&next)?;
    if !add.is_empty() {
        check_may_log_in(input)?;
    }
    let (token, status) = match (token(input)?, strategy) {
        (Some(_), Some("DELETE")) => {
            return Err(bad_combination("A token that is to be deleted is not given."));
        }
        (Some(token), Some("SET")) => (Some(TokenChange::Set(token)), Some("SETTING")),
        // As the service does when no strategy is given.
        (Some(token), Some("ROTATE") | None) => {
            (Some(TokenChange::Rotate(token)), Some("ROTATING"))
        }
        (Some(_), Some(other)) => {
            let message = format_args!("Invalid value {other} for AuthTokenUpdateStrategy.");
            return Err(bad_value(message));
        }
        (None, Some("DELETE")) if next.is_empty() => {
            return Err(bad_combination(
                "The strategy DELETE goes with UserGroupIdsToAdd: whoever used the token has to be \
                 somebody else then.",
            ));
        }
        (None, Some("DELETE")) => (Some(TokenChange::Remove), None),
        (None, _) => (None, None),
    };
    if token.as_ref().is_some_and(|change| *change != TokenChange::Remove) && !next.is_empty() {
        return Err(bad_combination("A replication group with a user group has no AuthToken."));
    }
    let user_groups = (next != *known).then_some(next);
    Ok(LoginChange { token, user_groups, status })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::web;

    const TOKEN: &str = "This-is-a-sample-token";

    fn hash() -> PasswordHash {
        hash_of(TOKEN.as_bytes())
    }

    #[test]
    fn a_new_group_has_a_token_or_a_user_group() {
        let token = Structure::new().set("AuthToken", TOKEN);
        assert_eq!(founding(&token).unwrap(), (vec![hash()], BTreeSet::new()));
        let users = Structure::new().list("UserGroupIds", ["Team"]);
        assert_eq!(founding(&users).unwrap().1, ["team".to_owned()].into());
        let code = |input: Structure| founding(&input).unwrap_err().code;
        assert_eq!(code(token.list("UserGroupIds", ["t"])), "InvalidParameterCombination");
        let two = Structure::new().list("UserGroupIds", ["a", "b"]);
        assert_eq!(code(two), "InvalidParameterCombination");
        for bad in ["short", "with spaces in it 123", "an@at-sign-0123456789", "slash/0123456789ab"]
        {
            let input = Structure::new().set("AuthToken", bad);
            assert_eq!(code(input), "InvalidParameterValue", "{bad}");
        }
    }

    #[test]
    fn a_strategy_says_what_becomes_of_the_token() {
        let asked = |strategy: Option<&'static str>| {
            let input = Structure::new().set("AuthToken", TOKEN);
            change(&web(), &input.maybe("AuthTokenUpdateStrategy", strategy)).unwrap()
        };
        assert_eq!(asked(Some("SET")).token, Some(TokenChange::Set(hash())));
        assert_eq!(asked(Some("SET")).status, Some("SETTING"));
        assert_eq!(asked(Some("ROTATE")).token, Some(TokenChange::Rotate(hash())));
        assert_eq!(asked(None).status, Some("ROTATING"));
        let alone = Structure::new().set("AuthTokenUpdateStrategy", "ROTATE").set("AuthToken", "");
        assert_eq!(change(&web(), &alone).unwrap(), LoginChange::default());
        let delete = Structure::new().set("AuthTokenUpdateStrategy", "DELETE");
        let code = |input: &Structure| change(&web(), input).unwrap_err().code;
        assert_eq!(code(&delete), "InvalidParameterCombination");
        assert_eq!(code(&delete.clone().set("AuthToken", TOKEN)), "InvalidParameterCombination");
        let move_on = change(&web(), &delete.list("UserGroupIdsToAdd", ["team"])).unwrap();
        assert_eq!(move_on.token, Some(TokenChange::Remove));
        assert_eq!(move_on.user_groups, Some(["team".to_owned()].into()));
    }

    #[test]
    fn user_groups_come_and_go() {
        let mut group = web();
        group.status.login.user_groups.insert("team".to_owned());
        let lists = |add: &[&'static str], remove: &[&'static str]| {
            Structure::new()
                .list("UserGroupIdsToAdd", add.iter().copied())
                .list("UserGroupIdsToRemove", remove.iter().copied())
        };
        let next = |input: &Structure| change(&group, input).map(|change| change.user_groups);
        assert_eq!(next(&lists(&[], &[])).unwrap(), None);
        assert_eq!(next(&lists(&["b"], &["team"])).unwrap(), Some(["b".to_owned()].into()));
        assert_eq!(next(&lists(&[], &["Team"])).unwrap(), Some(BTreeSet::new()));
        let all = Structure::new().set("RemoveUserGroups", true);
        assert_eq!(next(&all).unwrap(), Some(BTreeSet::new()));
        assert_eq!(next(&lists(&[], &["x"])).unwrap_err().code, "UserGroupNotFound");
        assert_eq!(next(&lists(&["b"], &[])).unwrap_err().code, "InvalidParameterCombination");
        let token = Structure::new().set("AuthToken", TOKEN);
        assert_eq!(next(&token).unwrap_err().code, "InvalidParameterCombination");
    }
}
