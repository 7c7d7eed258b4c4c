//! HTTPS: a certificate chain and its key, from PEM files that are read once, at the start.

use crate::server::ServeError;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// What makes TLS connections of plain ones: TLS 1.2 and 1.3, HTTP/1.1 inside.
///
/// # Errors
/// Files that cannot be read, hold nothing of the kind, or do not belong together.
pub(crate) fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    let wrong = |path: &Path, why: String| ServeError::Tls { path: path.to_path_buf(), why };
    let read = |e: rustls::pki_types::pem::Error| wrong(chain, e.to_string());
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(chain).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if certificates.is_empty() {
        return Err(wrong(chain, "there is no certificate in it (PEM)".into()));
    }
    let own =
        PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, format!("no private key in PEM: {e}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(chain, e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(certificates, own)
        .map_err(|e| wrong(key, format!("certificate and key cannot be used: {e}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
