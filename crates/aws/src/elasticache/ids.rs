//! Identifiers that people choose.
//!
//! Invariant: an identifier that is accepted is in lower case, as the service stores it.
//!
//! Not here: whether something has this identifier already.

use super::refusal::{Refusal, bad_value};

/// Most characters of a replication group's identifier.
const MAX_GROUP: usize = 40;
/// Most characters of a subnet group's name.
const MAX_SUBNET_GROUP: usize = 255;

/// A replication group's identifier, in lower case.
pub(super) fn replication_group(text: &str) -> Result<String, Refusal> {
    let id = identifier("ReplicationGroupId", text)?;
    if id.len() > MAX_GROUP {
        return Err(bad_value(format_args!(
            "Replication group id should be no more than {MAX_GROUP} characters."
        )));
    }
    Ok(id)
}

/// A subnet group's name, in lower case.
pub(super) fn subnet_group(text: &str) -> Result<String, Refusal> {
    let name = identifier("CacheSubnetGroupName", text)?;
    if name.len() > MAX_SUBNET_GROUP {
        return Err(bad_value(format_args!(
            "The parameter CacheSubnetGroupName must be no more than {MAX_SUBNET_GROUP} characters."
        )));
    }
    Ok(name)
}

/// A user's or a user group's identifier, in lower case.
pub(super) fn user(member: &str, text: &str) -> Result<String, Refusal> {
    let id = identifier(member, text)?;
    if id.len() > MAX_GROUP {
        let message = format_args!("{member} should be no more than {MAX_GROUP} characters.");
        return Err(bad_value(message));
    }
    Ok(id)
}

fn identifier(member: &str, text: &str) -> Result<String, Refusal> {
    if text.trim().is_empty() {
        let message = format!("The parameter {member} must be provided and must not be blank.");
        return Err(bad_value(message));
    }
    let id = text.to_ascii_lowercase();
    let letters = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let first = id.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if letters && first && !id.ends_with('-') && !id.contains("--") {
        return Ok(id);
    }
    Err(bad_value(format_args!(
        "The parameter {member} is not a valid identifier. Identifiers must begin with a letter; \
         must contain only ASCII letters, digits, and hyphens; and must not end with a hyphen or \
         contain two consecutive hyphens."
    )))
}

#[cfg(test)]
mod tests {
    use tanist_core::model::GroupName;

    use super::*;

    #[test]
    fn identifiers_are_lowered_and_follow_the_services_rule() {
        assert_eq!(replication_group("Web-1").unwrap(), "web-1");
        assert!(replication_group(&"a".repeat(40)).is_ok());
        for bad in ["", " ", "1web", "-a", "a-", "a--b", "a.b", "a_b", "ä", &"a".repeat(41)] {
            assert_eq!(replication_group(bad).unwrap_err().code, "InvalidParameterValue", "{bad}");
        }
    }

    #[test]
    fn whatever_is_accepted_is_a_groups_name_for_the_controller_too() {
        for text in ["web", "A", "a1-b2", "Z-9", &"x".repeat(40)] {
            assert!(GroupName::parse(&replication_group(text).unwrap()).is_ok(), "{text}");
        }
    }

    #[test]
    fn subnet_groups_may_have_longer_names() {
        assert_eq!(subnet_group("Practice-Multi").unwrap(), "practice-multi");
        assert!(subnet_group(&"a".repeat(255)).is_ok());
        assert!(subnet_group(&"a".repeat(256)).is_err());
        assert!(subnet_group("a b").is_err());
    }
}
