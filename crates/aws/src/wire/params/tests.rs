//! Forms, read along a small model that has everything.

use super::*;
use crate::wire::form;

const ZOO: &str = r#"{"botocore":"1","metadata":{"apiVersion":"1","endpointPrefix":"zoo",
"xmlNamespace":"n"},"errors":{},"operations":{"Feed":{"input":"In"}},"shapes":{
"In":{"type":"structure","members":[
  {"name":"Name","shape":"S"},{"name":"Count","shape":"I"},{"name":"Big","shape":"L"},
  {"name":"Load","shape":"F"},{"name":"Open","shape":"B"},{"name":"At","shape":"T"},
  {"name":"Plain","shape":"Plain"},{"name":"Named","shape":"Named"},
  {"name":"Flat","shape":"Flat"},{"name":"FlatNamed","shape":"FlatNamed"},
  {"name":"Map","shape":"Map"},{"name":"FlatMap","shape":"FlatMap"},
  {"name":"Nested","shape":"In"},
  {"name":"Located","shape":"S","locationName":"located"},
  {"name":"Queried","shape":"S","locationName":"x","queryName":"Asked"}]},
"S":{"type":"string"},"I":{"type":"integer"},"L":{"type":"long"},"F":{"type":"double"},
"B":{"type":"boolean"},"T":{"type":"timestamp"},
"Plain":{"type":"list","member":{"shape":"S"}},
"Named":{"type":"list","member":{"shape":"In","locationName":"Item"}},
"Flat":{"type":"list","member":{"shape":"S"},"flattened":true},
"FlatNamed":{"type":"list","member":{"shape":"S","locationName":"FlatItem"},"flattened":true},
"Map":{"type":"map","key":{"shape":"S"},"value":{"shape":"I"}},
"FlatMap":{"type":"map","key":{"shape":"S","locationName":"K"},"value":{"shape":"S",
  "locationName":"V"},"flattened":true}}}"#;

fn zoo() -> &'static Service {
    static ZOO_MODEL: std::sync::OnceLock<Service> = std::sync::OnceLock::new();
    ZOO_MODEL.get_or_init(|| Service::parse(ZOO).unwrap())
}

fn read_as(spelling: Spelling, text: &str) -> Result<Structure, Fault> {
    let pairs = form::pairs(b"", text.as_bytes())?;
    read(zoo(), spelling, zoo().operation("Feed").unwrap().input.unwrap(), &pairs)
}

fn query(text: &str) -> Structure {
    read_as(Spelling::Query, text).unwrap()
}

fn ec2(text: &str) -> Structure {
    read_as(Spelling::Ec2, text).unwrap()
}

#[test]
fn scalars_are_read_by_their_type() {
    let read = query("Name=a&Count=-7&Big=9223372036854775807&Load=1e3&Open=TRUE&At=2026-01-31");
    let expected = Structure::new()
        .set("Name", "a")
        .set("Count", -7)
        .set("Big", i64::MAX)
        .set("Load", 1000.0)
        .set("Open", true)
        .set("At", "2026-01-31T00:00:00Z".parse::<Timestamp>().unwrap());
    assert_eq!(read, expected);
}

#[test]
fn times_are_read_with_and_without_zone() {
    for text in ["2026-01-31T10:00:00.500Z", "2026-01-31T12:00:00.5+02:00", "2026-01-31T10:00:00.5"]
    {
        let at = timestamp(text).unwrap();
        assert_eq!(at.to_string(), "2026-01-31T10:00:00.5Z", "{text}");
    }
}

#[test]
fn what_has_the_wrong_type_is_refused_by_name() {
    for text in [
        "Count=2147483648",
        "Count=1.5",
        "Count=",
        "Count= 1",
        "Big=9223372036854775808",
        "Load=1e999",
        "Load=inf",
        "Load=x",
        "Open=yes",
        "At=yesterday",
        "Plain=x",
        "Named.Item.1.Count=x",
    ] {
        match read_as(Spelling::Query, text) {
            Err(Fault::BadType { member, .. }) => assert!(text.starts_with(&member), "{member}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn lists_go_by_their_word_or_by_member_and_gaps_close() {
    let names = |read: &Structure, name: &str| read.texts(name).collect::<Vec<_>>().join(" ");
    assert_eq!(
        names(&query("Plain.member.10=c&Plain.member.2=b&Plain.member.1=a"), "Plain"),
        "a b c"
    );
    for word in ["Item", "member"] {
        let read =
            query(&format!("Named.{word}.1.Name=a&Named.{word}.7.Name=b&Named.{word}.7.Count=1"));
        let items: Vec<&Structure> = read.structures("Named").collect();
        assert_eq!(
            items,
            [
                &Structure::new().set("Name", "a"),
                &Structure::new().set("Name", "b").set("Count", 1),
            ]
        );
    }
    assert_eq!(names(&query("Flat.1=a&Flat.2=b"), "Flat"), "a b");
    assert_eq!(names(&query("FlatItem.1=a&FlatItem.2=b"), "FlatNamed"), "a b");
    assert_eq!(names(&ec2("Plain.1=a&Plain.2=b"), "Plain"), "a b");
}

#[test]
fn an_empty_list_is_there_and_empty() {
    let read = query("Plain=");
    assert!(read.has("Plain") && read.items("Plain").is_empty());
    assert!(!query("Named.Item.1.Unknown=1").has("Named"));
}

#[test]
fn maps_are_pairs_of_key_and_value() {
    let read = query(
        "Map.entry.1.key=a&Map.entry.1.value=1&Map.entry.2.key=b&Map.entry.2.value=2&\
                      Map.entry.3.key=c&FlatMap.1.K=x&FlatMap.1.V=y",
    );
    let map = read.structure("Map").unwrap();
    assert_eq!((map.len(), map.integer("a"), map.integer("b")), (2, Some(1), Some(2)));
    assert_eq!(read.structure("FlatMap").unwrap().text("x"), Some("y"));
}

#[test]
fn the_numbers_of_a_list_are_bounded() {
    for number in ["0", "01", "10001", "999999999", "99999999999999999999999"] {
        for text in [
            format!("Plain.member.{number}=a"),
            format!("Named.Item.{number}.Name=a"),
            format!("Map.entry.{number}.key=a"),
        ] {
            let read = read_as(Spelling::Query, &text);
            assert!(matches!(read, Err(Fault::BadType { .. })), "{text}: {read:?}");
        }
    }
    assert_eq!(query("Plain.member.10000=a").items("Plain").len(), 1);
}

#[test]
fn what_the_model_does_not_have_is_ignored() {
    let text = "Unknown=1&Plain.other.1=a&Plain.member.x=a&Name.more=1&.=1&=1&Nested=1&name=b&\
                Named.Item.1=1&Plain.member=1&X-Amz-Date=1";
    assert_eq!(query(text), Structure::new());
}

#[test]
fn ec2_has_its_own_names() {
    let read = ec2("Located=a&Asked=b&Named.2.Name=c");
    let expected = Structure::new()
        .set("Located", "a")
        .set("Queried", "b")
        .list("Named", [Structure::new().set("Name", "c")]);
    assert_eq!(read, expected);
    assert_eq!(ec2("located=a&X=b&x=b"), Structure::new());
    assert_eq!(query("located=a&x=b").len(), 2);
}

#[test]
fn a_deep_name_ends_where_the_depth_ends() {
    let deep = |parts: usize| format!("{}Name=a", "Nested.".repeat(parts));
    assert!(query(&deep(10)).has("Nested"));
    assert!(query(&deep(30)).has("Nested"));
    assert!(!query(&deep(40)).has("Nested"));
    assert!(!query(&deep(100_000)).has("Nested"));
}
