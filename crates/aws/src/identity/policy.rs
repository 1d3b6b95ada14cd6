//! What a key may do: policies in IAM's language, without its conditions.
//!
//! A statement that cannot be heeded is refused when the policy is given. To ignore a `Condition`, a
//! `NotAction` or a variable would grant or deny something that nobody wrote.
//!
//! Invariant: what no statement allows is denied, and a `Deny` that matches is final; a policy is at
//! most [`MAX_POLICY_BYTES`] long.
//!
//! Not here: which resources a request is about (the services say it), who the caller is
//! (`identity`).

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Most bytes of a policy's text, white space included.
pub const MAX_POLICY_BYTES: usize = 16 * 1024;

/// Most statements of a policy.
pub const MAX_STATEMENTS: usize = 64;

/// Most actions, and most resources, of one statement.
pub const MAX_PATTERNS: usize = 128;

/// An ARN's parts before the resource: `arn`, partition, service, region, account.
const SEGMENTS: usize = 5;

/// Why a policy is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It is too long.
    #[error("the policy has {bytes} bytes; at most {MAX_POLICY_BYTES} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not a policy document.
    #[error("reading the policy")]
    Syntax(#[source] serde_json::Error),
    /// Its version is unknown.
    #[error("the policy has the version {0:?}; known are 2012-10-17 and 2008-10-17")]
    Version(String),
    /// It has none, or too many.
    #[error("the policy has {0} statements; 1 to {MAX_STATEMENTS} are allowed")]
    Statements(usize),
    /// A statement has no action or no resource, or too many.
    #[error("statement {statement} has {count} {what}s; 1 to {MAX_PATTERNS} are allowed")]
    Patterns {
        /// Which one, from 1.
        statement: usize,
        /// `action` or `resource`.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// An action is not `*` or `service:operation`.
    #[error("{0:?} is no action; write * or service:operation, such as elasticache:Describe*")]
    Action(String),
    /// A resource is not `*` or an ARN.
    #[error(
        "{0:?} is no resource; write * or an ARN of six parts, such as \
         arn:aws:elasticache:*:*:replicationgroup:web-*; variables are not supported"
    )]
    Resource(String),
}

/// What a policy says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// No statement allows it.
    NotAllowed,
    /// A statement denies it.
    Forbidden,
}

/// A policy that was read and can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    effect: Effect,
    /// In lower case: IAM does not tell apart the case of actions.
    actions: Vec<String>,
    resources: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Document {
    version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    statement: OneOrMany<RawStatement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RawStatement {
    #[serde(rename = "Sid")]
    _sid: Option<String>,
    effect: Effect,
    action: OneOrMany<String>,
    resource: OneOrMany<String>,
}

/// IAM lets a list of one be written without its brackets. Read as it comes and not through a tree:
/// a tree would take the last of two fields with one name.
struct OneOrMany<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either(PhantomData)).map(Self)
    }
}

struct Either<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value or a list of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(values)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        T::deserialize(text.into_deserializer()).map(|one| vec![one])
    }
}

impl Policy {
    /// Reads a policy document.
    pub(crate) fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLong { bytes: text.len() });
        }
        let document: Document = serde_json::from_str(text).map_err(PolicyError::Syntax)?;
        if let Some(version) = document.version
            && !["2012-10-17", "2008-10-17"].contains(&version.as_str())
        {
            return Err(PolicyError::Version(version));
        }
        let raw = document.statement.0;
        if raw.is_empty() || raw.len() > MAX_STATEMENTS {
            return Err(PolicyError::Statements(raw.len()));
        }
        let numbered = raw.into_iter().enumerate();
        let statements = numbered.map(|(at, raw)| Statement::read(at + 1, raw));
        Ok(Self { statements: statements.collect::<Result<_, _>>()? })
    }

    /// May `action` (such as `elasticache:DeleteReplicationGroup`) be done with `resource`?
    pub(crate) fn judge(&self, action: &str, resource: &str) -> Verdict {
        let action = action.to_ascii_lowercase();
        let matching = self.statements.iter().filter(|statement| {
            let about = |pattern: &String| covers(pattern, resource);
            let names = |pattern: &String| glob(pattern, &action);
            statement.actions.iter().any(names) && statement.resources.iter().any(about)
        });
        let mut verdict = Verdict::NotAllowed;
        for statement in matching {
            match statement.effect {
                Effect::Deny => return Verdict::Forbidden,
                Effect::Allow => verdict = Verdict::Allowed,
            }
        }
        verdict
    }
}

impl Statement {
    fn read(statement: usize, raw: RawStatement) -> Result<Self, PolicyError> {
        let bounded = |what, patterns: Vec<String>| {
            let count = patterns.len();
            if (1..=MAX_PATTERNS).contains(&count) {
                Ok(patterns)
            } else {
                Err(PolicyError::Patterns { statement, what, count })
            }
        };
        let mut actions = bounded("action", raw.action.0)?;
        let resources = bounded("resource", raw.resource.0)?;
        for action in &mut actions {
            if !is_action(action) {
                return Err(PolicyError::Action(std::mem::take(action)));
            }
            action.make_ascii_lowercase();
        }
        match resources.iter().find(|resource| !is_resource(resource)) {
            Some(wrong) => Err(PolicyError::Resource(wrong.clone())),
            None => Ok(Self { effect: raw.effect, actions, resources }),
        }
    }
}

fn is_action(text: &str) -> bool {
    let known =
        |letter: char| letter.is_ascii_alphanumeric() || ['*', '?', '-', '_'].contains(&letter);
    let part = |part: &str| !part.is_empty() && part.chars().all(known);
    text == "*" || text.split_once(':').is_some_and(|(service, name)| part(service) && part(name))
}

fn is_resource(text: &str) -> bool {
    let whole = text.split(':').count() > SEGMENTS && text.starts_with("arn:");
    text == "*" || whole && !text.contains("${")
}

/// Does a resource's pattern cover an ARN? A wildcard stays within its part of the ARN, so that
/// `arn:aws:elasticache:us-*:...` cannot reach beyond the region.
fn covers(pattern: &str, resource: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let mut patterns = pattern.splitn(SEGMENTS + 1, ':');
    let mut parts = resource.splitn(SEGMENTS + 1, ':');
    loop {
        match (patterns.next(), parts.next()) {
            (Some(pattern), Some(part)) if glob(pattern, part) => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// `*` is any text, `?` any one character. At most `pattern.len() * text.len()` steps.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on after a star that took too little: behind it, with one character more.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((behind, taken)) = retry else { return false };
                retry = Some((behind, taken + 1));
                p = behind;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "arn:aws:elasticache:us-east-1:123456789012:replicationgroup:web";

    fn statement(effect: &str, action: &str, resource: &str) -> String {
        format!(r#"{{"Effect":"{effect}","Action":{action},"Resource":{resource}}}"#)
    }

    fn policy(statements: &[String]) -> Policy {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","));
        Policy::parse(&text).unwrap()
    }

    #[test]
    fn what_nothing_allows_is_not_allowed_and_a_deny_is_final() {
        let allow = statement("Allow", r#""elasticache:*""#, r#""*""#);
        let deny = statement("Deny", r#"["elasticache:Delete*"]"#, &format!("[{WEB:?}]"));
        for statements in [[allow.clone(), deny.clone()], [deny, allow]] {
            let policy = policy(&statements);
            let judge = |action, resource| policy.judge(action, resource);
            assert_eq!(judge("elasticache:CreateReplicationGroup", WEB), Verdict::Allowed);
            assert_eq!(judge("elasticache:DeleteReplicationGroup", WEB), Verdict::Forbidden);
            let other = WEB.replace("web", "other");
            assert_eq!(judge("elasticache:DeleteReplicationGroup", &other), Verdict::Allowed);
            assert_eq!(judge("ec2:DescribeVpcs", "*"), Verdict::NotAllowed);
        }
    }

    #[test]
    fn actions_have_no_case_and_resources_have() {
        let policy =
            policy(&[statement("Allow", r#""ElastiCache:describe*""#, &format!("{WEB:?}"))]);
        assert_eq!(policy.judge("elasticache:DescribeReplicationGroups", WEB), Verdict::Allowed);
        assert_eq!(
            policy.judge("elasticache:DescribeReplicationGroups", &WEB.replace("web", "WEB")),
            Verdict::NotAllowed
        );
        assert_eq!(policy.judge("elasticache:DescribeReplicationGroups", "*"), Verdict::NotAllowed);
    }

    #[test]
    fn a_wildcard_stays_within_its_part_of_an_arn() {
        for (pattern, covered) in [
            ("*", true),
            ("arn:aws:elasticache:*:*:replicationgroup:we?", true),
            ("arn:*:*:*:*:*", true),
            ("arn:aws:elasticache:us-*:123456789012:*", true),
            ("arn:aws:elasticache:us-*:*:cluster:*", false),
            ("arn:aws:elasticache:*:replicationgroup:web:x", false),
            ("arn:aws:elasticache:eu-*:*:*", false),
            ("arn:aws:elasticache:*:*:replicationgroup:web-*", false),
            ("arn:aws:elasticache:*:*:replicationgroup:w", false),
        ] {
            assert!(is_resource(pattern), "{pattern}");
            assert_eq!(covers(pattern, WEB), covered, "{pattern}");
        }
    }

    #[test]
    fn globs_match_whole_texts() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("*", "", true),
            ("**", "a", true),
            ("?", "", false),
            ("?", "ä", true),
            ("a*c", "abcbc", true),
            ("a*c", "abcb", false),
            ("a*b*c", "a-b-b-c", true),
            ("*a", "aaab", false),
            ("abc", "ab", false),
            ("ab", "abc", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern:?} {text:?}");
        }
        // Without a limit on going back this would not end.
        assert!(!glob(&"*a".repeat(2000), &"a".repeat(1999)));
    }

    #[test]
    fn what_cannot_be_heeded_is_refused() {
        let with = |more: &str| {
            format!(r#"{{"Statement":{{"Effect":"Allow","Action":"*","Resource":"*"{more}}}}}"#)
        };
        assert!(Policy::parse(&with("")).is_ok());
        for more in [
            r#","Condition":{}"#,
            r#","NotAction":"*""#,
            r#","NotResource":"*""#,
            r#","Principal":"*""#,
            r#","Effect":"Deny""#,
        ] {
            let error = Policy::parse(&with(more)).unwrap_err();
            assert!(matches!(error, PolicyError::Syntax(_)), "{more}: {error}");
        }
        let statement = |effect, action, resource| {
            Policy::parse(&format!(r#"{{"Statement":[{}]}}"#, statement(effect, action, resource)))
        };
        assert!(matches!(statement("allow", r#""*""#, r#""*""#), Err(PolicyError::Syntax(_))));
        for action in [r#""""#, r#""Describe*""#, r#""a:b:c""#, r#""ec2:""#, r#"":x""#, r#""ä:b""#]
        {
            let refused = statement("Allow", action, r#""*""#);
            assert!(matches!(refused, Err(PolicyError::Action(_))), "{action}");
        }
        for resource in [r#""""#, r#""web""#, r#""arn:aws:s3:::""#, r#""arn:a:b:c:d:${x}""#] {
            let refused = statement("Allow", r#""*""#, resource);
            let taken = resource == r#""arn:aws:s3:::""#;
            assert_eq!(refused.is_ok(), taken, "{resource}");
        }
        assert!(matches!(
            Policy::parse(r#"{"Version":"2020-01-01","Statement":[]}"#),
            Err(PolicyError::Version(_))
        ));
    }

    #[test]
    fn everything_has_a_limit() {
        let many = |count| vec![statement("Allow", r#""*""#, r#""*""#); count].join(",");
        let document = |count| Policy::parse(&format!(r#"{{"Statement":[{}]}}"#, many(count)));
        assert!(document(MAX_STATEMENTS).is_ok());
        assert!(matches!(document(MAX_STATEMENTS + 1), Err(PolicyError::Statements(65))));
        assert!(matches!(document(0), Err(PolicyError::Statements(0))));
        let patterns = |count| {
            let list = vec![r#""*""#; count].join(",");
            let text = statement("Allow", &format!("[{list}]"), r#""*""#);
            Policy::parse(&format!(r#"{{"Statement":{text}}}"#))
        };
        assert!(patterns(MAX_PATTERNS).is_ok());
        assert!(matches!(patterns(MAX_PATTERNS + 1), Err(PolicyError::Patterns { .. })));
        assert!(matches!(patterns(0), Err(PolicyError::Patterns { .. })));
        let long = " ".repeat(MAX_POLICY_BYTES + 1);
        assert!(matches!(Policy::parse(&long), Err(PolicyError::TooLong { .. })));
        let deep = "[".repeat(MAX_POLICY_BYTES);
        assert!(matches!(Policy::parse(&deep), Err(PolicyError::Syntax(_))));
    }
}
