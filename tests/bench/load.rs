//! One node under load: requests are sent when their time has come, whether or not those before were answered, and
//! their time counts from when they were due. Client, node and PostgreSQL share the machine's cores.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fateh_tests::{
    Postgres,
    figures::{Figures, percentile},
    program, seed_people,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    bare_sql,
    running::{Running, become_admin, run},
    statistics,
};

const USERS: u32 = 100_000;
/// Requests a second, and how many in all.
const RATE: f64 = 500.0;
const REQUESTS: u64 = 100_000;

/// What a client needs to know of the node.
pub struct Target {
    pub address: String,
    pub name: String,
    pub token: String,
    /// Part of every idempotency key: a key of a run before must not come again.
    pub run: u32,
}

/// A request's end.
#[derive(Clone, Copy)]
struct Done {
    write: bool,
    status: u16,
    milliseconds: f64,
}

/// A connection that is kept, and opened again when it was closed.
struct Connection<'a> {
    target: &'a Target,
    stream: Option<BufReader<TcpStream>>,
}

impl Target {
    /// Of five requests the first writes: a payment; the others read: oneself, or a page of users.
    fn request(&self, number: u64) -> (bool, String) {
        let Self { name, token, run, .. } = self;
        let head = format!("host: node\r\nauthorization: Bearer {token}\r\n");
        match number % 5 {
            0 => {
                let body = r#"{"type":"course","amount":"10","currency":"SAR"}"#;
                let head = format!(
                    "POST /api/local/revenue HTTP/1.1\r\n{head}x-node-id: {name}\r\nidempotency-key: {run}-{number}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                (true, head)
            }
            1 => (false, format!("GET /api/local/users?limit=20 HTTP/1.1\r\n{head}\r\n")),
            _ => (false, format!("GET /api/local/users/me HTTP/1.1\r\n{head}\r\n")),
        }
    }
}

impl Connection<'_> {
    /// Sends one request; the status, 0 when there was no answer.
    fn send(&mut self, number: u64) -> (bool, u16) {
        let (write, text) = self.target.request(number);
        let status = self.exchange(&text);
        if status.is_err() {
            self.stream = None;
        }
        (write, status.unwrap_or(0))
    }

    fn exchange(&mut self, text: &str) -> std::io::Result<u16> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(&self.target.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(20)))?;
                none.insert(BufReader::new(stream))
            }
        };
        stream.get_mut().write_all(text.as_bytes())?;
        let (mut status, mut length, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(rest) = lower.strip_prefix("http/1.1 ") {
                status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            } else if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            } else if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(status)
    }
}

/// Sends one request of its kind, as [`Target::request`] numbers them.
pub fn send_one(target: &Target, number: u64) {
    let (_, status) = Connection { target, stream: None }.send(number);
    assert!((200..300).contains(&status), "request {number} was answered with {status}");
}

/// Sends requests for a while, `rate` a second; without a rate each client sends one after the other.
fn send(target: &Arc<Target>, clients: usize, rate: Option<f64>, requests: u64, first: u64) -> Vec<Done> {
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let (target, next) = (Arc::clone(target), Arc::clone(&next));
            thread::spawn(move || {
                let mut connection = Connection { target: &target, stream: None };
                let mut done = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return done;
                    }
                    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                    let due = rate.map(|rate| started + Duration::from_secs_f64(number as f64 / rate));
                    let due = due.inspect(|due| thread::sleep(due.saturating_duration_since(Instant::now())));
                    let begun = due.unwrap_or_else(Instant::now);
                    let (write, status) = connection.send(first + number);
                    done.push(Done { write, status, milliseconds: begun.elapsed().as_secs_f64() * 1000.0 });
                }
            })
        })
        .collect();
    clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
}

/// Offers more than can be done: `rate` requests a second over so many connections, all from one thread, because what
/// the client takes of the two cores is lost to the node. The requests, and how long it took to offer them.
fn flood(target: Arc<Target>, connections: usize, rate: f64, requests: u64, first: u64) -> (Vec<Done>, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let next = AtomicU64::new(0);
        let started = Instant::now();
        let clients = (0..connections).map(|_| async {
            let (mut stream, mut done, mut buffer) = (None, Vec::new(), Vec::new());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return done;
                }
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                let due = started + Duration::from_secs_f64(number as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
                let (write, text) = target.request(first + number);
                let status = exchange(&target, &mut stream, &text, &mut buffer).await;
                if status.is_err() {
                    stream = None;
                }
                let status = status.unwrap_or(0);
                done.push(Done { write, status, milliseconds: due.elapsed().as_secs_f64() * 1000.0 });
            }
        });
        let done = futures::future::join_all(clients).await;
        (done.into_iter().flatten().collect(), started.elapsed())
    })
}

async fn exchange(
    target: &Target,
    stream: &mut Option<tokio::net::TcpStream>,
    text: &str,
    buffer: &mut Vec<u8>,
) -> std::io::Result<u16> {
    let stream = match stream {
        Some(stream) => stream,
        none => none.insert(tokio::net::TcpStream::connect(&target.address).await?),
    };
    stream.set_nodelay(true)?;
    stream.write_all(text.as_bytes()).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        if buffer.len() >= end + 4 + length.unwrap_or(0) {
            return Ok(head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0));
        }
    }
}

async fn seed(node: &Running) {
    let mut database = node.database(Postgres::V18).await;
    seed_people(&mut database, USERS).await;
    sqlx::query("ANALYZE local_node.local_users").execute(&mut database).await.unwrap();
}

fn times(done: &[Done], of: impl Fn(&Done) -> bool) -> Vec<f64> {
    done.iter().filter(|one| of(one)).map(|one| one.milliseconds).collect()
}

/// Requests a second that were carried out.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn goodput(done: &[Done], took: Duration) -> f64 {
    done.iter().filter(|one| (200..300).contains(&one.status)).count() as f64 / took.as_secs_f64()
}

/// Measures a node whose operator is running.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]
pub async fn measure(figures: &mut Figures) {
    let operator = program::Program::start_directly("operator-load", &[]).await;
    let node = run("bench-load", Postgres::V18).await;
    let token = become_admin(&node).await;
    operator.stop().await;
    seed(&node).await;
    statistics::measure(&node, &token, figures).await;
    let address = node.users.base.trim_start_matches("http://").to_owned();
    let target = Arc::new(Target { address, name: node.name.clone(), token, run: std::process::id() });
    let pid = node.child.id().unwrap();
    // Plans, connections and caches.
    send(&target, 8, Some(RATE), 1000, 0);

    let done = send(&target, 32, Some(RATE), REQUESTS, 1000);
    let failed = done.iter().filter(|one| !(200..300).contains(&one.status)).count();
    let (reads, writes) = (times(&done, |one| !one.write), times(&done, |one| one.write));
    figures.add("500 requests/s: reads, p50", percentile(&reads, 50), "ms", "1");
    figures.add("500 requests/s: reads, p99", percentile(&reads, 99), "ms", "5");
    figures.add("500 requests/s: writes, p99", percentile(&writes, 99), "ms", "9");
    figures.add("500 requests/s: errors in 100,000 requests", failed as f64, "", "0");
    figures.add(
        "node-runtime: resident memory, under load",
        program::memory(pid, "VmRSS:") as f64 / 1000.0,
        "MB",
        "16",
    );

    let mut first = 1000 + REQUESTS;
    let started = Instant::now();
    let saturated = goodput(&send(&target, 16, None, 40_000, first), started.elapsed());
    first += 40_000;
    figures.add("saturation: 16 clients, one request after the other", saturated, "/s", "");
    let bare = bare_sql::saturate(&node, &target).await;
    figures.add("pgbench with the same SQL, 16 clients", bare, "/s", "");
    figures.add("saturation, of pgbench", saturated / bare * 100.0, "%", "");
    for (times_over, goal) in [(2.0, "90"), (4.0, "70")] {
        let rate = saturated * times_over;
        let requests = (rate * 10.0) as u64;
        let flooded = Arc::clone(&target);
        let flooding = tokio::task::spawn_blocking(move || flood(flooded, 1000, rate, requests, first));
        let (done, took) = flooding.await.unwrap();
        first += requests;
        let offered = requests as f64 / took.as_secs_f64() / saturated;
        figures.add(&format!("{times_over} times that is to be offered: offered"), offered, "times", "");
        let share = goodput(&done, took) / saturated * 100.0;
        figures.add(&format!("{times_over} times that: goodput, of saturation"), share, "%", goal);
        let refused = times(&done, |one| one.status == 503);
        if !refused.is_empty() {
            figures.add(&format!("{times_over} times that: 503s, p99"), percentile(&refused, 99), "ms", "20");
        }
    }
}
