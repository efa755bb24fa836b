//! The requests that the API server has carried out, by its own metrics.

use kube::Client;

const WRITES: [&str; 5] = ["APPLY", "PATCH", "PUT", "POST", "DELETE"];

/// How many requests there were of each kind since the API server's start.
pub struct Requests(Vec<Kind>);

struct Kind {
    verb: String,
    resource: String,
    subresource: String,
    count: u64,
}

impl Requests {
    /// As of now.
    pub async fn now(client: &Client) -> Self {
        let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let metrics = client.request_text(request).await.unwrap();
        let lines = metrics.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")?.rsplit_once("} "));
        let kinds = lines.map(|(labels, count)| {
            let label = |name: &str| {
                let value = labels.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
                value.map_or_else(String::new, |(value, _)| value.to_owned())
            };
            // From a million on it is written with an exponent.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let count = count.parse::<f64>().unwrap() as u64;
            // A comma before it: `resource` is the end of `subresource` too.
            Kind { verb: label("verb"), resource: label(",resource"), subresource: label("subresource"), count }
        });
        Self(kinds.collect())
    }

    /// Writes of a resource, or of a part of it.
    pub fn writes_of(&self, resource: &str, subresource: &str) -> u64 {
        self.sum(|kind| is_write(kind) && kind.resource == resource && kind.subresource == subresource)
    }

    /// All writes.
    pub fn writes(&self) -> u64 {
        self.sum(is_write)
    }

    /// Single objects that were read, of one resource.
    pub fn reads_of(&self, resource: &str) -> u64 {
        self.sum(|kind| kind.verb == "GET" && kind.resource == resource)
    }

    /// Single objects that were read.
    pub fn reads(&self) -> u64 {
        self.sum(|kind| kind.verb == "GET" && !kind.resource.is_empty())
    }

    fn sum(&self, of: impl Fn(&Kind) -> bool) -> u64 {
        self.0.iter().filter(|kind| of(kind)).map(|kind| kind.count).sum()
    }
}

fn is_write(kind: &Kind) -> bool {
    WRITES.contains(&&*kind.verb)
}
