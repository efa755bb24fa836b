//! The certificate of an extra host: brought by its Secret, and replaced without a restart.

use fateh_tests::eventually;

use crate::{
    backbone::{answers, apply, apply_text, host, kubectl, run, wait_ready},
    platform::pods,
};

const HOST: &str = "certified.example.com";
const NAMESPACE: &str = "fateh-node-certified";

/// Puts a new certificate of this subject into the Secret.
async fn certify(subject: &str) {
    let work = std::env::temp_dir().join(format!("fateh-tls-{}", std::process::id()));
    std::fs::create_dir_all(&work).unwrap();
    let file = |name: &str| work.join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (file("tls.key"), file("tls.crt"));
    let (subject, names) = (format!("/CN={subject}"), format!("subjectAltName=DNS:{HOST}"));
    let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"];
    let request =
        [&request[..], &["-subj", &subject, "-addext", &names, "-keyout", &key, "-out", &certificate]].concat();
    run("openssl", &request).await.unwrap();
    let (certificate, key) = (format!("--cert={certificate}"), format!("--key={key}"));
    let make = ["create", "secret", "tls", "learn-tls", "-n", NAMESPACE, &certificate, &key, "--dry-run=client"];
    apply_text(&kubectl(&[&make[..], &["-o", "json"]].concat()).await).await;
    std::fs::remove_dir_all(work).unwrap();
}

/// Waits until the ingress controller serves a certificate of this subject at the extra host.
async fn serves(subject: &str) {
    let ask = format!(
        "openssl s_client -connect 127.0.0.1:8443 -servername {HOST} </dev/null 2>/dev/null | openssl x509 -noout -subject"
    );
    eventually(&format!("the certificate of {subject}"), 30, async || match run("bash", &["-c", &ask]).await {
        Ok(served) if served.contains(subject) => Ok(()),
        other => Err(other),
    })
    .await;
}

#[tokio::test]
async fn a_new_certificate_of_an_extra_host_is_served_without_a_restart() {
    apply("certified", "").await;
    wait_ready("certified").await;
    certify("the first").await;
    apply("certified", &format!("  routing: {{extraHosts: [{HOST}], tlsSecretName: learn-tls}}\n")).await;
    wait_ready("certified").await;
    serves("the first").await;
    let before = pods("certified").await;
    certify("the second").await;
    serves("the second").await;
    assert_eq!(pods("certified").await, before, "no pod was replaced or restarted");
    answers(&host("certified")).await;
    kubectl(&["delete", "localnode", "certified", "--timeout=60s"]).await;
}
