//! What a replay promises, shown with tables of its own.
//!
//! Invariant: each of these tables is short enough to see what has to come of it.
//!
//! Not here: the shell (`crate::session`), what a table may say (`crate::table`).

use std::time::{Duration, Instant};

use crate::replay::{Verdict, matches, replay};
use crate::session::Session;
use crate::table::Document;
use crate::{replayed_on, report};

fn read(text: &str) -> Document {
    Document::parse(&format!("title = 'claims'\n{text}")).unwrap_or_else(|err| panic!("{err}"))
}

/// Replays a table that needs no installation.
fn replayed(text: &str) -> (Document, Vec<Verdict>) {
    let document = read(text);
    let dir = tempfile::tempdir().unwrap_or_else(|err| panic!("a directory: {err}"));
    let mut session = Session::start(dir.path(), |_| {});
    let verdicts = replay(&document, "redis", &mut session);
    (document, verdicts)
}

fn fallen(text: &str) -> String {
    let (document, verdicts) = replayed(text);
    let fallen = report::fallen(&document, &verdicts);
    fallen.unwrap_or_else(|| panic!("nothing fell back: {verdicts:?}"))
}

#[test]
fn a_line_that_fails_is_named_with_what_it_said() {
    let said = fallen(
        "[[line]]\nat=1\nstep='s'\ntext='true'\nstatus='works'\n\
         [[line]]\nat=2\nstep='Step 2'\ntext='echo no; false'\nstatus='works'\nexpect=['no']\n\
         [[line]]\nat=3\nstep='s'\ntext='echo 1; echo 2'\nstatus='works'\nexpect=['^1$', '^3$']\n",
    );
    assert!(said.contains("line 2 (Step 2)") && said.contains("exit code 1"), "{said}");
    assert!(said.contains("line 3") && said.contains("no line matches ^3$"), "{said}");
    assert!(said.contains("  | 2\n") && !said.contains("line 1 "), "{said}");
}

#[test]
fn the_refusal_of_an_original_is_asserted_before_the_corrected_line_is_typed() {
    let table = |code: u8, expect: &str| {
        format!(
            "[[line]]\nat=1\nstep='s'\ntext='echo bad option; exit_with 2'\nstatus='corrected'\n\
             why='w'\nrun='echo good'\nexpect=['^good$']\n\
             original={{codes=[{code}],expect=['{expect}']}}\n"
        )
        .replace("exit_with 2", "(exit 2)")
    };
    let (_, verdicts) = replayed(&table(2, "^bad option$"));
    assert_eq!(verdicts, [Verdict::Well { said: "good\n".to_owned() }]);
    let works_now = fallen(&table(0, "^bad option$"));
    assert!(works_now.contains("the original") && works_now.contains("exit code 2"), "{works_now}");
    assert!(fallen(&table(2, "^another$")).contains("no line matches ^another$"));
}

#[test]
fn a_line_that_hangs_is_ended_and_nothing_is_typed_after_it() {
    let begun = Instant::now();
    let said = fallen(
        "[[line]]\nat=1\nstep='s'\ntext='echo on; sleep 600'\nstatus='works'\ndeadline_s=1\n\
         [[line]]\nat=2\nstep='s'\ntext='true'\nstatus='works'\n\
         [[line]]\nat=3\nstep='s'\ntext='true'\nstatus='not-yet'\nwhy='later'\n",
    );
    assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", begun.elapsed());
    assert!(said.contains("line 1") && said.contains("ended after its deadline of 1s"), "{said}");
    assert!(said.contains("line 2") && said.contains("the shell ended at line 1"), "{said}");
    assert!(!said.contains("line 3"), "{said}");
}

#[test]
fn a_line_is_repeated_until_it_comes_out_as_expected() {
    let line = "[[line]]\nat=1\nstep='s'\nstatus='works'\n";
    let (_, verdicts) = replayed(&format!(
        "{line}text='N=$((N+1)); echo \"n=$N\"'\nexpect=['^n=']\nwithin_s=60\nthen='[[ $OUTPUT == n=3 ]]'\n"
    ));
    assert_eq!(verdicts, [Verdict::Well { said: "n=3\n".to_owned() }]);
    let said = fallen(&format!("{line}text='echo never'\nexpect=['^now$']\nwithin_s=1\n"));
    assert!(said.contains("no line matches ^now$, still so after 1 s"), "{said}");
    let said = fallen(&format!("{line}text='echo a'\nthen='echo \"not $OUTPUT\"; false'\n"));
    assert!(said.contains("afterwards") && said.contains("not a"), "{said}");
}

#[test]
fn every_pattern_of_the_tables_is_one_that_grep_understands() {
    let mut patterns = 0;
    for number in 0..crate::TABLES.len() {
        let document = crate::document(number);
        for line in &document.lines {
            let original = line.original.iter().flat_map(|original| &original.expect);
            for pattern in line.expect.iter().chain(original) {
                assert!(!matches(pattern, "\u{1}"), "line {} would take anything", line.at);
                patterns += 1;
            }
        }
    }
    assert!(patterns > 50, "too few patterns: {patterns}");
}

/// Lines of redis-cli against a group of `tanist create`.
const GROUP: &str = r#"
group = { name = 'web', replicas = 1 }
[placeholders]
'web.xxxxx.example' = '$PRIMARY'
'web-ro.xxxxx.example' = '$READER'
[placeholders_on.valkey]
'[redis]' = '[valkey]'
[[line]]
at = 1
step = 'a variable is kept'
text = 'WEB="web.xxxxx.example"'
status = 'works'
[[line]]
at = 2
step = 'typed at a prompt'
text = 'SET counter 100'
prompt = 'redis-cli -h $WEB'
status = 'works'
expect = ['^OK$']
[[line]]
at = 3
step = 'a replica has it'
text = 'redis-cli -h web-ro.xxxxx.example GET counter'
status = 'works'
expect = ['^100$']
within_s = 10
[[line]]
at = 4
step = 'a replica refuses'
text = 'redis-cli -h web-ro.xxxxx.example SET counter 1'
status = 'corrected'
why = 'the reader endpoint takes no writes'
original = { expect = ['^READONLY '] }
run = 'redis-cli -h $WEB SET counter 101'
expect = ['^OK$']
[[line]]
at = 5
step = 'the engine is the one that was asked for'
text = 'echo "[redis] [$ENGINE]"'
status = 'works'
"#;

fn real_group(engine: &str) {
    let document = read(GROUP);
    let (_installation, verdicts) = replayed_on(&document, engine);
    let fallen = report::fallen(&document, &verdicts);
    assert_eq!(fallen, None, "{engine}");
    let last = Verdict::Well { said: format!("[{engine}] [{engine}]\n") };
    assert_eq!(verdicts.last(), Some(&last));
    let shown = report::table(&document, Some(engine), &verdicts);
    assert!(shown.contains("instead    redis-cli -h $WEB SET counter 101"), "{shown}");
    assert!(shown.contains("5 lines: 4 works, 1 corrected, 0 stand-in, 0 not yet"), "{shown}");
}

#[test]
fn redis_cli_is_typed_against_a_real_group_of_redis() {
    real_group("redis");
}

#[test]
fn redis_cli_is_typed_against_a_real_group_of_valkey() {
    real_group("valkey");
}

#[test]
fn a_line_that_a_real_group_refuses_falls_back() {
    let document = read(&GROUP.replace("expect = ['^100$']", "expect = ['^200$']"));
    let (_installation, verdicts) = replayed_on(&document, "redis");
    let fallen = report::fallen(&document, &verdicts).unwrap_or_default();
    assert!(fallen.contains("line 3") && fallen.contains("no line matches ^200$"), "{fallen}");
    assert!(!fallen.contains("line 2"), "{fallen}");
}
