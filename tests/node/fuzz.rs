//! Requests made from the node's own description, good ones and every kind of bad one: no answer is undocumented, and
//! none is a 500.

use std::collections::{BTreeMap, HashMap};

use fateh_tests::Postgres;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::{Client, Method};
use serde_json::{Map, Value, json};

use crate::running::{Running, become_admin, make, run, sign_in, text};

/// Where a value that is no text of its own is found: in what a request before was answered.
type Ids = Vec<String>;

const HOSTILE: [&str; 16] = [
    "",
    "\0",
    "a\0b",
    "'; DROP TABLE local_users; --",
    "$$ || pg_sleep(9)",
    "\u{202e}\u{feff}right to left",
    "../../etc/passwd",
    "%00%ff",
    "{\"nested\": true}",
    "𝕬\u{0301}\u{0301}\u{0301}",
    "99999999999999999999999999999999",
    "-1",
    "1e400",
    "NaN",
    "0000-00-00T00:00:00Z",
    "-9999-01-01T00:00:00Z",
];

struct Fuzzer {
    random: StdRng,
    /// Whether the request of the moment is meant well: every other one is, and mostly succeeds.
    honest: bool,
    /// What the request of the moment is about.
    path: String,
    ids: Ids,
    schemas: Value,
}

impl Fuzzer {
    fn one_in(&mut self, sides: u32) -> bool {
        !self.honest && self.random.random_ratio(1, sides)
    }

    fn hostile(&mut self) -> String {
        match self.random.random_range(0..18) {
            // Two of them, escaped, still fit into a URL.
            0 => "a".repeat(self.random.random_range(1..5_000)),
            1 => "ش".repeat(300),
            _ => HOSTILE.choose(&mut self.random).copied().unwrap_or_default().to_owned(),
        }
    }

    fn id(&mut self) -> String {
        match self.random.random_range(if self.honest { 2 } else { 0 }..6) {
            0 => uuid::Uuid::new_v4().to_string(),
            1 => self.hostile(),
            _ => self.ids.choose(&mut self.random).cloned().unwrap_or_default(),
        }
    }

    /// Something of no type in particular.
    fn anything(&mut self, depth: u32) -> Value {
        match self.random.random_range(0..if depth > 3 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.random.random_bool(0.5)),
            2 => json!(self.random.random::<i64>()),
            3 => json!(1e300),
            4 => json!(self.id()),
            5 => json!(self.hostile()),
            6 => (0..self.random.random_range(0..4)).map(|_| self.anything(depth + 1)).collect(),
            _ => {
                let names = ["id", "title", "a\0", "", "__proto__", "questions"];
                let fields = (0..3).map(|_| {
                    let name = names.choose(&mut self.random).copied().unwrap_or_default();
                    (name.to_owned(), self.anything(depth + 1))
                });
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// A text that a field of this name would hold, by the words of the description.
    fn plausible(&mut self, name: &str) -> String {
        let words: &[&str] = match name {
            "username" | "search" => {
                // Each is taken once.
                return format!(
                    "{}-{}",
                    ["omar", "ليلى", "nour"].choose(&mut self.random).copied().unwrap_or_default(),
                    self.random.random::<u16>()
                );
            }
            "email" if self.honest => return format!("{}@example.com", self.random.random::<u32>()),
            "email" | "login" => &["omar@example.com", "a@b.co", "someone@example.org"],
            "Idempotency-Key" if self.honest => return self.random.random::<u64>().to_string(),
            "password" | "newPassword" | "currentPassword" => &["another long password 1", "one more long password 2"],
            "role" => &["student", "instructor", "admin"],
            "status" => &["active", "suspended", "draft", "published", "archived"],
            "type" if self.path.contains("content") => &["lesson", "quiz", "course"],
            "type" => &["subscription", "course", "consulting", "workshop"],
            "language" => &["ar", "en", "fr-CA"],
            "amount" if self.honest => &["1", "100.50", "0.01"],
            "transactionDate" if self.honest => &["2026-11-20T10:00:00Z"],
            "currency" if self.honest => &["SAR"],
            "currency" => &["SAR", "USD"],
            "amount" => &["1", "100.50", "0.01", "0", "1.005", "9999999999999999", "١٠"],
            "period" | "groupBy" | "by" => &["day", "month", "year"],
            "limit" => &["1", "2", "100", "0", "101"],
            "from" | "to" | "since" | "until" | "transactionDate" => {
                &["2026-01-01", "2026-11-20T10:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "2026-02-30"]
            }
            "choice" | "take" | "resolution" => &["ours", "theirs", "edit"],
            "path" => &["/title", "/content/text", "/content/questions/0", "title", "content"],
            _ => &["something", "x", "1"],
        };
        words.choose(&mut self.random).copied().unwrap_or_default().to_owned()
    }

    fn string(&mut self, name: &str) -> String {
        if self.one_in(5) {
            self.hostile()
        } else if name.ends_with("Id") || name == "id" || name == "cursor" || self.one_in(12) {
            self.id()
        } else {
            self.plausible(name)
        }
    }

    /// A value of the schema, most of the time.
    fn value(&mut self, name: &str, schema: &Value, depth: u32) -> Value {
        if self.one_in(14) || depth > 6 {
            return self.anything(depth);
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let schema = self.schemas[reference.rsplit('/').next().unwrap_or_default()].clone();
            return self.value(name, &schema, depth + 1);
        }
        if let Some(options) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
            let option = options.choose(&mut self.random).cloned().unwrap_or_default();
            return self.value(name, &option, depth + 1);
        }
        if let Some(options) = schema["enum"].as_array() {
            return options.choose(&mut self.random).cloned().unwrap_or_default();
        }
        let kinds: Vec<_> = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().into_iter().collect(),
        };
        match kinds.choose(&mut self.random).copied() {
            Some("object") if schema["properties"].is_object() => self.object(schema, depth),
            Some("object") => json!({"text": self.plausible(name), "id": self.id()}),
            Some("array") => {
                let length = self.random.random_range(0..3);
                (0..length).map(|_| self.value(name, &schema["items"], depth + 1)).collect()
            }
            Some("string") => json!(self.string(name)),
            Some("integer") => {
                json!([0, 1, -1, i64::MAX, i64::MIN, 2_147_483_648].choose(&mut self.random).copied().unwrap_or(0))
            }
            Some("number") => json!(self.random.random::<f64>()),
            Some("boolean") => json!(self.random.random_bool(0.5)),
            Some("null") => Value::Null,
            _ => self.anything(depth),
        }
    }

    fn object(&mut self, schema: &Value, depth: u32) -> Value {
        let properties = schema["properties"].as_object().cloned().unwrap_or_default();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let mut object = Map::new();
        for (name, property) in properties {
            let wanted = required.contains(&json!(name)) || self.random.random_bool(0.5);
            if wanted && !self.one_in(25) {
                let value = self.value(&name, &property, depth + 1);
                object.insert(name, value);
            }
        }
        if self.one_in(20) {
            object.insert(self.hostile(), self.anything(2));
        }
        Value::Object(object)
    }

    /// A body's bytes: JSON of the schema, or something that is no JSON at all.
    fn body(&mut self, schema: &Value) -> Vec<u8> {
        let text = self.value("", schema, 0).to_string();
        match self.random.random_range(if self.honest { 24 } else { 0 }..25) {
            0 => [b"{\"a\": \"", &[0xff, 0xfe, 0x80][..], b"\"}"].concat(),
            1 => text.as_bytes().get(..text.len() / 2).unwrap_or_default().to_vec(),
            2 => b"[".repeat(30_000),
            3 => format!("{{\"a\": \"{}\"}}", "x".repeat(70_000)).into_bytes(),
            4 => text.replacen('"', "\"\\ud800", 1).into_bytes(),
            5 => text.replacen('{', "{\"amount\": 1e999999, ", 1).into_bytes(),
            6 => Vec::new(),
            _ => text.into_bytes(),
        }
    }
}

/// One operation of the description.
struct Operation<'a> {
    method: Method,
    path: &'a str,
    described: &'a Value,
}

fn operations(description: &Value) -> Vec<Operation<'_>> {
    let paths = description["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.filter_map(move |(method, described)| {
            let method = method.to_uppercase().parse().ok().filter(|_| described["responses"].is_object())?;
            Some(Operation { method, path, described })
        })
    });
    each.collect()
}

/// A text as part of a URL, whatever is in it.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |url, byte| url + &format!("%{byte:02x}"))
}

/// Sends one request, and says what came back: the status, the content type and the body.
async fn send(
    fuzzer: &mut Fuzzer,
    client: &Client,
    base: &str,
    operation: &Operation<'_>,
    token: Option<&str>,
) -> Result<(u16, String, Vec<u8>), reqwest::Error> {
    let mut path = operation.path.to_owned();
    let (mut query, mut headers) = (Vec::new(), Vec::new());
    for parameter in operation.described["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        match parameter["in"].as_str() {
            Some("path") => {
                let id = escaped(&fuzzer.id());
                path = path.replace(&format!("{{{name}}}"), if id.is_empty() { "%20" } else { &id });
            }
            Some("query") if fuzzer.random.random_bool(0.4) => {
                query.push(format!("{name}={}", escaped(&fuzzer.string(name))));
            }
            Some("header") if !fuzzer.one_in(6) => headers.push(match name.to_lowercase().as_str() {
                "x-node-id" if !fuzzer.one_in(10) => (name, "fuzzed".to_owned()),
                "if-match" | "if-none-match" => (name, format!("\"{}\"", fuzzer.random.random_range(0..4))),
                _ => (name, fuzzer.string(name)),
            }),
            _ => {}
        }
    }
    let mut request = client.request(operation.method.clone(), format!("{base}{path}?{}", query.join("&")));
    for (name, value) in headers {
        // What cannot be a header is not sent by any client either.
        if let Ok(value) = reqwest::header::HeaderValue::from_bytes(value.as_bytes()) {
            request = request.header(name, value);
        }
    }
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(schema) = operation.described["requestBody"]["content"].get("application/json") {
        let kind = if fuzzer.one_in(30) { "text/plain" } else { "application/json" };
        request = request.header("content-type", kind).body(fuzzer.body(&schema["schema"]));
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let kind =
        answer.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    Ok((status, kind, answer.bytes().await?.to_vec()))
}

async fn tokens(node: &Running) -> Vec<Option<String>> {
    let admin = become_admin(node).await;
    make(&node.users, &admin, "teacher", "instructor").await;
    make(&node.users, &admin, "learner", "student").await;
    let mut tokens = vec![Some(admin.clone()), Some(admin), None, Some("a.b.c".to_owned())];
    for login in ["teacher", "learner"] {
        tokens.push(Some(text(&sign_in(&node.users, login).await, "accessToken")));
    }
    tokens
}

#[tokio::test]
async fn no_request_is_answered_with_what_is_not_documented() {
    let soak = std::env::var_os("FATEH_SOAK").is_some();
    let seed = std::env::var("FATEH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    let rounds = if soak { 2000 } else { 60 };
    println!("seed {seed} (FATEH_SEED), {rounds} requests to each operation");
    let node = run("fuzzed", Postgres::V18).await;
    let tokens = tokens(&node).await;
    let description = node.users.get("/api/openapi.json", None).await.json;
    let schemas = description["components"]["schemas"].clone();
    let random = StdRng::seed_from_u64(seed);
    let mut fuzzer = Fuzzer { random, honest: true, path: String::new(), ids: Ids::new(), schemas };
    // A connection whose request was refused before its end is closed by the node, and must not carry the next one.
    let client = Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let operations = operations(&description);
    assert!(operations.len() > 25, "{}", operations.len());
    let mut seen: BTreeMap<(String, u16), u32> = BTreeMap::new();
    let mut problems: HashMap<String, String> = HashMap::new();
    for _ in 0..rounds {
        for operation in &operations {
            fuzzer.honest = fuzzer.random.random_bool(0.5);
            operation.path.clone_into(&mut fuzzer.path);
            // The first is the admin's.
            let token = if fuzzer.honest { tokens.first() } else { tokens.choose(&mut fuzzer.random) };
            let token = token.cloned().flatten();
            let name = format!("{} {}", operation.method, operation.path);
            let sent = send(&mut fuzzer, &client, &node.users.base, operation, token.as_deref()).await;
            let (status, kind, body) = sent.unwrap_or_else(|error| panic!("seed {seed}: {name}: {error:?}"));
            *seen.entry((name.clone(), status)).or_default() += 1;
            let documented = operation.described["responses"].get(status.to_string()).is_some();
            let json: Value = serde_json::from_slice(&body).unwrap_or_default();
            let enveloped = status < 400 || (kind == "application/json" && json["success"] == false);
            if !documented || !enveloped || status == 500 {
                problems.insert(format!("{name} {status}"), String::from_utf8_lossy(&body).into_owned());
            }
            // What was made is what later requests speak of; the admin is to live.
            if let (201, Some(id)) = (status, json["data"]["id"].as_str()) {
                fuzzer.ids.push(id.to_owned());
            }
        }
    }
    assert!(problems.is_empty(), "seed {seed}: {problems:#?}");
    // A fuzzer that is only ever refused finds nothing.
    let succeeded: Vec<_> = seen.keys().filter(|(_, status)| *status < 300).map(|(name, _)| name.as_str()).collect();
    for name in ["POST /api/local/users", "POST /api/local/content", "POST /api/local/revenue"] {
        assert!(succeeded.contains(&name), "seed {seed}: {name} never succeeded: {seen:#?}");
    }
    assert_eq!(node.management.get("/readyz", None).await.status, 200);
}
