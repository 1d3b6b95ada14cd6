//! Many callers who change the same few things at the same time.
//!
//! Invariant: a change that was acknowledged and is not there at the end is printed.
//!
//! Not here: the claim that there is none (`tests/clients/crowd.rs`).

use tanist_aws::QueryClient;
use tanist_bench::{Row, percentiles, setting};
use tanist_lab::crowd::{self, Crowd};
use tanist_lab::{Installation, texts};

use crate::{micros, runtime};

/// Things that are shared: fewer would not hold a tag or a rule of each caller.
const SHARED: usize = 2;

/// Tags of two groups, then rules of two security groups.
pub(crate) fn mutate() -> Vec<Row> {
    let of = |name: &str, default: u64| usize::try_from(setting(name, default)).unwrap_or(1);
    let (callers, changes) = (of("TANIST_BENCH_CALLERS", 100), of("TANIST_BENCH_CHANGES", 10));
    let installation = Installation::start();
    let client = installation.aws();
    runtime().block_on(async {
        let (mut arns, mut ids) = (Vec::new(), Vec::new());
        for number in 0..SHARED {
            let name = format!("bench-{number}");
            installation.create(&name, &["--replicas", "0"]);
            let asked = [("ReplicationGroupId", name.as_str())];
            arns.push(
                ask(&client, "elasticache", "DescribeReplicationGroups", &asked, "ARN").await,
            );
            let asked = [("GroupName", name.as_str()), ("GroupDescription", "bench")];
            ids.push(ask(&client, "ec2", "CreateSecurityGroup", &asked, "groupId").await);
        }
        let tagged = crowd::tags(&client, &arns, callers, changes).await;
        let ruled = crowd::rules(&client, &ids, callers, changes).await;
        vec![
            row(format!("{callers} callers, tags of {SHARED} groups"), tagged),
            row(format!("{callers} callers, rules of {SHARED} security groups"), ruled),
        ]
    })
}

fn row(what: String, crowd: Crowd) -> Row {
    for line in crowd.lost.iter().chain(&crowd.refused) {
        println!("  {line}");
    }
    let per_second = crowd.took.len() as f64 / crowd.elapsed.as_secs_f64();
    Row {
        what,
        measured: format!(
            "{} changes, {per_second:.0} a second ({}); {} refused, {} lost",
            crowd.took.len(),
            percentiles(crowd.took.iter().copied().map(micros).collect()),
            crowd.refused.len(),
            crowd.lost.len()
        ),
        target: "0 refused, 0 lost",
    }
}

/// Calls an operation; the first text of an element of its answer.
async fn ask(
    client: &QueryClient,
    service: &str,
    action: &str,
    asked: &[(&str, &str)],
    element: &str,
) -> String {
    let version = if service == "ec2" { "2016-11-15" } else { "2015-02-02" };
    let answer = client.call(service, version, action, asked).await;
    let xml = answer.unwrap_or_else(|err| panic!("{action} {asked:?}: {err}"));
    match texts(&xml, element).first() {
        Some(text) => (*text).to_owned(),
        None => panic!("{action}: no {element} in {xml}"),
    }
}
