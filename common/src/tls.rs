//! TLS: one provider for all of a program.

/// Another part of the program has chosen a provider first.
#[derive(Debug, thiserror::Error)]
#[error("a TLS provider was installed before ours")]
pub struct ProviderInstalled;

/// Makes ring the provider of this program's TLS, before its first client is made.
///
/// # Errors
/// When one was chosen before.
pub fn use_ring() -> Result<(), ProviderInstalled> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| ProviderInstalled)
}
