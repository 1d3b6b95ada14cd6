//! Users and user groups in the store, and what follows from them for each group.
//!
//! Invariant: after every write each group's accounts are those that follow from what is stored.
//!
//! Not here: what may be written (`crate::users`).

use std::collections::BTreeSet;
use std::sync::Arc;

use tanist_core::model::{
    Account, Accounts, DEFAULT_USER, GroupName, GroupSpec, Login, Rules, User, UserGroup,
};
use tanist_link::api::EventRecord;
use tanist_store::{Revision, Txn};

use super::{Archive, Held, json, with_events};
use crate::error::ControllerError;
use crate::keys;
use crate::users::{built_in, read_access};

impl Archive {
    /// A user, also the one that is always there.
    pub(crate) fn user(&self, id: &str) -> Option<Arc<User>> {
        let stored = self.users.get(id).map(|held| Arc::clone(&held.body));
        stored.or_else(|| (id == DEFAULT_USER).then(|| Arc::new(built_in())))
    }

    /// The user groups that a user is in.
    pub(crate) fn groups_of_user<'a>(
        &'a self,
        id: &'a str,
    ) -> impl Iterator<Item = &'a UserGroup> + 'a {
        let all = self.user_groups.values().map(|held| &*held.body);
        all.filter(move |group| group.users.contains(id))
    }

    /// Who clients may be that log in so.
    pub(crate) fn accounts_of(&self, login: &Login) -> Accounts {
        if login.user_groups.is_empty() {
            return Accounts::with_tokens(&login.tokens);
        }
        let groups = login.user_groups.iter().filter_map(|id| self.user_groups.get(id));
        let users = groups.flat_map(|group| &group.body.users).filter_map(|id| self.user(id));
        Accounts(users.map(|user| (user.name.clone(), account(&user))).collect())
    }

    /// Derives every group's accounts anew; the groups whose accounts have changed.
    pub(super) fn settle_accounts(&mut self) -> BTreeSet<GroupName> {
        self.users_turn += 1;
        let mut changed = BTreeSet::new();
        let names: Vec<GroupName> = self.specs.keys().cloned().collect();
        for name in names {
            let Some(spec) = self.specs.get(&name).map(|held| Arc::clone(&held.body)) else {
                continue;
            };
            let accounts = self.accounts_of(&spec.login);
            if accounts == spec.accounts {
                continue;
            }
            if let Some(held) = self.specs.get_mut(&name) {
                held.body = Arc::new(GroupSpec { accounts, ..GroupSpec::clone(&spec) });
            }
            changed.insert(name);
        }
        // What hosts keep of a group has its users in it: every change of one concerns them all.
        self.asked.everywhere = true;
        changed
    }

    /// Writes a user; the groups that it changes.
    pub(crate) async fn write_user(
        &mut self,
        user: User,
        events: &[EventRecord],
    ) -> Result<BTreeSet<GroupName>, ControllerError> {
        let key = keys::user(&user.id);
        let before = self.users.get(&user.id).map_or(Revision::ABSENT, |held| held.revision);
        let txn = self.fenced().when_unchanged(&key, before).put(&key, json(&user)?);
        let revision = self.commit(with_events(txn, events)?, "writing a user").await?;
        self.users.insert(user.id.clone(), Held { body: Arc::new(user), revision });
        Ok(self.settle_accounts())
    }

    /// Removes a user, also from the user groups that it is in; the groups that it changes.
    pub(crate) async fn forget_user(
        &mut self,
        id: &str,
        events: &[EventRecord],
    ) -> Result<BTreeSet<GroupName>, ControllerError> {
        let mut txn = self.fenced().delete(keys::user(id));
        let mut left: Vec<UserGroup> = self.groups_of_user(id).cloned().collect();
        for group in &mut left {
            group.users.remove(id);
            // Nobody else writes them while this controller leads, and the transaction has an end.
            txn = txn.put(keys::user_group(&group.id), json(group)?);
        }
        let revision = self.commit(with_events(txn, events)?, "forgetting a user").await?;
        self.users.remove(id);
        for body in left {
            self.user_groups.insert(body.id.clone(), Held { body: Arc::new(body), revision });
        }
        Ok(self.settle_accounts())
    }

    /// Writes a user group; the groups that it changes.
    pub(crate) async fn write_user_group(
        &mut self,
        group: UserGroup,
        events: &[EventRecord],
    ) -> Result<BTreeSet<GroupName>, ControllerError> {
        let txn = self.put_user_group(self.fenced(), &group)?;
        let revision = self.commit(with_events(txn, events)?, "writing a user group").await?;
        self.user_groups.insert(group.id.clone(), Held { body: Arc::new(group), revision });
        Ok(self.settle_accounts())
    }

    /// Removes a user group that no group uses.
    pub(crate) async fn forget_user_group(
        &mut self,
        id: &str,
        events: &[EventRecord],
    ) -> Result<BTreeSet<GroupName>, ControllerError> {
        let txn = with_events(self.fenced().delete(keys::user_group(id)), events)?;
        self.commit(txn, "forgetting a user group").await?;
        self.user_groups.remove(id);
        Ok(self.settle_accounts())
    }

    fn put_user_group(&self, txn: Txn, group: &UserGroup) -> Result<Txn, ControllerError> {
        let key = keys::user_group(&group.id);
        let before = self.user_groups.get(&group.id).map_or(Revision::ABSENT, |held| held.revision);
        Ok(txn.when_unchanged(&key, before).put(&key, json(group)?))
    }
}

/// What a user is to a proxy. One whose rules cannot be read, because a later release has written
/// them, may do nothing.
fn account(user: &User) -> Account {
    let (enabled, rules) = match read_access(&user.access) {
        Ok(reading) => (reading.enabled, reading.rules),
        Err(_) => (false, Rules(vec![Vec::new()])),
    };
    let passwords = user.passwords.clone();
    Account { enabled, no_password: user.no_password, passwords, rules }
}
