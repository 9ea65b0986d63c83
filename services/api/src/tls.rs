//! TLS of a port: a certificate and its key from PEM files, reloaded when the files change.
//!
//! Open connections keep the certificate they began with. An unusable pair is logged, and the
//! previous one stays.

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

/// A certificate, its key, and the configuration last made from them.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Loaded>,
}

struct Loaded {
    /// The bytes of both files: they show a change on every file system and through links.
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

    /// Reloads the files if they changed. Returns whether they did.
    ///
    /// # Errors
    /// Where the changed files cannot be used; the previous pair stays.
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
    // A file that is away for a moment reads as empty; `loaded` then reports the error.
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
        return Err(TlsError::Empty { path: certificate.to_owned() });
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{Door, Router, serve};

    /// Writes a fresh certificate for `localhost` and its key; returns the certificate.
    fn renew(folder: &Path) -> CertificateDer<'static> {
        let fresh = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("tls.crt"), fresh.cert.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), fresh.signing_key.serialize_pem()).unwrap();
        fresh.cert.der().clone()
    }

    /// The status line for a client that trusts this certificate alone.
    async fn ask(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await?;
        let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    }

    #[tokio::test]
    async fn a_changed_certificate_is_served_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let first = renew(folder.path());
        let tls = Arc::new(Tls::load(&folder.path().join("tls.crt"), &folder.path().join("tls.key")).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Door {
            connections_max: 8,
            tls: Some(Arc::clone(&tls)),
            ..Door::default()
        };
        tokio::spawn(serve(listener, Router::new(), door));
        assert_eq!(ask(address, &first).await.unwrap(), "HTTP/1.1 404 Not Found");
        assert!(!tls.refresh().unwrap());

        std::fs::write(folder.path().join("tls.crt"), "half a file").unwrap();
        let said = tls.refresh().unwrap_err().to_string();
        assert!(said.contains("tls.crt"), "{said}");
        assert_eq!(ask(address, &first).await.unwrap(), "HTTP/1.1 404 Not Found");

        let second = renew(folder.path());
        assert!(tls.refresh().unwrap());
        assert_eq!(ask(address, &second).await.unwrap(), "HTTP/1.1 404 Not Found");
        assert!(ask(address, &first).await.is_err());
    }
}
