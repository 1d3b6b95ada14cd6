//! Every way in which a failover can be seen, and what subscribers hear of it.
//!
//! Invariant: whatever was seen or missed, what is heard is in Sentinel's order.
//!
//! Not here: whether a real installation is seen so (the repository's stories).

use tanist_link::api::GroupStatus;

use super::super::rig::{event, group, status, with_aliases, with_role};
use super::super::settings::{Advertise, Settings};
use super::*;

/// A subscriber to everything.
struct Heard {
    story: Story,
    view: View,
    settings: Settings,
    now: Instant,
    channels: Vec<&'static str>,
    payloads: Vec<String>,
}

impl Heard {
    /// One who has been there while `group` was as it is.
    fn of(settings: Settings, group: &GroupStatus) -> Self {
        let mut heard = Self {
            story: Story::new("me".to_owned()),
            view: View::default(),
            settings,
            now: Instant::now(),
            channels: Vec::new(),
            payloads: Vec::new(),
        };
        heard.look(std::slice::from_ref(group));
        assert!(heard.channels.is_empty(), "how things were found is no news");
        heard
    }

    fn note(&mut self, notices: Notices) {
        for notice in notices {
            self.channels.push(notice.channel);
            self.payloads.push(format!("{} {}", notice.channel, notice.payload));
        }
    }

    fn look(&mut self, groups: &[GroupStatus]) {
        self.view = View::of(&status(groups), &self.view, &self.settings, self.now);
        let notices = self.story.look(&self.view, self.now);
        self.note(notices);
    }

    fn hear(&mut self, event: &EventRecord) {
        let notices = self.story.hear(event);
        self.note(notices);
    }

    /// What was heard since the last time.
    fn taken(&mut self) -> Vec<&'static str> {
        self.payloads.clear();
        std::mem::take(&mut self.channels)
    }
}

const DOWN: [&str; 2] = ["+sdown", "+odown"];
const BEGUN: [&str; 5] = [
    "+new-epoch",
    "+try-failover",
    "+vote-for-leader",
    "+elected-leader",
    "+failover-state-select-slave",
];
const CHOSEN: [&str; 3] =
    ["+selected-slave", "+failover-state-send-slaveof-noone", "+failover-state-wait-promotion"];
const PROMOTED: [&str; 4] = [
    "+promoted-slave",
    "+failover-state-reconf-slaves",
    "+slave-reconf-sent",
    "+slave-reconf-inprog",
];
const DONE: [&str; 2] = ["+slave-reconf-done", "+replica-reconf-done"];
const SWITCHED: [&str; 4] = ["+failover-end", "+switch-master", "+slave", "+slave"];
const BACK: [&str; 2] = ["-sdown", "+convert-to-slave"];

#[tokio::test]
async fn a_primary_endpoint_that_is_elsewhere_is_told_although_nobody_else_is_primary() {
    let mut web = group("web", 1, Some(1));
    let mut heard = Heard::of(Settings::default(), &web);
    heard.look(std::slice::from_ref(&web));
    assert!(heard.taken().is_empty(), "it is where it was");
    web.primary_endpoint.address = std::net::Ipv4Addr::new(127, 80, 0, 9);
    heard.look(std::slice::from_ref(&web));
    assert_eq!(heard.payloads, ["+switch-master web 127.80.1.1 6379 127.80.0.9 6379"]);
    assert_eq!(heard.taken(), ["+switch-master"]);
    heard.look(&[web]);
    assert!(heard.taken().is_empty(), "once");
}

/// The whole of a crash, from the loss to the return.
fn crash() -> Vec<&'static str> {
    let down: &[&str] = &["+sdown"];
    let parts: [&[&str]; 8] = [&DOWN, &BEGUN, &CHOSEN, &PROMOTED, &DONE, &SWITCHED, down, &BACK];
    parts.concat()
}

fn before() -> GroupStatus {
    group("web", 7, Some(1))
}

fn vacant() -> GroupStatus {
    with_role(group("web", 8, None), 1, "down")
}

fn after(first: &str) -> GroupStatus {
    with_role(group("web", 8, Some(2)), 1, first)
}

#[tokio::test]
async fn a_crash_is_told_step_by_step_as_it_happens() {
    let mut heard = Heard::of(Settings::default(), &before());
    heard.hear(&event("PrimaryVacated", 1, 8, Severity::Warning));
    assert_eq!(heard.taken(), [&DOWN[..], &BEGUN].concat());
    heard.look(&[vacant()]);
    assert_eq!(heard.taken(), [""; 0]);
    heard.hear(&event("PrimaryChosen", 2, 8, Severity::Info));
    assert_eq!(heard.taken(), CHOSEN);
    assert!(heard.story.is_moving());
    heard.look(&[after("down")]);
    assert_eq!(heard.taken(), [&PROMOTED[..], &DONE, &SWITCHED, &["+sdown"]].concat());
    assert!(!heard.story.is_moving());
    heard.look(&[after("starting")]);
    assert_eq!(heard.taken(), [""; 0]);
    heard.look(&[after("syncing")]);
    assert_eq!(heard.taken(), BACK);
    heard.look(&[after("replica")]);
    assert_eq!(heard.taken(), [""; 0], "it is told once");
}

#[tokio::test]
async fn a_crash_of_which_only_the_end_is_seen_is_told_from_its_beginning() {
    let mut heard = Heard::of(Settings::default(), &before());
    heard.look(&[after("down")]);
    heard.look(&[after("replica")]);
    assert_eq!(heard.taken(), crash());
}

#[tokio::test]
async fn a_crash_whose_loser_is_back_before_anybody_looked_is_told_with_its_return() {
    let mut heard = Heard::of(Settings::default(), &before());
    heard.hear(&event("PrimaryVacated", 1, 8, Severity::Warning));
    heard.look(&[after("replica")]);
    assert_eq!(heard.taken(), crash());
}

#[tokio::test]
async fn what_is_older_than_what_was_heard_changes_nothing() {
    let mut heard = Heard::of(Settings::default(), &before());
    heard.hear(&event("PrimaryVacated", 1, 8, Severity::Warning));
    heard.taken();
    heard.look(&[before()]);
    assert_eq!(heard.taken(), [""; 0]);
    heard.look(&[after("replica")]);
    assert_eq!(heard.channels.iter().filter(|channel| **channel == "+switch-master").count(), 1);
}

#[tokio::test]
async fn a_failover_on_request_is_told_without_anybody_being_down() {
    let mut heard = Heard::of(Settings::default(), &before());
    heard.hear(&event("PrimaryVacated", 1, 8, Severity::Info));
    assert_eq!(heard.taken(), [""; 0], "it may be the group's end");
    heard.look(&[group("web", 8, None)]);
    assert_eq!(heard.taken(), BEGUN);
    heard.hear(&event("PrimaryChosen", 2, 8, Severity::Info));
    heard.look(&[after("frozen")]);
    heard.look(&[after("replica")]);
    let rest: [&[&str]; 5] = [&CHOSEN, &PROMOTED, &DONE, &SWITCHED, &["+convert-to-slave"]];
    assert_eq!(heard.taken(), rest.concat());
}

#[tokio::test]
async fn payloads_name_the_old_and_the_new_address() {
    let mut heard = Heard::of(Settings::default(), &before());
    heard.look(&[after("replica")]);
    let has = |text: &str| heard.payloads.iter().any(|payload| payload == text);
    assert!(has("+switch-master web 127.80.1.1 6379 127.80.1.1 6379"), "{:#?}", heard.payloads);
    assert!(has("+new-epoch 8") && has("+vote-for-leader me 8"), "{:#?}", heard.payloads);
    assert!(has("+selected-slave slave 127.80.1.12:6379 127.80.1.12 6379 @ web 127.80.1.1 6379"));
    let nodes = Settings { advertise: Advertise::Nodes, ..Settings::default() };
    let mut heard = Heard::of(nodes, &before());
    heard.look(&[after("down")]);
    let has = |text: &str| heard.payloads.iter().any(|payload| payload == text);
    assert!(has("+odown master web 127.80.1.11 6379 #quorum 1/1"), "{:#?}", heard.payloads);
    assert!(has("+switch-master web 127.80.1.11 6379 127.80.1.12 6379"), "{:#?}", heard.payloads);
    assert!(has("+slave slave 127.80.1.11:6379 127.80.1.11 6379 @ web 127.80.1.12 6379"));
}

#[tokio::test]
async fn the_end_waits_for_replicas_to_follow_but_not_for_long() {
    let mut heard = Heard::of(Settings::default(), &before());
    heard.look(&[with_role(after("replica"), 3, "frozen")]);
    assert_eq!(heard.channels.last(), Some(&"+slave-reconf-inprog"));
    assert!(heard.story.is_moving());
    heard.taken();
    heard.now += RECONF;
    heard.look(&[with_role(after("replica"), 3, "syncing")]);
    let timeout: &[&str] = &["+failover-end-for-timeout"];
    assert_eq!(heard.taken(), [timeout, &SWITCHED, &["+convert-to-slave"]].concat());
    heard.look(&[after("replica")]);
    assert_eq!(heard.taken(), DONE, "it follows in the end");
}

#[tokio::test]
async fn a_primary_that_comes_back_itself_ends_the_failover_without_a_switch() {
    let mut heard = Heard::of(Settings::default(), &before());
    heard.hear(&event("PrimaryVacated", 1, 8, Severity::Warning));
    heard.hear(&event("PrimaryChosen", 1, 8, Severity::Info));
    heard.look(&[group("web", 8, Some(1))]);
    let end: &[&str] = &["-failover-abort-no-good-slave", "-sdown", "-odown"];
    assert_eq!(heard.taken(), [&DOWN[..], &BEGUN, end].concat());
    assert!(!heard.story.is_moving());
}

#[tokio::test]
async fn a_second_loss_on_the_way_begins_anew_and_is_told_to_its_end() {
    let mut heard = Heard::of(Settings::default(), &before());
    heard.hear(&event("PrimaryVacated", 1, 8, Severity::Warning));
    heard.hear(&event("PrimaryChosen", 2, 8, Severity::Info));
    heard.hear(&event("PrimaryVacated", 2, 9, Severity::Warning));
    heard.taken();
    heard.look(&[with_role(group("web", 9, Some(3)), 2, "down")]);
    let told = heard.taken();
    assert_eq!(told[..3], CHOSEN);
    assert_eq!(told.iter().filter(|channel| **channel == "+switch-master").count(), 1);
    assert!(told.contains(&"+sdown"), "{told:?}");
}

#[tokio::test]
async fn an_alias_is_told_of_with_its_own_name_and_the_epoch_once() {
    let mut heard = Heard::of(with_aliases(&[("mymaster", "web")]), &before());
    heard.look(&[after("replica")]);
    let count = |channel: &str| heard.channels.iter().filter(|c| **c == channel).count();
    assert_eq!(
        (count("+switch-master"), count("+new-epoch"), count("+vote-for-leader")),
        (2, 1, 1)
    );
    let mine = "+switch-master mymaster 127.80.1.1 6379 127.80.1.1 6379".to_owned();
    assert!(heard.payloads.contains(&mine), "{:#?}", heard.payloads);
}

#[tokio::test]
async fn groups_and_replicas_that_come_and_go_are_told() {
    let mut heard = Heard::of(Settings::default(), &before());
    let shop = group("shop", 1, Some(1));
    heard.look(&[before(), shop.clone()]);
    assert_eq!(heard.taken(), ["+monitor", "+slave", "+slave"]);
    heard.look(&[before(), with_role(shop.clone(), 2, "down")]);
    assert_eq!(heard.taken(), ["+sdown"]);
    heard.look(&[before(), shop]);
    assert_eq!(heard.taken(), ["-sdown"]);
    heard.look(&[before()]);
    assert_eq!(heard.taken(), ["-monitor"]);
    let mut smaller = before();
    smaller.shards[0].nodes.pop();
    heard.look(std::slice::from_ref(&smaller));
    assert_eq!(heard.taken(), ["+reset-master", "+slave"]);
    heard.look(&[with_role(before(), 3, "starting")]);
    assert_eq!(heard.taken(), [""; 0], "it does not follow yet");
    heard.look(&[with_role(before(), 3, "syncing")]);
    assert_eq!(heard.taken(), ["+slave"]);
}
