//! Answers to requests about users and user groups.
//!
//! Invariant: whoever is told that a user was changed or is gone can rely on it at every endpoint.
//!
//! Not here: what may be asked (`super::users`), the store (`super::archive`).

use std::collections::BTreeSet;

use tanist_core::model::{GroupName, Severity};
use tanist_link::api::{
    ApiError, CreateUser, CreateUserGroup, EventRecord, ModifyUser, ModifyUserGroup,
    UserGroupStatus, UserStatus,
};

use crate::calls::internal_ref;
use crate::confirm::Ready;
use crate::error::ControllerError;
use crate::inputs::Reply;
use crate::observe::Touched;
use crate::reconciler::Controller;
use crate::users;

/// A request about users or user groups, with where its answer goes.
#[derive(Debug)]
pub(crate) enum UsersCall {
    List(Reply<Vec<UserStatus>>),
    Create { asked: CreateUser, reply: Reply<UserStatus> },
    Modify { id: String, asked: ModifyUser, reply: Reply<UserStatus> },
    Delete { id: String, reply: Reply<UserStatus> },
    ListGroups(Reply<Vec<UserGroupStatus>>),
    CreateGroup { asked: CreateUserGroup, reply: Reply<UserGroupStatus> },
    ModifyGroup { id: String, asked: ModifyUserGroup, reply: Reply<UserGroupStatus> },
    DeleteGroup { id: String, reply: Reply<UserGroupStatus> },
}

/// The groups that a change touches, or why it was not made.
type Written = Result<BTreeSet<GroupName>, ControllerError>;

impl Controller {
    pub(crate) async fn answer_about_users(
        &mut self,
        call: UsersCall,
        touched: &mut Touched,
    ) -> Result<(), ControllerError> {
        // A caller that has gone away needs no answer.
        match call {
            UsersCall::List(reply) => {
                let _ = reply.send(Ok(users::list(&self.archive)));
            }
            UsersCall::ListGroups(reply) => {
                let _ = reply.send(Ok(users::list_groups(&self.archive)));
            }
            UsersCall::Create { asked, reply } => {
                let planned = users::create(&self.archive, &asked);
                self.write_user(planned, "UserCreated", reply, touched).await?;
            }
            UsersCall::Modify { id, asked, reply } => {
                let planned = users::modify(&self.archive, &id, &asked);
                self.write_user(planned, "UserModified", reply, touched).await?;
            }
            UsersCall::Delete { id, reply } => {
                let status = match users::deletable(&self.archive, &id) {
                    Ok(status) => status,
                    Err(err) => {
                        let _ = reply.send(Err(err));
                        return Ok(());
                    }
                };
                let record = self.user_note("UserDeleted", &id);
                let written = self.archive.forget_user(&id, std::slice::from_ref(&record)).await;
                let ready = Ready::User(Box::new(status), reply);
                self.finish_users(written, record, ready, touched)?;
            }
            UsersCall::CreateGroup { asked, reply } => {
                let planned = users::create_group(&self.archive, &asked);
                self.write_user_group(planned, "UserGroupCreated", reply, touched).await?;
            }
            UsersCall::ModifyGroup { id, asked, reply } => {
                let planned = users::modify_group(&self.archive, &id, &asked);
                self.write_user_group(planned, "UserGroupModified", reply, touched).await?;
            }
            UsersCall::DeleteGroup { id, reply } => {
                let status = match users::deletable_group(&self.archive, &id) {
                    Ok(status) => status,
                    Err(err) => {
                        let _ = reply.send(Err(err));
                        return Ok(());
                    }
                };
                let record = self.user_note("UserGroupDeleted", &id);
                let events = std::slice::from_ref(&record);
                let written = self.archive.forget_user_group(&id, events).await;
                let ready = Ready::UserGroup(Box::new(status), reply);
                self.finish_users(written, record, ready, touched)?;
            }
        }
        Ok(())
    }

    async fn write_user(
        &mut self,
        planned: Result<tanist_core::model::User, ApiError>,
        name: &str,
        reply: Reply<UserStatus>,
        touched: &mut Touched,
    ) -> Result<(), ControllerError> {
        let user = match planned {
            Ok(user) => user,
            Err(err) => {
                let _ = reply.send(Err(err));
                return Ok(());
            }
        };
        let record = self.user_note(name, &user.id);
        let events = std::slice::from_ref(&record);
        let written = self.archive.write_user(user.clone(), events).await;
        let status = users::status(&self.archive, &user);
        self.finish_users(written, record, Ready::User(Box::new(status), reply), touched)
    }

    async fn write_user_group(
        &mut self,
        planned: Result<tanist_core::model::UserGroup, ApiError>,
        name: &str,
        reply: Reply<UserGroupStatus>,
        touched: &mut Touched,
    ) -> Result<(), ControllerError> {
        let group = match planned {
            Ok(group) => group,
            Err(err) => {
                let _ = reply.send(Err(err));
                return Ok(());
            }
        };
        let record = self.user_note(name, &group.id);
        let events = std::slice::from_ref(&record);
        let written = self.archive.write_user_group(group.clone(), events).await;
        let status = users::group_status(&self.archive, &group);
        self.finish_users(written, record, Ready::UserGroup(Box::new(status), reply), touched)
    }

    fn user_note(&mut self, name: &str, id: &str) -> EventRecord {
        self.archive.note(None, None, name, Severity::Info, id.to_owned())
    }

    /// Answers when every proxy that serves a changed group works by it.
    fn finish_users(
        &mut self,
        written: Written,
        record: EventRecord,
        ready: Ready,
        touched: &mut Touched,
    ) -> Result<(), ControllerError> {
        let groups = match written {
            Ok(groups) => groups,
            Err(err) => {
                let refusal = internal_ref(&err);
                self.survive(err)?;
                ready.give(Some(refusal));
                return Ok(());
            }
        };
        self.publish(record);
        let mut proxies = BTreeSet::new();
        for group in &groups {
            proxies.extend(self.proxies_of(group));
            touched.shards.extend(self.keys_of(group));
        }
        if proxies.is_empty() {
            ready.give(None);
        } else {
            self.confirmations.keep(proxies, ready);
        }
        Ok(())
    }
}
