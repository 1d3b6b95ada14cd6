//! What a group's reads may be asked to promise.
//!
//! Invariant: what is accepted is kept; a group that cannot keep it refuses it.
//!
//! Not here: the promises themselves (`tanist_core::model::Reads`).

use tanist_core::model::{Durability, MAX_LAG_MILLIS, Reads};
use tanist_link::api::ApiError;

/// Whether a group with this durability can promise it (T408).
pub(crate) fn check(asked: &Reads, durability: Durability) -> Result<(), ApiError> {
    if asked.strict && durability != Durability::Sync {
        let message = format!("reads cannot be strict in a group that is {durability}");
        let remedy = "strict reads show what every in-sync replica has: use a sync group";
        return Err(ApiError::new("T408", message, remedy));
    }
    if asked.max_lag_millis > MAX_LAG_MILLIS {
        let message = format!("{} ms of lag are too many", asked.max_lag_millis);
        return Err(ApiError::new("T408", message, format!("at most {MAX_LAG_MILLIS}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_kept_is_promised() {
        let strict = Reads { strict: true, ..Reads::default() };
        assert!(check(&strict, Durability::Sync).is_ok());
        assert_eq!(check(&strict, Durability::Async).unwrap_err().code, "T408");
        let late = Reads { max_lag_millis: MAX_LAG_MILLIS + 1, ..Reads::default() };
        assert_eq!(check(&late, Durability::Sync).unwrap_err().code, "T408");
        assert!(check(&Reads::default(), Durability::Async).is_ok());
    }
}
