//! Where the next page begins.
//!
//! A token says it by name or by time and not by number, so that what comes and goes between two
//! pages moves nothing; and it holds for one request, told by a digest of its members.
//!
//! Invariant: any text is a token or none, and costs no more than its length.
//!
//! Not here: how large a page is.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::TOKEN;
use crate::error::ApiError;
use crate::service::Ask;
use crate::value::Structure;

#[derive(Serialize, Deserialize)]
struct Token<P> {
    request: String,
    place: P,
}

/// The token for a place in the answers to this request.
pub(super) fn write<P: Serialize>(ask: &Ask, place: P) -> Option<String> {
    let token = Token { request: digest(&ask.input), place };
    serde_json::to_vec(&token).ok().map(hex::encode)
}

/// The place that a request's token names, if it has one.
pub(super) fn read<P: DeserializeOwned>(ask: &Ask) -> Result<Option<P>, ApiError> {
    let Some(text) = ask.input.text("NextToken") else { return Ok(None) };
    let bytes = hex::decode(text).ok();
    let token = bytes.and_then(|bytes| serde_json::from_slice::<Token<P>>(&bytes).ok());
    match token.filter(|token| token.request == digest(&ask.input)) {
        Some(token) => Ok(Some(token.place)),
        None => Err(ask.refuse(TOKEN, "The next token specified is invalid.")),
    }
}

/// What tells a request from another one: everything but its token and the size of its pages.
fn digest(input: &Structure) -> String {
    crate::digest::digest(input, &["NextToken", "MaxDatapoints"])
}
