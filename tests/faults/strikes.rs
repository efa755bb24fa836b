//! Kills of the operator at its own writes: which writes there are, and what strikes before or after one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fateh_tests::{
    api_proxy::{self, Asked, Handler},
    program::Program,
    sql_proxy::Verdict,
};
use futures::future::BoxFuture;
use kube::Client;
use serde_json::Value;

/// Before a write is sent, or after it was carried out and before its answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Before,
    After,
}

/// A kill that waits for its write.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What the write is about.
    pub subject: String,
    /// Its kind.
    pub write: String,
    pub moment: Moment,
}

/// Looks at what a killed operator has left of a subject, before another is started.
pub type Witness = Box<dyn Fn(String) -> BoxFuture<'static, ()> + Send + Sync>;

/// What the proxies know: kills that wait, and the writes seen.
pub struct Strikes {
    /// What the names of subjects begin with; a name has one more word behind it.
    prefix: &'static str,
    witness: Witness,
    faults: Mutex<Vec<Fault>>,
    /// Kinds of writes, by subject, in the order in which they were first seen.
    seen: Mutex<HashMap<String, Vec<String>>>,
    program: Mutex<Option<Arc<Program>>>,
    /// One kill at a time: each is followed by one start.
    striking: tokio::sync::Mutex<()>,
}

impl Strikes {
    pub fn new(prefix: &'static str, witness: Witness) -> Arc<Self> {
        Arc::new(Self {
            prefix,
            witness,
            faults: Mutex::default(),
            seen: Mutex::default(),
            program: Mutex::default(),
            striking: tokio::sync::Mutex::default(),
        })
    }

    /// The operator that is killed.
    pub fn aim_at(&self, program: &Arc<Program>) {
        *self.program.lock().unwrap() = Some(Arc::clone(program));
    }

    pub fn arm(&self, fault: Fault) {
        self.faults.lock().unwrap().push(fault);
    }

    /// Whether a kill waits for a write about this subject.
    pub fn waits(&self, subject: &str) -> bool {
        self.faults.lock().unwrap().iter().any(|fault| fault.subject == subject)
    }

    /// Waits until none does any more, or the time is over.
    pub async fn met_within(&self, subject: &str, seconds: u64) {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while self.waits(subject) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The kinds of writes about a subject since this was last asked.
    pub fn seen(&self, subject: &str) -> Vec<String> {
        std::mem::take(self.seen.lock().unwrap().entry(subject.to_owned()).or_default())
    }

    /// Notes a write that is about one of the subjects; the fault that it meets, if any.
    fn meets(&self, place: &str, text: &str) -> Option<Fault> {
        let subject = self.subject_of(text)?;
        let write = format!("{place} {}", blinded(text, &subject));
        let mut seen = self.seen.lock().unwrap();
        let writes = seen.entry(subject.clone()).or_default();
        if !writes.contains(&write) {
            writes.push(write.clone());
        }
        drop(seen);
        let mut faults = self.faults.lock().unwrap();
        let index = faults.iter().position(|fault| fault.subject == subject && fault.write == write)?;
        Some(faults.remove(index))
    }

    /// What a request or statement is about.
    fn subject_of(&self, text: &str) -> Option<String> {
        let start = text.find(self.prefix).or_else(|| text.find(&self.prefix.replace('-', "_")))?;
        let name = text[start..].chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c));
        let name: String = name.collect::<String>().replace('_', "-");
        // Behind the name may be a time, or a part of the subject.
        Some(name.split('-').take(2).collect::<Vec<_>>().join("-"))
    }

    /// Kills the operator, has a look at what it leaves, and starts another. Goes on though nobody waits for it any more:
    /// the connection that it ends must not take it along.
    fn strike(self: &Arc<Self>, fault: Fault) -> impl Future<Output = ()> + Send + use<> {
        let strikes = Arc::clone(self);
        let striking = tokio::spawn(async move {
            let _turn = strikes.striking.lock().await;
            let program = strikes.program.lock().unwrap().clone().unwrap();
            program.kill().await;
            (strikes.witness)(fault.subject).await;
            program.start_again().await;
        });
        async move { striking.await.unwrap() }
    }

    /// What becomes of a statement that goes through a proxy.
    pub fn at_statement(self: &Arc<Self>, statement: &str) -> Verdict {
        // A transaction that was only begun has changed nothing.
        if statement.starts_with("BEGIN ") {
            return Verdict::Pass;
        }
        let Some(fault) = self.meets("SQL", statement) else { return Verdict::Pass };
        let moment = fault.moment;
        let end = Box::pin(self.strike(fault));
        if moment == Moment::Before { Verdict::EndBefore(end) } else { Verdict::EndAfter(end) }
    }

    /// Strikes at the requests to the API server.
    pub fn at_requests(self: &Arc<Self>) -> Handler {
        let strikes = Arc::clone(self);
        Arc::new(move |asked: Asked, upstream: Client| {
            let strikes = Arc::clone(&strikes);
            Box::pin(async move {
                if !asked.is_write() {
                    return api_proxy::forward(asked, upstream).await;
                }
                let told = told(&asked);
                strikes.around("API", &told, api_proxy::forward(asked, upstream)).await
            })
        })
    }

    /// Carries a write out, or ends the operator before or after it and never answers.
    pub async fn around<T>(self: &Arc<Self>, place: &str, told: &str, write: impl Future<Output = T>) -> T {
        let Some(fault) = self.meets(place, told) else { return write.await };
        if fault.moment == Moment::After {
            write.await;
        }
        self.strike(fault).await;
        std::future::pending().await
    }
}

/// The kind of a write: names, numbers and secrets taken out.
fn blinded(text: &str, subject: &str) -> String {
    let text = text.replace(subject, "NODE").replace(&subject.replace('-', "_"), "NODE");
    let mut quoted = text.split('\'').enumerate().map(|(index, part)| if index % 2 == 0 { part } else { "…" });
    let kept: String = quoted.by_ref().collect::<Vec<_>>().join("'");
    kept.chars().filter(|c| !c.is_ascii_digit()).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A request in a line: of an event its reason, of a status its phase, of what is created its name.
fn told(asked: &Asked) -> String {
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let word = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let more = if asked.path.contains("/events") {
        format!("{} {}", word("/reason"), word("/regarding/name"))
    } else if asked.path.ends_with("/status") {
        let conditions = body["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let reason = |kind: &str| {
            let found = conditions.iter().find(|condition| condition["type"] == kind);
            found.and_then(|condition| condition["reason"].as_str()).unwrap_or_default().to_owned()
        };
        let (phase, stage) = (word("/status/phase"), word("/status/stage"));
        format!("{phase} {} {} {stage}", reason("Ready"), reason("DatabaseReady"))
    } else {
        word("/metadata/name")
    };
    format!("{} {} {more}", asked.method, asked.path)
}
