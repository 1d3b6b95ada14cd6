//! How clients that look for a primary find Tanist's endpoints.
//!
//! Most clients need nothing of this: an endpoint's address never changes. What is here is for those
//! that are configured to ask somebody first.
//!
//! Invariant: it only reads what the controller says and asks it for what clients ask for, by the
//! local API; it decides nothing.
//!
//! Not here: what clients dial afterwards (`tanist-proxy`).

pub mod sentinel;
