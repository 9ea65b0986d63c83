//! TLS of a port: a certificate and its key from PEM files, taken anew when the files change.
//!
//! Connections that are open keep the certificate they began with. A pair that cannot be used is logged, and the one before stays.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    #[error("{path} holds no certificate")]
    Empty { path: PathBuf },
    #[error("the certificate in {certificate} and the key in {key} cannot be used")]
    Unusable {
        certificate: PathBuf,
        key: PathBuf,
        #[source]
        source: rustls::Error,
    },
}

/// A certificate, its key, and what was last made of them.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Loaded>,
}

struct Loaded {
    /// The bytes of both files: what tells a change, on every file system and through links.
    files: Vec<u8>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// Where they cannot be used.
    pub fn load(certificate: &Path, key: &Path) -> Result<Tls, TlsError> {
        Ok(Tls {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(loaded(certificate, key)?),
        })
    }

    /// Takes the files anew where they changed. Whether they did.
    ///
    /// # Errors
    /// Where the changed files cannot be used; the pair before stays.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let files = bytes(&self.certificate, &self.key);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).files == files {
            return Ok(false);
        }
        let fresh = loaded(&self.certificate, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current.config))
    }
}

fn bytes(certificate: &Path, key: &Path) -> Vec<u8> {
    // A file that is away for a moment reads as empty; `loaded` then says what is wrong.
    [certificate, key].iter().flat_map(|path| std::fs::read(path).unwrap_or_default()).collect()
}

fn loaded(certificate: &Path, key: &Path) -> Result<Loaded, TlsError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Unreadable { path, source }
    };
    let files = bytes(certificate, key);
    let chain = CertificateDer::pem_file_iter(certificate).map_err(unreadable(certificate))?;
    let chain: Vec<CertificateDer<'static>> = chain.collect::<Result<_, _>>().map_err(unreadable(certificate))?;
    if chain.is_empty() {
        return Err(TlsError::Empty {
            path: certificate.to_owned(),
        });
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|source| TlsError::Unusable {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        })?;
    Ok(Loaded {
        files,
        config: Arc::new(config),
    })
}
