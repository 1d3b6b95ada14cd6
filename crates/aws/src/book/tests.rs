//! The book on a real store.

use std::sync::Arc;

use proptest::prelude::*;
use tanist_store::{AnyStore, Options, SqliteStore, Store};

use super::*;

struct Desk {
    store: SqliteStore,
    _home: tempfile::TempDir,
}

const REGION: &str = "us-east-1";

fn zones() -> Arc<[String]> {
    ["us-east-1a", "us-east-1b", "eu-central-1a"].map(str::to_owned).into()
}

async fn desk() -> Desk {
    let home = tempfile::tempdir().unwrap();
    let options = Options { copy_every: None, ..Options::default() };
    let store = SqliteStore::open(home.path().join("store"), options).await.unwrap();
    Desk { store, _home: home }
}

impl Desk {
    async fn book(&self) -> Book {
        self.declare("").await.unwrap()
    }

    async fn declare(&self, text: &str) -> Result<Book, BookError> {
        let declared: Declared = toml::from_str(text).unwrap();
        Book::open(AnyStore::from(self.store.clone()), zones(), &declared).await
    }
}

fn parameters(name: &str) -> CacheParameterGroup {
    let (family, description) = ("redis7".to_owned(), String::new());
    CacheParameterGroup { name: name.to_owned(), family, description, tags: Tags::new() }
}

fn refusal() -> ApiError {
    Fault::MissingAction.answer(Protocol::Ec2)
}

#[tokio::test]
async fn of_a_hundred_changes_at_once_none_is_lost() {
    let desk = desk().await;
    // Four books: changes of one wait for each other, those of different ones meet in the store.
    let books = [desk.book().await, desk.book().await, desk.book().await, desk.book().await];
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..100 {
        let book = books[number % 4].clone();
        tasks.spawn(async move {
            let work = |pages: &mut Pages| {
                pages.cache_parameter_groups.insert(&number.to_string(), parameters("p"));
                let counter = pages.cache_tags.or_default("counter");
                let count = counter.get("n").map_or(0, |n| n.parse().unwrap()) + 1;
                counter.insert("n".to_owned(), count.to_string());
                Ok(count)
            };
            book.change(REGION, work).await.unwrap()
        });
    }
    let mut counts: Vec<i32> = tasks.join_all().await;
    counts.sort_unstable();
    assert_eq!(counts, (1..=100).collect::<Vec<_>>());
    for book in &books {
        let pages = book.read(REGION).await.unwrap();
        assert_eq!(pages.cache_parameter_groups.len(), 100);
        assert_eq!(pages.cache_tags.get("counter").unwrap()["n"], "100");
        assert_eq!(pages.vpcs.len(), 1, "the default network is made once");
    }
}

#[tokio::test]
async fn a_refused_change_leaves_nothing() {
    let desk = desk().await;
    let book = desk.book().await;
    let before = book.read(REGION).await.unwrap();
    let refused = book.change(REGION, |pages| {
        pages.cache_parameter_groups.insert("p", parameters("p"));
        Err::<(), _>(refusal())
    });
    assert!(matches!(refused.await, Err(BookError::Refused(error)) if error == refusal()));
    assert_eq!(book.read(REGION).await.unwrap(), before);
    assert_eq!(desk.book().await.read(REGION).await.unwrap(), before);
}

#[tokio::test]
async fn a_region_begins_with_its_own_zones_and_stays_as_it_was() {
    let desk = desk().await;
    let book = desk.book().await;
    let pages = book.read(REGION).await.unwrap();
    assert_eq!(pages.subnets.values().filter(|subnet| subnet.default_for_zone).count(), 2);
    let other = book.read("eu-central-1").await.unwrap();
    assert_eq!(other.subnets.len(), 1);
    assert_eq!(desk.book().await.read(REGION).await.unwrap(), pages);
    // Unchanged: the very same memory.
    assert!(Arc::ptr_eq(&book.read(REGION).await.unwrap(), &pages));
}

#[tokio::test]
async fn a_change_that_changes_nothing_writes_nothing() {
    let desk = desk().await;
    let book = desk.book().await;
    book.read(REGION).await.unwrap();
    let (_, before) = desk.store.get("x").await.unwrap();
    let touched = book.change(REGION, |pages| {
        let vpc = pages.vpcs.values().next().unwrap().id.clone();
        pages.vpcs.get_mut(&vpc).unwrap().dns_support = true;
        Ok(())
    });
    touched.await.unwrap();
    assert_eq!(desk.store.get("x").await.unwrap().1, before);
}

#[tokio::test]
async fn a_change_beyond_a_transaction_is_refused_whole() {
    let desk = desk().await;
    let book = desk.book().await;
    book.read(REGION).await.unwrap();
    let put = |count: usize| {
        book.change(REGION, move |pages| {
            for number in 0..count {
                pages.cache_parameter_groups.insert(&format!("p{number}"), parameters("p"));
            }
            Ok(())
        })
    };
    let error = put(MAX_TXN_OPS).await.unwrap_err();
    assert!(matches!(error, BookError::TooLarge { records: MAX_TXN_OPS, .. }), "{error}");
    assert_eq!(book.read(REGION).await.unwrap().cache_parameter_groups.len(), 0);
    put(MAX_TXN_OPS - 1).await.unwrap();
}

#[tokio::test]
async fn a_record_that_is_not_understood_is_named() {
    let desk = desk().await;
    let book = desk.book().await;
    book.read(REGION).await.unwrap();
    let key = "aws/us-east-1/vpc/vpc-1";
    let txn = tanist_store::Txn::new().put(key, br#"{"format":"9","body":{}}"#.to_vec());
    desk.store.txn(txn).await.unwrap();
    let error = desk.book().await.read(REGION).await.unwrap_err();
    assert!(matches!(&error, BookError::Record { key: found, .. } if found == key), "{error}");
    let told = ApiError::from(error);
    assert_eq!(told.status, 500);
    assert!(!told.message.contains("vpc-1"));
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Remove(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6_u8, any::<u8>()).prop_map(|(id, value)| Step::Put(id, value)),
        2 => (0..6_u8).prop_map(Step::Remove),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_read_is_what_was_written(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let desk = desk().await;
            let mut book = desk.book().await;
            let mut expected = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Put(id, value) => {
                        expected.insert(id.to_string(), value.to_string());
                        let put = |pages: &mut Pages| {
                            let tags = pages.tags.or_default(&id.to_string());
                            tags.insert("v".to_owned(), value.to_string());
                            Ok(())
                        };
                        book.change(REGION, put).await.unwrap();
                    }
                    Step::Remove(id) => {
                        let known = expected.remove(&id.to_string()).is_some();
                        let remove =
                            |pages: &mut Pages| Ok(pages.tags.remove(&id.to_string()).is_some());
                        assert_eq!(book.change(REGION, remove).await.unwrap(), known);
                    }
                    Step::Reopen => book = desk.book().await,
                }
                let pages = book.read(REGION).await.unwrap();
                let found = pages.tags.iter().map(|(id, tags)| (id.to_owned(), tags["v"].clone()));
                assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
            }
        });
    }
}

const SEED: &str = r#"
[[vpcs]]
id = "vpc-11111111"
region = "us-east-1"
cidr = "10.0.0.0/16"
tags = { Name = "practice-vpc-q1" }
[[subnets]]
id = "subnet-11111111"
vpc = "vpc-11111111"
zone = "us-east-1a"
cidr = "10.0.11.0/24"
[[security_groups]]
id = "sg-11111111"
vpc = "vpc-11111111"
name = "redis"
ingress = [{ ports = [6379, 6379], from = "10.0.0.0/16" }]
"#;

#[tokio::test]
async fn declared_networks_are_there_from_the_start_and_only_once() {
    let desk = desk().await;
    let book = desk.declare(SEED).await.unwrap();
    let pages = book.read(REGION).await.unwrap();
    assert_eq!((pages.vpcs.len(), pages.subnets.len()), (2, 3));
    assert_eq!(pages.tags.get("vpc-11111111").unwrap()["Name"], "practice-vpc-q1");
    assert_eq!(pages.security_groups.get("sg-11111111").unwrap().rules.len(), 2);
    let acl = pages.network_acls.values().find(|acl| acl.vpc == "vpc-11111111").unwrap();
    assert!(acl.associations.contains_key("subnet-11111111"));
    let again = desk.declare(SEED).await.unwrap();
    assert_eq!(again.read(REGION).await.unwrap(), pages);
}

#[tokio::test]
async fn declared_networks_in_conflict_are_an_error() {
    let desk = desk().await;
    desk.declare(SEED).await.unwrap();
    let vpc = "[[vpcs]]\nid = 'vpc-11111111'\nregion = 'us-east-1'\ncidr = '10.0.0.0/16'\n";
    let subnet = |id: &str, zone: &str, cidr: &str| {
        format!("{vpc}[[subnets]]\nid='{id}'\nvpc='vpc-11111111'\nzone='{zone}'\ncidr='{cidr}'\n")
    };
    let cases = [
        (vpc.replace("10.0.0.0/16", "10.1.0.0/16"), "exists and is not what is declared"),
        (vpc.replace("10.0.0.0/16", "10.0.0.0/8"), "its prefix must be between 16 and 28"),
        (vpc.replace("vpc-11111111", "vpc-1"), "is not vpc- with 8 or 17"),
        (format!("{vpc}{vpc}"), "is declared twice"),
        (subnet("subnet-11111111", "us-east-1b", "10.0.11.0/24"), "is not what is declared"),
        (subnet("subnet-22222222", "us-east-1b", "10.0.11.128/25"), "cannot be made beside"),
        (subnet("subnet-22222222", "us-east-1b", "10.9.11.0/24"), "not inside of its VPC's"),
        (subnet("subnet-22222222", "eu-central-1a", "10.0.12.0/24"), "which is no zone"),
        (subnet("subnet-22222222", "us-east-1b", "10.0.12.1/24"), "bits beyond its prefix"),
        (subnet("sg-22222222", "us-east-1b", "10.0.12.0/24"), "is not subnet- with 8 or 17"),
    ];
    for (text, expected) in cases {
        let error = desk.declare(&text).await.unwrap_err();
        let BookError::Declared { source, .. } = error else { panic!("{error}") };
        assert!(source.to_string().contains(expected), "{text}: {source}");
    }
}
