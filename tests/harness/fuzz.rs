//! Requests made from a service's own description, good ones and every kind of bad one.

use std::collections::{BTreeMap, HashMap};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::{Client, Method};
use serde_json::{Map, Value, json};

use crate::Http;

/// What a word is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Name of the field, the parameter or the header.
    pub name: &'a str,
    /// Path of the operation, as described.
    pub path: &'a str,
    /// Whether the request is meant to succeed.
    pub honest: bool,
}

/// A text that a field would hold; none where it may be anything, or the identifier of something made before.
pub type Words = fn(&mut StdRng, Asked<'_>) -> Option<String>;

/// A service that is asked by its own description.
pub struct Target<'a> {
    /// Such as `http://127.0.0.1:1`.
    pub base: &'a str,
    /// The first is that of honest requests; none is a request without one.
    pub tokens: Vec<Option<String>>,
    /// What its fields hold.
    pub words: Words,
    /// Parameters of paths that are no identifier, and take a word.
    pub named: &'a [&'a str],
}

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
    words: Words,
    named: Vec<String>,
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

    /// A text that a field of this name would hold.
    fn plausible(&mut self, name: &str) -> Option<String> {
        let asked = Asked { name, path: &self.path, honest: self.honest };
        (self.words)(&mut self.random, asked)
    }

    fn string(&mut self, name: &str) -> String {
        if self.one_in(5) {
            return self.hostile();
        }
        match self.plausible(name).filter(|_| !self.one_in(12)) {
            Some(word) => word,
            None if name.ends_with("Id") || name == "id" || name == "cursor" || self.one_in(12) => self.id(),
            None => ["something", "x", "1"].choose(&mut self.random).copied().unwrap_or_default().to_owned(),
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
        if let Some(parts) = schema["allOf"].as_array() {
            let parts: Vec<_> = parts.iter().map(|part| self.value(name, part, depth + 1)).collect();
            let fields = parts.into_iter().filter_map(|part| part.as_object().cloned()).flatten();
            return Value::Object(fields.collect());
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
            // By language.
            Some("object") if schema["additionalProperties"].is_object() || name == "languages" => {
                let each = schema["additionalProperties"]
                    .as_object()
                    .cloned()
                    .map_or(json!({"type": "object"}), Value::Object);
                let of = if name == "languages" { "text" } else { name };
                json!({self.string("language"): self.value(of, &each, depth + 1)})
            }
            Some("object") => json!({"text": self.string("text"), "id": self.id()}),
            Some("array") => {
                let length = self.random.random_range(0..3);
                (0..length).map(|_| self.value(name, &schema["items"], depth + 1)).collect()
            }
            Some("string") => json!(self.string(name)),
            Some("integer") if self.honest => json!(self.random.random_range(0..10)),
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
    let paths = description["paths"].as_object().unwrap_or_else(|| panic!("no description: {description}"));
    let each = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
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
        let name = parameter["name"].as_str().unwrap_or_default();
        match parameter["in"].as_str() {
            Some("path") => {
                let named = fuzzer.named.iter().any(|known| known == name);
                let id = escaped(&if named { fuzzer.string(name) } else { fuzzer.id() });
                path = path.replace(&format!("{{{name}}}"), if id.is_empty() { "%20" } else { &id });
            }
            Some("query") if fuzzer.random.random_bool(0.4) => {
                query.push(format!("{name}={}", escaped(&fuzzer.string(name))));
            }
            Some("header") if !fuzzer.one_in(6) => headers.push(match name.to_lowercase().as_str() {
                "x-node-id" if !fuzzer.one_in(10) => (name, fuzzer.plausible(name).unwrap_or_default()),
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
    } else if operation.described["requestBody"].is_object() {
        request = request.body(fuzzer.hostile());
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let kind =
        answer.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    Ok((status, kind, answer.bytes().await?.to_vec()))
}

/// Asks every operation so many times. What came of it: how often each operation answered with each status.
///
/// # Panics
/// When an answer is undocumented, a 500, or an error outside the envelope; says the seed to try it again with.
pub async fn fuzz(target: &Target<'_>, fewest: usize, rounds: u32) -> BTreeMap<(String, u16), u32> {
    let seed = crate::seed();
    println!("seed {seed} (FATEH_SEED), {rounds} requests to each operation");
    // A connection whose request was refused before its end is closed, and must not carry the next one.
    let client = Client::builder().no_proxy().pool_max_idle_per_host(0).build();
    let client = client.unwrap_or_else(|error| panic!("make a client: {error}"));
    let description = Http::at(target.base.to_owned()).get("/api/openapi.json", None).await.json;
    let mut fuzzer = Fuzzer {
        random: StdRng::seed_from_u64(seed),
        honest: true,
        path: String::new(),
        ids: Ids::new(),
        schemas: description["components"]["schemas"].clone(),
        words: target.words,
        named: target.named.iter().map(|&name| name.to_owned()).collect(),
    };
    let operations = operations(&description);
    assert!(operations.len() >= fewest, "{}", operations.len());
    let mut seen: BTreeMap<(String, u16), u32> = BTreeMap::new();
    let mut problems: HashMap<String, String> = HashMap::new();
    for _ in 0..rounds {
        for operation in &operations {
            fuzzer.honest = fuzzer.random.random_bool(0.5);
            operation.path.clone_into(&mut fuzzer.path);
            let token = if fuzzer.honest { target.tokens.first() } else { target.tokens.choose(&mut fuzzer.random) };
            let token = token.cloned().flatten();
            let name = format!("{} {}", operation.method, operation.path);
            let sent = send(&mut fuzzer, &client, target.base, operation, token.as_deref()).await;
            let (status, kind, body) = sent.unwrap_or_else(|error| panic!("seed {seed}: {name}: {error:?}"));
            *seen.entry((name.clone(), status)).or_default() += 1;
            let documented = operation.described["responses"].get(status.to_string()).is_some();
            let json: Value = serde_json::from_slice(&body).unwrap_or_default();
            let enveloped = status < 400 || (kind == "application/json" && json["success"] == false);
            if !documented || !enveloped || status == 500 {
                problems.insert(format!("{name} {status}"), String::from_utf8_lossy(&body).into_owned());
            }
            // What was made is what later requests speak of.
            let made = ["id", "slug", "name"].map(|name| json["data"][name].as_str().map(str::to_owned));
            if matches!(status, 201 | 202) {
                fuzzer.ids.extend(made.into_iter().flatten().next());
            }
        }
    }
    assert!(problems.is_empty(), "seed {seed}: {problems:#?}");
    seen
}
