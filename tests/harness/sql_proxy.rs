//! A proxy before PostgreSQL that sees each statement as it is carried out.

use std::{collections::HashMap, sync::Arc};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, Notify},
};

use crate::Postgres;

/// What is to become of a statement, asked right before it is sent on.
pub enum Verdict {
    /// It is carried out.
    Pass,
    /// It is never sent: this is called, and the connection ends.
    EndBefore(BoxFuture<'static, ()>),
    /// It is carried out, this is called, and the connection ends without an answer.
    EndAfter(BoxFuture<'static, ()>),
}

/// Judges each statement that changes something, and each BEGIN. It is told the statement and the database; a COMMIT is
/// told with the last statement that it makes lasting.
pub type Judge = Arc<dyn Fn(&str) -> Verdict + Send + Sync>;

/// What is sent on in place of what came, so that a part of the server can be simulated.
pub trait Rewrite: Send + Sync {
    /// The database that a session is led to which asks for this one.
    fn database(&self, asked: &str) -> impl Future<Output = String> + Send;

    /// What is carried out in place of a statement of a session that asked for this database; none: the statement.
    fn statement(&self, asked: &str, statement: &str) -> Option<String>;
}

/// Sends everything on as it came.
struct Nothing;

impl Rewrite for Nothing {
    async fn database(&self, asked: &str) -> String {
        asked.to_owned()
    }

    fn statement(&self, _: &str, _: &str) -> Option<String> {
        None
    }
}

/// Starts a proxy before `server`; returns its port.
pub async fn start(server: Postgres, judge: Judge) -> u16 {
    listen(server, judge, Arc::new(Nothing)).await
}

/// Starts a proxy that rewrites what it sends on; returns its port.
pub async fn start_rewriting(server: Postgres, rewrite: Arc<impl Rewrite + 'static>) -> u16 {
    listen(server, Arc::new(|_: &str| Verdict::Pass), rewrite).await
}

async fn listen(server: Postgres, judge: Judge, rewrite: Arc<impl Rewrite + 'static>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a free port");
    let port = listener.local_addr().expect("a bound port").port();
    tokio::spawn(async move {
        while let Ok((inward, _)) = listener.accept().await {
            let (judge, rewrite) = (Arc::clone(&judge), Arc::clone(&rewrite));
            tokio::spawn(async move {
                // A connection that breaks is what this is for.
                let _ = carry(inward, server.port(), judge, &*rewrite).await;
            });
        }
    });
    port
}

/// Whether a statement changes something, by its first word.
#[must_use]
pub fn is_write(statement: &str) -> bool {
    let mut lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
    let first = lines.find_map(|line| line.split_whitespace().next()).unwrap_or_default().to_uppercase();
    let reads = ["SELECT", "SHOW", "SET", "BEGIN", "ROLLBACK", "DEALLOCATE", "WITH", ""];
    !reads.contains(&first.as_str()) || statement.contains("pg_terminate_backend")
}

async fn carry(inward: TcpStream, port: u16, judge: Judge, rewrite: &impl Rewrite) -> std::io::Result<()> {
    let outward = TcpStream::connect(("127.0.0.1", port)).await?;
    inward.set_nodelay(true)?;
    outward.set_nodelay(true)?;
    let (mut from_operator, mut to_operator) = inward.into_split();
    let (mut from_server, mut to_server) = outward.into_split();
    // Set when answers are to be kept back until the server is ready, which is then told.
    let holding = Arc::new((Mutex::new(false), Notify::new()));
    let held = Arc::clone(&holding);
    let answers = tokio::spawn(async move {
        loop {
            let (kind, message) = read_message(&mut from_server).await?;
            if *held.0.lock().await {
                if kind == b'Z' {
                    held.1.notify_one();
                }
                continue;
            }
            to_operator.write_all(&message).await?;
        }
        #[expect(unreachable_code, reason = "gives the block its type")]
        Ok::<_, std::io::Error>(())
    });
    let result = async {
        let database = start_up(&mut from_operator, &mut to_server, rewrite).await?;
        let mut last = String::new();
        let mut statements = HashMap::<Vec<u8>, String>::new();
        let mut portals = HashMap::<Vec<u8>, Vec<u8>>::new();
        loop {
            let (kind, mut message) = read_message(&mut from_operator).await?;
            if kind == b'P' || kind == b'Q' {
                let came = if kind == b'P' { text(name(&message[5..]).1) } else { text(&message[5..]) };
                if let Some(instead) = rewrite.statement(&database, &came) {
                    message = replaced(&message, &came, &instead);
                    let length = u32::try_from(message.len() - 1).unwrap_or_default();
                    message[1..5].copy_from_slice(&length.to_be_bytes());
                }
            }
            let statement = match kind {
                b'Q' => Some(text(&message[5..])),
                b'P' => {
                    let (name, rest) = name(&message[5..]);
                    statements.insert(name, text(rest));
                    None
                }
                b'B' => {
                    let (portal, rest) = name(&message[5..]);
                    portals.insert(portal, name(rest).0);
                    None
                }
                b'E' => {
                    let (portal, _) = name(&message[5..]);
                    portals.get(&portal).and_then(|name| statements.get(name)).cloned()
                }
                _ => None,
            };
            let told = statement.filter(|statement| statement == "BEGIN" || is_write(statement)).map(|statement| {
                if statement == "BEGIN" {
                    format!("BEGIN in {database}")
                } else if statement == "COMMIT" {
                    format!("COMMIT {last}")
                } else {
                    last = format!("{statement} in {database}");
                    last.clone()
                }
            });
            match told.map_or(Verdict::Pass, |told| judge(&told)) {
                Verdict::Pass => to_server.write_all(&message).await?,
                Verdict::EndBefore(end) => {
                    end.await;
                    return Ok(());
                }
                Verdict::EndAfter(end) => {
                    *holding.0.lock().await = true;
                    to_server.write_all(&message).await?;
                    if kind == b'E' {
                        // Until the Sync that closes the request the server answers nothing.
                        loop {
                            let (kind, message) = read_message(&mut from_operator).await?;
                            to_server.write_all(&message).await?;
                            if kind == b'S' {
                                break;
                            }
                        }
                    }
                    holding.1.notified().await;
                    end.await;
                    return Ok(());
                }
            }
        }
    }
    .await;
    answers.abort();
    result
}

/// Leads a session to its database, and returns the name that was asked for.
async fn start_up(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    rewrite: &impl Rewrite,
) -> std::io::Result<String> {
    // The start-up message has no kind.
    let length = from.read_u32().await?;
    let mut rest = vec![0; length as usize - 4];
    from.read_exact(&mut rest).await?;
    let words: Vec<_> = rest[4..].split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let asked = words.iter().skip_while(|word| *word != "database").nth(1);
    let asked = asked.map(|name| name.clone().into_owned()).unwrap_or_default();
    let given = rewrite.database(&asked).await;
    let rest = replaced(&rest, &format!("database\0{asked}\0"), &format!("database\0{given}\0"));
    to.write_u32(u32::try_from(rest.len() + 4).unwrap_or(length)).await?;
    to.write_all(&rest).await?;
    Ok(asked)
}

async fn read_message(from: &mut OwnedReadHalf) -> std::io::Result<(u8, Vec<u8>)> {
    let kind = from.read_u8().await?;
    let length = from.read_u32().await?;
    let mut message = vec![0; length as usize + 1];
    message[0] = kind;
    message[1..5].copy_from_slice(&length.to_be_bytes());
    from.read_exact(&mut message[5..]).await?;
    Ok((kind, message))
}

/// The bytes with the first occurrence of a text replaced.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let Some(at) = bytes.windows(from.len()).position(|window| window == from.as_bytes()) else {
        return bytes.to_vec();
    };
    [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
}

/// A string that ends at a NUL, and what follows.
fn name(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (bytes[..end].to_vec(), &bytes[(end + 1).min(bytes.len())..])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&name(bytes).0).into_owned()
}
