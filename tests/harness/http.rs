//! HTTP by `curl`, the way a user tries the interface.

use std::{path::PathBuf, process::Stdio};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

/// Where requests go, and how the server is recognised.
#[derive(Clone, Debug)]
pub struct Http {
    /// Scheme, host and port.
    pub base: String,
    /// The authority that signed the server's certificate.
    pub ca: Option<PathBuf>,
    /// `host:port:address`, in place of a look-up.
    pub resolve: Option<String>,
    /// Lines that every request bears beside.
    pub headers: Vec<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code; 0 when there was no answer.
    pub status: u16,
    /// Header lines, lower case.
    pub headers: String,
    /// Body, if it was JSON.
    pub json: Value,
    /// Body as it came.
    pub text: String,
}

impl Http {
    /// Requests in clear to this base.
    #[must_use]
    pub const fn at(base: String) -> Self {
        Self { base, ca: None, resolve: None, headers: Vec::new() }
    }

    /// The same, with a header line more.
    #[must_use]
    pub fn with_header(&self, line: &str) -> Self {
        let mut http = self.clone();
        http.headers.push(line.to_owned());
        http
    }

    /// Sends one request; `language` is the value of `Accept-Language`, `body` is sent as JSON.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        language: &str,
        body: Option<&Value>,
    ) -> Answer {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "-D", "/dev/stderr", "-X", method, "-H"])
            .arg(format!("Accept-Language: {language}"));
        if let Some(ca) = &self.ca {
            curl.arg("--cacert").arg(ca);
        }
        if let Some(resolve) = &self.resolve {
            curl.args(["--resolve", resolve]);
        }
        if let Some(token) = token {
            curl.arg("-H").arg(format!("Authorization: Bearer {token}"));
        }
        for line in &self.headers {
            curl.args(["-H", line]);
        }
        if body.is_some() {
            curl.args(["-H", "Content-Type: application/json", "--data-binary", "@-"]);
        }
        curl.arg(format!("{}{path}", self.base)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = curl.spawn().unwrap_or_else(|error| panic!("start curl: {error}"));
        if let Some(mut stdin) = child.stdin.take() {
            let body = body.map(Value::to_string).unwrap_or_default();
            let _ = stdin.write_all(body.as_bytes()).await;
        }
        let output = child.wait_with_output().await.unwrap_or_else(|error| panic!("wait for curl: {error}"));
        let headers = String::from_utf8_lossy(&output.stderr).to_lowercase();
        let status = headers
            .lines()
            .rfind(|line| line.starts_with("http/"))
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        Answer {
            status: status.unwrap_or(0),
            headers,
            json: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
        }
    }

    /// The body of a GET that is no JSON.
    pub async fn text(&self, path: &str, token: Option<&str>) -> String {
        self.send("GET", path, token, "en", None).await.text
    }

    /// A GET in English.
    pub async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.send("GET", path, token, "en", None).await
    }

    /// A POST in English.
    pub async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Answer {
        self.send("POST", path, token, "en", Some(body)).await
    }
}

impl Answer {
    /// The answer's data, if the status is the one expected; panics otherwise.
    #[expect(clippy::must_use_candidate, reason = "called for its check as well")]
    pub fn data(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.json);
        self.json["data"].clone()
    }

    /// The word in `error`, if the status is the one expected; panics otherwise.
    #[must_use]
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.json);
        assert_eq!(self.json["success"], false, "{}", self.json);
        self.json["error"].as_str().unwrap_or_default().to_owned()
    }
}
