//! `Durability`: what an acknowledged write means, in ElastiCache's words.
//!
//! `sync` and `async` mean what they mean to the controller. `disabled` asks for no more than the
//! primary's own acknowledgement, which is `async`. What a group got is `EffectiveDurability`, and
//! comes from the controller, not from what was asked.
//!
//! Invariant: a durability that is answered is the one that the group's writes have.
//!
//! Not here: what a durability does (`tanist_core`).

use tanist_core::model::Durability;

use super::describe::named;
use super::refusal::{Refusal, bad_combination, bad_value};
use crate::groups::Group;
use crate::value::Structure;

/// The member's name.
const MEMBER: &str = "Durability";
/// The word of those who leave it to the service.
const DEFAULT: &str = "default";

/// What a word asks for; `None` leaves it to the controller.
fn meaning(word: &str) -> Result<Option<Durability>, Refusal> {
    match word {
        DEFAULT => Ok(None),
        "sync" => Ok(Some(Durability::Sync)),
        "async" | "disabled" => Ok(Some(Durability::Async)),
        _ => Err(bad_value(format_args!(
            "Invalid value {word} for Durability. Valid values: default, async, sync, disabled."
        ))),
    }
}

/// What a new group is asked to have, with the word that is remembered.
pub(super) fn asked(input: &Structure) -> Result<(Option<Durability>, Option<String>), Refusal> {
    let word = named(input, MEMBER);
    let meaning = word.map(meaning).transpose()?.flatten();
    Ok((meaning, word.map(str::to_owned)))
}

/// Refuses a change: a group keeps the durability with which it was created.
pub(super) fn check_unchanged(group: &Group, input: &Structure) -> Result<(), Refusal> {
    let Some(word) = named(input, MEMBER) else { return Ok(()) };
    match meaning(word)? {
        Some(wanted) if wanted != group.status.durability => Err(bad_combination(format_args!(
            "The durability of a replication group cannot be changed after its creation: it is {}, \
             not {word}.",
            group.status.durability
        ))),
        _ => Ok(()),
    }
}

/// Adds both words to a shown group.
pub(super) fn show(group: &Group, shown: Structure) -> Structure {
    let word = group.record.durability.as_deref().unwrap_or(DEFAULT);
    shown.set(MEMBER, word).set("EffectiveDurability", group.status.durability.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::Stage;

    fn input(word: &str) -> Structure {
        Structure::new().set(MEMBER, word)
    }

    #[test]
    fn each_word_asks_for_what_it_means() {
        let sync = Some(Durability::Sync);
        let words = [("sync", sync), ("async", Some(Durability::Async)), ("default", None)];
        for (word, meaning) in words {
            assert_eq!(asked(&input(word)).unwrap(), (meaning, Some(word.to_owned())));
        }
        assert_eq!(asked(&input("disabled")).unwrap().0, Some(Durability::Async));
        assert_eq!(asked(&Structure::new()).unwrap(), (None, None));
        assert_eq!(asked(&input("SYNC")).unwrap_err().code, "InvalidParameterValue");
    }

    #[test]
    fn a_group_keeps_its_durability() {
        let stage = Stage::new();
        let group = &stage.groups[0];
        assert_eq!(group.status.durability, Durability::Sync);
        for same in ["sync", "default"] {
            check_unchanged(group, &input(same)).unwrap();
        }
        for other in ["async", "disabled"] {
            let refused = check_unchanged(group, &input(other)).unwrap_err();
            assert_eq!(refused.code, "InvalidParameterCombination");
        }
        assert_eq!(check_unchanged(group, &input("no")).unwrap_err().code, "InvalidParameterValue");
    }

    #[test]
    fn what_is_effective_is_the_controllers_word() {
        let mut stage = Stage::new();
        stage.groups[0].record.durability = Some("disabled".to_owned());
        stage.groups[0].status.durability = Durability::Async;
        let shown = show(&stage.groups[0], Structure::new());
        assert_eq!(shown.text(MEMBER), Some("disabled"));
        assert_eq!(shown.text("EffectiveDurability"), Some("async"));
    }
}
