//! Reads access strings: the engine's ACL rules, as far as an owner may give them.
//!
//! An engine that is told a rule which it does not understand refuses the whole user, and an order
//! with it. So a string is read here, word by word, before anybody accepts it; what is passed on is
//! in one spelling, whatever was written.
//!
//! Invariant: every word that comes out is one that engines understand in its place; no word sets a
//! password, a flag or another user.
//!
//! Not here: which commands there are (the caller knows), the rules that hold for everybody
//! (`tanist-agent`).

use crate::model::Rules;

/// Most bytes of an access string.
pub const MAX_BYTES: usize = 4096;

/// Categories of commands that every engine has.
const CATEGORIES: &[&str] = &[
    "admin",
    "all",
    "bitmap",
    "blocking",
    "connection",
    "dangerous",
    "fast",
    "geo",
    "hash",
    "hyperloglog",
    "keyspace",
    "list",
    "pubsub",
    "read",
    "scripting",
    "set",
    "slow",
    "sortedset",
    "stream",
    "string",
    "transaction",
    "write",
];

/// Why a string is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// There is nothing in it, or nothing but blanks.
    #[error("the access string is empty")]
    Empty,
    /// It is longer than [`MAX_BYTES`].
    #[error("the access string has more than {MAX_BYTES} bytes")]
    TooLong,
    /// It has bytes other than visible ASCII and blanks.
    #[error("the access string may have visible ASCII characters only")]
    Characters,
    /// A word that is no rule.
    #[error("{0:?} is no rule of an access string")]
    Word(String),
    /// Passwords are given in another way.
    #[error("an access string holds no passwords")]
    Password,
    /// A command or subcommand that no engine has.
    #[error("there is no command {0:?}")]
    Command(String),
    /// A category that no engine has.
    #[error("there is no category {0:?}")]
    Category(String),
    /// Engines refuse a pattern after the one that says everything.
    #[error("{0:?} stands after a rule that allows every key or channel already")]
    Useless(String),
    /// Parentheses that do not fit together.
    #[error("the parentheses do not fit together")]
    Parentheses,
    /// A word that has no meaning between parentheses.
    #[error("{0:?} cannot stand between parentheses")]
    Inside(String),
}

/// What an access string says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Whether the user may be used: `on` or `off`, the last one counts, and `off` if neither.
    pub enabled: bool,
    /// What it may do.
    pub rules: Rules,
}

/// One set of rules while it is read.
#[derive(Debug, Default)]
struct Set {
    words: Vec<String>,
    every_key: bool,
    every_channel: bool,
}

/// Reads an access string. `is_command` knows commands (`get`) and subcommands (`config|get`), in
/// lower case.
///
/// # Errors
/// [`AclError`] at the first word that cannot be.
pub fn read(text: &str, is_command: &dyn Fn(&str) -> bool) -> Result<Reading, AclError> {
    if text.len() > MAX_BYTES {
        return Err(AclError::TooLong);
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err(AclError::Characters);
    }
    let mut enabled = false;
    let mut root = Set::default();
    let mut selectors = Vec::new();
    let mut inner: Option<Set> = None;
    let mut words = text.split(' ').filter(|word| !word.is_empty()).peekable();
    if words.peek().is_none() {
        return Err(AclError::Empty);
    }
    for word in words {
        let opens = word.strip_prefix('(');
        if opens.is_some() && inner.replace(Set::default()).is_some() {
            return Err(AclError::Parentheses);
        }
        let rest = opens.unwrap_or(word);
        let closes = rest.strip_suffix(')').filter(|_| inner.is_some());
        let rule = closes.unwrap_or(rest);
        match (&mut inner, rule.to_ascii_lowercase().as_str()) {
            (Some(_), "") => {}
            (Some(_), "on" | "off" | "clearselectors") => {
                return Err(AclError::Inside(rule.to_owned()));
            }
            (None, "on") => enabled = true,
            (None, "off") => enabled = false,
            (None, "clearselectors") => selectors.clear(),
            (Some(set), _) => set.take(rule, is_command)?,
            (None, _) => root.take(rule, is_command)?,
        }
        if closes.is_some() {
            selectors.extend(inner.take().map(|set| set.words));
        }
    }
    if inner.is_some() {
        return Err(AclError::Parentheses);
    }
    let sets = std::iter::once(root.words).chain(selectors);
    Ok(Reading { enabled, rules: Rules(sets.collect()) })
}

impl Set {
    fn take(&mut self, rule: &str, is_command: &dyn Fn(&str) -> bool) -> Result<(), AclError> {
        let lower = rule.to_ascii_lowercase();
        match lower.as_str() {
            "allkeys" | "~*" => self.say(&mut |set| &mut set.every_key, "~*"),
            "allchannels" | "&*" => self.say(&mut |set| &mut set.every_channel, "&*"),
            "allcommands" | "+@all" => self.words.push("+@all".to_owned()),
            "nocommands" | "-@all" => self.words.push("-@all".to_owned()),
            "resetkeys" => {
                self.every_key = false;
                self.words.push(lower);
            }
            "resetchannels" => {
                self.every_channel = false;
                self.words.push(lower);
            }
            _ => return self.pattern_or_command(rule, &lower, is_command),
        }
        Ok(())
    }

    fn say(&mut self, flag: &mut dyn FnMut(&mut Self) -> &mut bool, word: &str) {
        if !std::mem::replace(flag(self), true) {
            self.words.push(word.to_owned());
        }
    }

    fn pattern_or_command(
        &mut self,
        rule: &str,
        lower: &str,
        is_command: &dyn Fn(&str) -> bool,
    ) -> Result<(), AclError> {
        let bad = || AclError::Word(rule.to_owned());
        // Of ASCII, so every byte is a character.
        let (first, rest) = rule.split_at_checked(1).ok_or_else(bad)?;
        match first {
            "~" | "%" => {
                let pattern = if first == "~" { Some(rest) } else { read_or_write(rest) };
                let is_there = pattern.is_some_and(|pattern| !pattern.is_empty());
                is_there.then_some(()).ok_or_else(bad)?;
                if self.every_key {
                    return Err(AclError::Useless(rule.to_owned()));
                }
                self.words.push(rule.to_owned());
            }
            "&" if self.every_channel => return Err(AclError::Useless(rule.to_owned())),
            "&" if !rest.is_empty() => self.words.push(rule.to_owned()),
            "+" | "-" => {
                let what = lower.get(1..).unwrap_or_default();
                match what.strip_prefix('@') {
                    Some(category) if CATEGORIES.contains(&category) => {}
                    Some(category) => return Err(AclError::Category(category.to_owned())),
                    None if is_command(what) => {}
                    None => return Err(AclError::Command(what.to_owned())),
                }
                self.words.push(lower.to_owned());
            }
            ">" | "<" | "#" | "!" => return Err(AclError::Password),
            _ if matches!(lower, "nopass" | "resetpass") => return Err(AclError::Password),
            _ => return Err(bad()),
        }
        Ok(())
    }
}

/// The pattern of `%R~p`, `%W~p`, `%RW~p`, without the first byte.
fn read_or_write(rest: &str) -> Option<&str> {
    let (rights, pattern) = rest.split_once('~')?;
    matches!(rights.to_ascii_uppercase().as_str(), "R" | "W" | "RW" | "WR").then_some(pattern)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(name: &str) -> bool {
        ["get", "set", "config", "config|get", "acl|whoami"].contains(&name)
    }

    fn sets(text: &str) -> Vec<String> {
        let reading = read(text, &known).unwrap();
        reading.rules.0.iter().map(|set| set.join(" ")).collect()
    }

    #[test]
    fn strings_are_read_as_engines_do_and_written_in_one_way() {
        assert_eq!(sets("on ~app:* +@read -@dangerous"), ["~app:* +@read -@dangerous"]);
        assert_eq!(sets("ON ALLKEYS allchannels AllCommands -SET"), ["~* &* +@all -set"]);
        assert_eq!(sets("on ~* ~* &* &* +@all"), ["~* &* +@all"]);
        assert_eq!(sets("~a resetkeys ~b %R~c %rw~d"), ["~a resetkeys ~b %R~c %rw~d"]);
        assert_eq!(sets("~* resetkeys ~b"), ["~* resetkeys ~b"]);
        assert_eq!(sets("+config|get (~x +get) ( +set )"), ["+config|get", "~x +get", "+set"]);
        assert_eq!(sets("(+get) clearselectors +set"), ["+set"]);
        assert_eq!(sets("~a(b) +get"), ["~a(b) +get"]);
        let on = |text: &str| read(text, &known).unwrap().enabled;
        assert!(on("on +get") && on("off on") && !on("on off") && !on("+get"));
        assert!(read("on ~* &* +@all", &known).unwrap().rules.is_full());
        assert!(!read("on ~* &* +@all -get", &known).unwrap().rules.is_full());
        assert!(!read("on ~* &* +@all (+get)", &known).unwrap().rules.is_full());
    }

    #[test]
    fn what_is_no_rule_is_named() {
        let error = |text: &str| read(text, &known).unwrap_err();
        let word = |text: &str| AclError::Word(text.to_owned());
        assert_eq!(error(""), AclError::Empty);
        assert_eq!(error("   "), AclError::Empty);
        assert_eq!(error(&"x".repeat(MAX_BYTES + 1)), AclError::TooLong);
        assert_eq!(error("on \t+get"), AclError::Characters);
        assert_eq!(error("on ~\u{e4} +get"), AclError::Characters);
        for secret in [">a", "<a", "#00", "!00", "nopass", "resetpass", "on (>a)"] {
            assert_eq!(error(secret), AclError::Password, "{secret}");
        }
        for bad in ["reset", "~", "&", "%R", "%X~a", "%R~", "skip-sanitize-payload", "x", ")"] {
            assert_eq!(error(bad), word(bad), "{bad}");
        }
        assert_eq!(error("+nosuch"), AclError::Command("nosuch".to_owned()));
        assert_eq!(error("-config|nosuch"), AclError::Command("config|nosuch".to_owned()));
        assert_eq!(error("+"), AclError::Command(String::new()));
        assert_eq!(error("+@nosuch"), AclError::Category("nosuch".to_owned()));
        assert_eq!(error("~* ~a"), AclError::Useless("~a".to_owned()));
        assert_eq!(error("allchannels &a"), AclError::Useless("&a".to_owned()));
        for bad in ["(+get", "(+get (+set))", "(+get (~x"] {
            assert_eq!(error(bad), AclError::Parentheses, "{bad}");
        }
        assert_eq!(error("(on)"), AclError::Inside("on".to_owned()));
        assert_eq!(error("((+get))"), word("(+get)"));
    }

    proptest! {
        #[test]
        fn whatever_comes_out_has_no_password_no_blank_and_no_parenthesis_of_its_own(
            text in "[-+~&%@()>#! a-zA-Z:*|]{0,40}",
        ) {
            if let Ok(reading) = read(&text, &known) {
                for word in reading.rules.0.iter().flatten() {
                    prop_assert!(!word.contains(' ') && !word.is_empty());
                    prop_assert!(!word.starts_with(['>', '<', '#', '!', '(']));
                    prop_assert!(!matches!(word.as_str(), "on" | "off" | "nopass" | "reset"));
                }
            }
        }
    }
}
