//! An installation's own addresses: the local API, the AWS endpoint and the Sentinel endpoint.
//!
//! Invariant: the key is the installation's root key, as `tanist env` prints it.
//!
//! Not here: calls (`tanist-aws`), many callers (`super::crowd`).

use std::net::SocketAddr;

use tanist_aws::{AccessKey, QueryClient};
use tanist_link::Client;
use tanist_link::api::SentinelEndpoint;

use crate::Installation;

impl Installation {
    /// The local API.
    pub fn local(&self) -> Client {
        Client::new(self.dir().join("tanist.sock"))
    }

    /// The Sentinel endpoint's own address.
    ///
    /// # Panics
    /// If the installation does not run.
    pub async fn sentinel(&self) -> SocketAddr {
        let asked = self.local().get::<SentinelEndpoint>("/v1/sentinel").await;
        let shown = asked.unwrap_or_else(|err| panic!("asking for the Sentinel endpoint: {err}"));
        shown.endpoint.parse().unwrap_or_else(|err| panic!("{shown:?}: {err}"))
    }

    /// The AWS endpoint, for calls that the root key signs.
    ///
    /// # Panics
    /// If the installation does not run.
    pub fn aws(&self) -> QueryClient {
        let printed = self.tanist(&["env", "-o", "json"]).ok();
        let all: serde_json::Value = serde_json::from_str(&printed)
            .unwrap_or_else(|err| panic!("tanist env: {err}: {printed}"));
        let named = |name: &str| match all[name].as_str() {
            Some(value) => value.to_owned(),
            None => panic!("tanist env prints no {name}: {printed}"),
        };
        let url = named("AWS_ENDPOINT_URL");
        let address = url.strip_prefix("http://").and_then(|rest| rest.parse().ok());
        let endpoint: SocketAddr = address.unwrap_or_else(|| panic!("no address: {url}"));
        QueryClient {
            endpoint,
            region: named("AWS_REGION"),
            key: AccessKey {
                access_key_id: named("AWS_ACCESS_KEY_ID"),
                secret: named("AWS_SECRET_ACCESS_KEY"),
            },
        }
    }
}

/// The texts of every element of a name, in their order: enough for answers whose elements of that
/// name hold only text.
pub fn texts<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let after = xml.split(open.as_str()).skip(1);
    after.filter_map(|rest| rest.split_once(close.as_str()).map(|(text, _)| text)).collect()
}

#[cfg(test)]
mod tests {
    use super::texts;

    #[test]
    fn texts_come_in_their_order() {
        let xml = "<a><k>1</k><kk>2</kk><k></k><b><k>3</k></b></a>";
        assert_eq!(texts(xml, "k"), ["1", "", "3"]);
        assert_eq!(texts(xml, "none"), Vec::<&str>::new());
    }
}
