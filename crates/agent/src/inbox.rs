//! What an agent is told, and what of it holds until it is done.
//!
//! An agent may fail and be started again. What was said once and is not said again must not be lost
//! with it, nor while no agent works: orders are given anew until they are true, but that everything
//! is to be stopped is said once.
//!
//! Invariant: once everything is to be stopped, every agent that works by this inbox hears so first.
//!
//! Not here: doing it (`crate::agent`).

use std::collections::BTreeMap;
use std::convert::Infallible;

use tanist_core::model::ShardKey;
use tanist_link::wire::ToAgent;
use tokio::sync::mpsc;
use tracing::warn;

/// What one host's agents are told, one after the other.
#[derive(Debug)]
pub struct Inbox {
    messages: mpsc::Receiver<ToAgent>,
    /// Everything is to be stopped, and nobody has done it yet.
    stopping: bool,
    /// The last number that was said while no agent worked.
    echo: Option<u64>,
    /// What is to be kept, or not any more, that was said while no agent worked.
    kept: BTreeMap<ShardKey, ToAgent>,
}

impl Inbox {
    /// An inbox for what arrives by `messages`.
    pub fn new(messages: mpsc::Receiver<ToAgent>) -> Self {
        Self { messages, stopping: false, echo: None, kept: BTreeMap::new() }
    }

    /// The next message; `None` if nobody gives orders any more. What was asked of an agent that
    /// has failed is said again to the next one.
    pub(crate) async fn recv(&mut self) -> Option<ToAgent> {
        if self.stopping {
            return Some(ToAgent::StopAll);
        }
        if let Some(number) = self.echo.take() {
            return Some(ToAgent::Echo(number));
        }
        if let Some((_, message)) = self.kept.pop_first() {
            return Some(message);
        }
        let message = self.messages.recv().await;
        self.stopping = matches!(message, Some(ToAgent::StopAll));
        message
    }

    /// Listens while no agent works, so that nobody who speaks finds the queue full; never ends.
    pub async fn attend(&mut self) -> Infallible {
        loop {
            match self.messages.recv().await {
                Some(ToAgent::StopAll) => self.stopping = true,
                Some(ToAgent::Echo(number)) => self.echo = Some(number),
                // It is given again until it is true.
                Some(ToAgent::Order(_)) => {}
                Some(ToAgent::Keep(keep)) => {
                    self.kept.insert(keep.key(), ToAgent::Keep(keep));
                }
                Some(ToAgent::LetGo { key, rev }) => {
                    self.kept.insert(key.clone(), ToAgent::LetGo { key, rev });
                }
                // Whoever asks does not wait for ever.
                Some(ToAgent::Recall(_) | ToAgent::Parts) => {}
                Some(ToAgent::Inject { node, fault }) => {
                    warn!(%node, ?fault, "no agent works that could do this");
                }
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_said_while_nobody_worked_is_heard_and_stopping_is_heard_by_everyone() {
        let (says, messages) = mpsc::channel(1);
        let mut inbox = Inbox::new(messages);
        let saying = async {
            for number in 0..100 {
                says.send(ToAgent::Echo(number)).await.unwrap();
            }
        };
        tokio::select! {
            biased;
            never = inbox.attend() => match never {},
            () = saying => {}
        }
        let hearing = async {
            let mut heard = Vec::new();
            while heard.last() != Some(&Some(ToAgent::Echo(100))) {
                heard.push(inbox.recv().await);
            }
            heard
        };
        let (said, heard) = tokio::join!(says.send(ToAgent::Echo(100)), hearing);
        said.unwrap();
        assert!(heard.len() <= 3, "numbers are said once: {heard:?}");
        says.send(ToAgent::StopAll).await.unwrap();
        drop(says);
        for _ in 0..3 {
            assert_eq!(inbox.recv().await, Some(ToAgent::StopAll));
        }
    }
}
