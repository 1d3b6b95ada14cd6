//! Who a group's clients may be, and what each may do.
//!
//! The outcome of tokens, users and user groups, not these themselves. A proxy asks it who somebody
//! is; an agent is told the part that engines enforce, as lane users ([`Accounts::lanes`]). The
//! `default` user with every right needs no lane user of its own: it uses the proxy's.
//!
//! Invariant: a password is here as its SHA-256 only, and not even that is in `Debug` output.
//!
//! Not here: reading access strings (`crate::acl`), comparing passwords (`tanist-link`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::EngineKind;

/// The user that somebody is who names none.
pub const DEFAULT_USER: &str = "default";
/// Hexadecimal digits of a SHA-256.
const HASH_DIGITS: usize = 64;

/// The SHA-256 of a password, as engines keep it: 64 hexadecimal digits in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PasswordHash(String);

/// The text is no SHA-256 in hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password's hash has {HASH_DIGITS} hexadecimal digits in lower case")]
pub struct NotAHash;

impl PasswordHash {
    /// Takes the digits.
    ///
    /// # Errors
    /// [`NotAHash`] if they are anything else.
    pub fn parse(text: &str) -> Result<Self, NotAHash> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == HASH_DIGITS && text.bytes().all(digit) {
            return Ok(Self(text.to_owned()));
        }
        Err(NotAHash)
    }

    /// The hash whose bytes these are.
    pub fn from_digest(digest: [u8; HASH_DIGITS / 2]) -> Self {
        Self(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl TryFrom<String> for PasswordHash {
    type Error = NotAHash;

    fn try_from(text: String) -> Result<Self, NotAHash> {
        Self::parse(&text)
    }
}

impl From<PasswordHash> for String {
    fn from(hash: PasswordHash) -> Self {
        hash.0
    }
}

/// Fewest and most characters of a token and of a password, as in ElastiCache.
const LENGTH: std::ops::RangeInclusive<usize> = 16..=128;

/// What keeps a text from being a user's password, if anything.
pub fn password_fault(text: &str) -> Option<&'static str> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("it may have visible ASCII characters only");
    }
    (!LENGTH.contains(&text.len())).then_some("it must have 16 to 128 characters")
}

/// What keeps a text from being a group's token, if anything.
pub fn token_fault(text: &str) -> Option<&'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!&#$^<>-".contains(&byte);
    password_fault(text).or_else(|| {
        (!text.bytes().all(allowed))
            .then_some("it may have letters, digits and the characters ! & # $ ^ < > - only")
    })
}

/// What a user may do: the engine's own rules, the root ones first and then each selector's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rules(pub Vec<Vec<String>>);

impl Rules {
    /// Everything.
    pub fn full() -> Self {
        Self(vec![["~*", "&*", "+@all"].map(str::to_owned).to_vec()])
    }

    /// Whether they allow everything, said in the shortest way.
    pub fn is_full(&self) -> bool {
        let words: BTreeSet<&str> = self.root().iter().map(String::as_str).collect();
        self.0.len() == 1 && words == BTreeSet::from(["~*", "&*", "+@all"])
    }

    fn root(&self) -> &[String] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    /// Whether one set of rules at least allows a command (`name` or `name|subcommand`) of these
    /// categories. A category in `doubtful` belongs to it in some engines only: it can take the
    /// command away, and never give it.
    pub fn allow(&self, command: &str, categories: &[&str], doubtful: &[&str]) -> bool {
        self.0.iter().any(|rules| allows(rules, command, categories, doubtful))
    }
}

/// Whether one set of rules allows a command; later rules win.
pub fn allows(rules: &[String], command: &str, categories: &[&str], doubtful: &[&str]) -> bool {
    let family = command.split_once('|').map_or(command, |(family, _)| family);
    let mut allowed = false;
    for rule in rules {
        let (gives, what) = match (rule.strip_prefix('+'), rule.strip_prefix('-')) {
            (Some(what), _) => (true, what),
            (_, Some(what)) => (false, what),
            _ => continue,
        };
        let concerns = match what.strip_prefix('@') {
            Some("all") => true,
            Some(category) => {
                categories.contains(&category) || (!gives && doubtful.contains(&category))
            }
            None => what == command || what == family,
        };
        if concerns {
            allowed = gives;
        }
    }
    allowed
}

/// One user of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Every password is right.
    pub no_password: bool,
    /// Any of these is right.
    pub passwords: BTreeSet<PasswordHash>,
    /// What it may do.
    pub rules: Rules,
}

/// What engines are told of users that have lanes of their own, by name.
pub type LaneUsers = BTreeMap<String, Rules>;

/// Everybody that a group's clients may be, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Accounts(pub BTreeMap<String, Account>);

impl Default for Accounts {
    /// Everybody is `default`, and may do everything.
    fn default() -> Self {
        let rules = Rules::full();
        let open = Account { enabled: true, no_password: true, passwords: BTreeSet::new(), rules };
        Self(BTreeMap::from([(DEFAULT_USER.to_owned(), open)]))
    }
}

impl Accounts {
    /// `default` with these passwords, and nobody else.
    pub fn with_tokens(tokens: &[PasswordHash]) -> Self {
        let mut all = Self::default();
        if let Some(account) = all.0.get_mut(DEFAULT_USER).filter(|_| !tokens.is_empty()) {
            account.no_password = false;
            account.passwords = tokens.iter().cloned().collect();
        }
        all
    }

    /// Whether somebody who has not said who they are is `default`.
    pub fn is_open(&self) -> bool {
        self.0.get(DEFAULT_USER).is_some_and(|account| account.enabled && account.no_password)
    }

    /// Whether a user needs lanes of its own.
    pub fn has_own_lane(name: &str, account: &Account) -> bool {
        name != DEFAULT_USER || !account.rules.is_full()
    }

    /// The users that need lanes of their own.
    pub fn lanes(&self) -> LaneUsers {
        let own = self
            .0
            .iter()
            .filter(|(name, account)| account.enabled && Self::has_own_lane(name, account));
        own.map(|(name, account)| (name.clone(), account.rules.clone())).collect()
    }
}

/// A number that stands for lane users: whoever reports the same number has the same ones. 0 is for
/// none of them. (FNV-1a over names and rules, each with its length.)
pub fn mark(users: &LaneUsers) -> u64 {
    if users.is_empty() {
        return 0;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |bytes: &[u8]| {
        for byte in (bytes.len() as u64).to_be_bytes().iter().chain(bytes) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for (name, rules) in users {
        take(name.as_bytes());
        take(&(rules.0.len() as u64).to_be_bytes());
        for set in &rules.0 {
            take(&(set.len() as u64).to_be_bytes());
            set.iter().for_each(|rule| take(rule.as_bytes()));
        }
    }
    hash.max(1)
}

/// How a group's clients say who they are, as its owner asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Login {
    /// Tokens of `default`, the newest last: none, one, or two while one replaces the other.
    pub tokens: Vec<PasswordHash>,
    /// When the tokens were last changed, in milliseconds since 1970.
    pub changed_ms: Option<u64>,
    /// The user groups whose users there are.
    pub user_groups: BTreeSet<String>,
}

/// A user as its owner described it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// How it is referred to.
    pub id: String,
    /// How its clients call themselves.
    pub name: String,
    /// Of which engine the groups are that it may be used in.
    pub engine: EngineKind,
    /// What it may do, in the engine's language.
    pub access: String,
    /// Every password is right.
    #[serde(default)]
    pub no_password: bool,
    /// Any of these is right: two at most.
    #[serde(default)]
    pub passwords: BTreeSet<PasswordHash>,
    /// What the surface through which it was made has to remember, by the surface's name.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// A set of users, of which groups are given whole ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserGroup {
    /// How it is referred to.
    pub id: String,
    /// Of which engine the groups are that it may be used in.
    pub engine: EngineKind,
    /// Ids of users; one of them is named `default`.
    pub users: BTreeSet<String>,
    /// What the surface through which it was made has to remember, by the surface's name.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_hash_is_64_digits_and_is_not_shown() {
        let digits = "0a".repeat(32);
        let hash = PasswordHash::parse(&digits).unwrap();
        assert_eq!(hash.as_str(), digits);
        assert!(!format!("{hash:?}").contains("0a"));
        for bad in ["", "0a", &"0A".repeat(32), &"0g".repeat(32), &"0a".repeat(33)] {
            assert_eq!(PasswordHash::parse(bad), Err(NotAHash), "{bad}");
        }
    }

    #[test]
    fn tokens_and_passwords_have_a_length_and_an_alphabet() {
        assert_eq!(token_fault("abcDEF0123456!&#$^<>-"), None);
        assert!(token_fault(&"a".repeat(15)).is_some() && token_fault(&"a".repeat(129)).is_some());
        for bad in ["@", "/", "\"", " ", "\u{e4}", "\n"] {
            assert!(token_fault(&format!("{}{bad}", "a".repeat(20))).is_some(), "{bad}");
        }
        assert_eq!(password_fault("p@ss/word\"0123456"), None);
        assert!(password_fault("0123456789 12345678").is_some());
    }

    #[test]
    fn later_rules_win_and_a_doubtful_category_only_takes_away() {
        let allowed =
            |text: &str, command: &str| allows(&rules(text), command, &["slow"], &["blocking"]);
        assert!(allowed("+@all", "wait") && !allowed("+@read", "wait"));
        assert!(allowed("+@slow", "wait") && !allowed("+@all -wait", "wait"));
        assert!(!allowed("+wait +@slow -@all", "wait"));
        assert!(!allowed("+@blocking", "wait") && !allowed("+@all -@blocking", "wait"));
        assert!(allowed("+acl", "acl|whoami") && allowed("-acl +acl|whoami", "acl|whoami"));
        assert!(!allowed("+acl|cat", "acl|whoami") && !allowed("+acl -acl|whoami", "acl|whoami"));
        assert!(!allowed("~wait &wait", "wait"));
    }

    #[test]
    fn who_says_nothing_is_default_until_there_is_a_token() {
        let open = Accounts::default();
        assert!(open.is_open() && open.lanes().is_empty() && mark(&open.lanes()) == 0);
        let token = PasswordHash::parse(&"1".repeat(64)).unwrap();
        let closed = Accounts::with_tokens(&[token]);
        assert!(!closed.is_open() && closed.lanes().is_empty());
        assert_eq!(Accounts::with_tokens(&[]), open);
    }

    #[test]
    fn the_mark_tells_names_and_rules_apart() {
        let of = |pairs: &[(&str, &[&str])]| {
            let users = pairs.iter().map(|(name, sets)| {
                ((*name).to_owned(), Rules(sets.iter().map(|text| rules(text)).collect()))
            });
            mark(&users.collect())
        };
        let all = [
            of(&[]),
            of(&[("a", &["+get"])]),
            of(&[("a", &["+set"])]),
            of(&[("b", &["+get"])]),
            of(&[("a", &["+get ~x"])]),
            of(&[("a", &["+get", "~x"])]),
            of(&[("a", &["+get"]), ("b", &["+get"])]),
        ];
        let different: BTreeSet<u64> = all.into_iter().collect();
        assert_eq!(different.len(), 7);
    }
}
