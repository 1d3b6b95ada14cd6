//! The dependencies that were chosen when the project began, by name.
//!
//! Each was measured and compared with its rivals then. A name that is not here needs a decision
//! note in `docs/decisions/` that says why it, why not the others, and what it costs.
//!
//! Invariant: sorted, so that a name has one place.
//! Not here: versions and features (the root `Cargo.toml`); licences (`deny.toml`).

/// Names on the registry.
pub(crate) const APPROVED: [&str; 78] = [
    "anyhow",
    "arc-swap",
    "argon2",
    "assert_cmd",
    "aws-sigv4",
    "axum",
    "base64",
    "bolero",
    "bytes",
    "clap",
    "clap_complete",
    "comfy-table",
    "crc-fast",
    "criterion",
    "futures-util",
    "hex",
    "hickory-proto",
    "hickory-server",
    "hmac",
    "http",
    "http-body-util",
    "hyper",
    "hyper-rustls",
    "hyper-util",
    "indexmap",
    "indicatif",
    "insta",
    "ipnet",
    "jiff",
    "k8s-openapi",
    "kube",
    "maud",
    "mimalloc",
    "minicbor",
    "object_store",
    "parking_lot",
    "procfs",
    "prometheus-client",
    "proptest",
    "prost",
    "protox",
    "quick-xml",
    "rand",
    "ratatui",
    "rcgen",
    "redis",
    "redis-protocol",
    "rusqlite",
    "rust-embed",
    "rustix",
    "rustls",
    "rustls-pki-types",
    "scratchstack-aws-signature",
    "serde",
    "serde_json",
    "serde_urlencoded",
    "sha1",
    "sha2",
    "shuttle",
    "socket2",
    "stateright",
    "subtle",
    "tempfile",
    "thiserror",
    "tokio",
    "tokio-rustls",
    "tokio-util",
    "toml",
    "tonic",
    "tonic-prost",
    "tonic-prost-build",
    "tower",
    "tower-http",
    "tracing",
    "tracing-subscriber",
    "turmoil",
    "uuid",
    "zstd",
];

#[cfg(test)]
mod tests {
    use super::APPROVED;

    #[test]
    fn the_names_are_sorted_and_told_once() {
        assert!(APPROVED.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
