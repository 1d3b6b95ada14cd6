//! An agent's side of the conversation with a fleet's servers.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::post;
use tanist_agent::converse;
use tanist_lab::Members;
use tanist_link::wire::{AgentHello, FromAgent, HostReport, ToAgent};
use tanist_link::{
    Client, Duplex, SecureListener, Server, Servers, accept, host_name, serve_secure, server_name,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a test waits for something that must come.
const LONG: Duration = Duration::from_secs(30);

/// A server's end of a conversation.
type Talk = Duplex<ToAgent, FromAgent>;

/// A server that leads: whoever calls is handed to the test.
async fn leading(members: &Members, host: &str) -> (Server, mpsc::Receiver<Talk>) {
    let (calls, called) = mpsc::channel(8);
    let take = move |request: Request| {
        let calls = calls.clone();
        async move {
            let (duplex, response) = accept::<ToAgent, FromAgent>("agent", request.into_body());
            calls.send(duplex).await.unwrap();
            response
        }
    };
    (serving(members, host, Router::new().route("/link/v1/agent", post(take))).await, called)
}

async fn serving(members: &Members, host: &str, routes: Router) -> Server {
    let shown = watch::channel(members.accepting(&[&server_name(&host.into())])).1;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = SecureListener::bind(any, shown).await.unwrap();
    let address = listener.address();
    tokio::spawn(serve_secure(listener, routes));
    Server { host: host.into(), address }
}

/// The agent's end.
struct Agent {
    orders: mpsc::Receiver<ToAgent>,
    reports: mpsc::Sender<FromAgent>,
    task: JoinHandle<()>,
}

fn agent(members: &Members, servers: Vec<Server>) -> Agent {
    let config = watch::channel(members.dialling(&[&host_name(&"h7".into())])).1;
    let client = Client::fleet(Arc::new(Servers::new(servers, config)));
    let hello = AgentHello {
        host: "h7".into(),
        zone: "a".into(),
        address: Ipv4Addr::LOCALHOST,
        memory_bytes: 1,
        keeps: true,
        parts: true,
    };
    let (says, orders) = mpsc::channel(8);
    let (reports, made) = mpsc::channel(8);
    let task = tokio::spawn(converse(client, hello, says, made));
    Agent { orders, reports, task }
}

fn report(echo: u64) -> FromAgent {
    FromAgent::Report(HostReport { host: "h7".into(), echo, nodes: Vec::new(), part: false })
}

async fn called(calls: &mut mpsc::Receiver<Talk>) -> Talk {
    let mut talk = timeout(LONG, calls.recv()).await.expect("it calls").unwrap();
    let hello = timeout(LONG, talk.receiver.recv()).await.unwrap().unwrap();
    assert!(matches!(hello, Some(FromAgent::Hello(hello)) if hello.host == "h7".into()));
    talk
}

#[tokio::test]
async fn orders_arrive_and_reports_are_heard() {
    let members = Members::new();
    let (server, mut calls) = leading(&members, "s1").await;
    let mut agent = agent(&members, vec![server]);
    let mut talk = called(&mut calls).await;
    talk.sender.send(&ToAgent::Echo(5)).unwrap();
    assert_eq!(timeout(LONG, agent.orders.recv()).await.unwrap(), Some(ToAgent::Echo(5)));
    agent.reports.send(report(5)).await.unwrap();
    // Its wall clock comes beside, at once and once a second while the leader is heard.
    let mut speaks = tokio::time::interval(Duration::from_millis(100));
    let (mut clocks, mut heard) = (0, false);
    let listening = async {
        while clocks < 2 || !heard {
            let said = tokio::select! {
                said = talk.receiver.recv() => said.unwrap(),
                _ = agent.orders.recv() => continue,
                _ = speaks.tick() => {
                    talk.sender.send(&ToAgent::Echo(6)).unwrap();
                    continue;
                }
            };
            match said {
                Some(FromAgent::Clock { host, wall_ms }) => {
                    assert!(host == "h7".into() && wall_ms > 1_700_000_000_000, "{host} {wall_ms}");
                    clocks += 1;
                }
                other => {
                    assert_eq!(other, Some(report(5)));
                    heard = true;
                }
            }
        }
    };
    timeout(LONG, listening).await.expect("it says both");
    drop(agent.reports);
    timeout(LONG, agent.task).await.expect("it ends with whoever reports").unwrap();
}

#[tokio::test]
async fn a_leader_that_falls_silent_is_left_for_another_server() {
    let members = Members::new();
    let (first, mut firsts) = leading(&members, "s1").await;
    let (second, mut seconds) = leading(&members, "s2").await;
    let mut agent = agent(&members, vec![first, second]);
    let silent = called(&mut firsts).await;
    silent.sender.send(&ToAgent::Echo(1)).unwrap();
    assert_eq!(timeout(LONG, agent.orders.recv()).await.unwrap(), Some(ToAgent::Echo(1)));
    let talk = called(&mut seconds).await;
    talk.sender.send(&ToAgent::Echo(2)).unwrap();
    assert_eq!(timeout(LONG, agent.orders.recv()).await.unwrap(), Some(ToAgent::Echo(2)));
}

#[tokio::test]
async fn who_reports_never_waits_for_a_server() {
    let members = Members::new();
    let follows = || async { StatusCode::MISDIRECTED_REQUEST };
    let routes = Router::new().route("/link/v1/agent", post(follows));
    let standing_by = serving(&members, "s1", routes).await;
    let agent = agent(&members, vec![standing_by]);
    for number in 0..1000 {
        timeout(LONG, agent.reports.send(report(number))).await.expect("it is taken").unwrap();
    }
    drop(agent.reports);
    timeout(LONG, agent.task).await.expect("it ends").unwrap();
}
