//! Load: requests are sent when their time has come, whether or not those before were answered, and their time counts
//! from when they were due. Client, service and PostgreSQL share the machine's cores.

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

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is asked, by number: whether it writes, and the request's bytes.
pub type Script = Box<dyn Fn(u64) -> (bool, String) + Send + Sync>;

/// Who is asked for what.
pub struct Target {
    /// Host and port.
    pub address: String,
    pub script: Script,
}

/// A request's end.
#[derive(Clone, Copy)]
pub struct Done {
    pub write: bool,
    pub status: u16,
    pub milliseconds: f64,
}

/// A connection that is kept, and opened again when it was closed.
struct Connection<'a> {
    target: &'a Target,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection<'_> {
    /// Sends one request; the status, 0 when there was no answer.
    fn send(&mut self, number: u64) -> (bool, u16) {
        let (write, text) = (self.target.script)(number);
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

/// Sends one request.
pub fn send_one(target: &Target, number: u64) {
    let (_, status) = Connection { target, stream: None }.send(number);
    assert!((200..300).contains(&status), "request {number} was answered with {status}");
}

/// Sends requests for a while, `rate` a second; without a rate each client sends one after the other.
pub fn send(target: &Arc<Target>, clients: usize, rate: Option<f64>, requests: u64, first: u64) -> Vec<Done> {
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

/// Offers more than can be done: `rate` requests a second over so many connections, all from one thread that looks
/// around every half a millisecond, because what the client takes of the two cores is lost to the node. As a proxy does,
/// it takes the connection that came free last. The requests, and how long it took to offer them.
pub fn flood(target: &Target, connections: usize, rate: f64, requests: u64, first: u64) -> (Vec<Done>, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Tokio would have it wait when it has sent and received a hundred times.
    runtime.block_on(tokio::task::unconstrained(async {
        let mut idle: Vec<_> = (0..connections).map(|_| Pooled::default()).collect();
        let (mut asked, mut done, mut next) = (FuturesUnordered::new(), Vec::new(), 0);
        let started = Instant::now();
        while next < requests || !asked.is_empty() {
            while next < requests {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                let due = started + Duration::from_secs_f64(next as f64 / rate);
                if due > Instant::now() {
                    break;
                }
                let Some(connection) = idle.pop() else { break };
                asked.push(connection.ask(target, first + next, due));
                next += 1;
            }
            // Sends what is new, and takes what was answered.
            while let Some(Some((connection, one))) = asked.next().now_or_never() {
                idle.push(connection);
                done.push(one);
            }
            thread::sleep(Duration::from_micros(500));
            tokio::task::yield_now().await;
        }
        (done, started.elapsed())
    }))
}

/// A connection between two requests.
#[derive(Default)]
struct Pooled {
    stream: Option<tokio::net::TcpStream>,
    buffer: Vec<u8>,
}

impl Pooled {
    async fn ask(mut self, target: &Target, number: u64, due: Instant) -> (Self, Done) {
        let (write, text) = (target.script)(number);
        let status = exchange(target, &mut self.stream, &text, &mut self.buffer).await;
        if status.is_err() {
            self.stream = None;
        }
        let milliseconds = due.elapsed().as_secs_f64() * 1000.0;
        (self, Done { write, status: status.unwrap_or(0), milliseconds })
    }
}

async fn exchange(
    target: &Target,
    stream: &mut Option<tokio::net::TcpStream>,
    text: &str,
    buffer: &mut Vec<u8>,
) -> std::io::Result<u16> {
    let stream = match stream {
        Some(stream) => stream,
        none => {
            let stream = tokio::net::TcpStream::connect(&target.address).await?;
            stream.set_nodelay(true)?;
            none.insert(stream)
        }
    };
    stream.write_all(text.as_bytes()).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut answer = httparse::Response::new(&mut headers);
        let head = answer.parse(buffer).map_err(std::io::Error::other)?;
        let httparse::Status::Complete(head) = head else { continue };
        let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|length| str::from_utf8(length.value).ok()?.parse().ok());
        if buffer.len() >= head + length.unwrap_or(0) {
            return Ok(answer.code.unwrap_or(0));
        }
    }
}

/// The times of some of the requests, in ms.
pub fn times(done: &[Done], of: impl Fn(&Done) -> bool) -> Vec<f64> {
    done.iter().filter(|one| of(one)).map(|one| one.milliseconds).collect()
}

/// Requests a second that were carried out.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub fn goodput(done: &[Done], took: Duration) -> f64 {
    done.iter().filter(|one| one.is_good()).count() as f64 / took.as_secs_f64()
}

impl Done {
    /// Whether it was carried out.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }
}
