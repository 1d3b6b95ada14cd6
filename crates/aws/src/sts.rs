//! Operations of STS: who am I.
//!
//! Invariant: nobody needs a permission to ask who they are, as at AWS.
//!
//! Not here: roles and sessions; there are none.

use crate::service::{Answer, Ask, Context};
use crate::value::Structure;

/// Operations that are built; every other is an invalid action.
pub(crate) const OPERATIONS: &[&str] = &["GetCallerIdentity"];

/// What a request is about, as ARNs, for the policies of its caller.
pub(crate) fn resources(_context: &Context, _ask: &Ask) -> Vec<String> {
    vec!["*".to_owned()]
}

/// Carries a request out.
pub(crate) async fn answer(context: &Context, ask: &Ask) -> Answer {
    match ask.operation.name {
        "GetCallerIdentity" => {
            let account = &*context.account;
            let id = &ask.caller.access_key_id;
            Ok(Structure::new()
                // Without a signature there is no key; AWS's own root has the account as its id.
                .set("UserId", if id.is_empty() { account } else { id })
                .set("Account", account)
                .set("Arn", &ask.caller.arn))
        }
        _ => Err(ask.unknown()),
    }
}
