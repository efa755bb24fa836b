//! ServiceAccounts, as tests sign in as them.

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, Config, api::PostParams, config::AuthInfo};

/// A token of a ServiceAccount, as the kubelet would mount it; for the API server unless for an `audience`.
pub async fn service_account_token(client: &Client, namespace: &str, name: &str, audience: Option<&str>) -> String {
    let spec = TokenRequestSpec {
        audiences: audience.map(str::to_owned).into_iter().collect(),
        expiration_seconds: Some(7200),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let made = accounts.create_token_request(name, &PostParams::default(), &request).await;
    let made = made.unwrap_or_else(|error| panic!("sign in as {name}: {error}"));
    made.status.map_or_else(|| panic!("no token came for {name}"), |status| status.token)
}

/// The way to the API server for who is signed in as a ServiceAccount, and as nobody else.
pub async fn signed_in(admin: &Client, namespace: &str, name: &str) -> Config {
    let token = service_account_token(admin, namespace, name, None).await;
    let mut config = Config::infer().await.unwrap_or_else(|error| panic!("find the API server: {error}"));
    config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    config
}
