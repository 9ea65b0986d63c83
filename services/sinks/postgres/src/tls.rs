//! Encryption of the connection.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::{Config, Tls};

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("`ca` holds no certificate in PEM")]
    Authority(#[source] Option<rustls_pki_types::pem::Error>),
    #[error("`client_certificate` or `client_key` is not in PEM")]
    Client(#[source] rustls_pki_types::pem::Error),
    #[error("the certificates cannot be used")]
    Unusable(#[source] rustls::Error),
    #[error("`ca` cannot be used")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
}

/// How a connection is encrypted; `None`: in clear.
pub fn client_config(config: &Config) -> Result<Option<ClientConfig>, TlsError> {
    if config.tls == Tls::Disable {
        return Ok(None);
    }
    let provider = Arc::new(ring::default_provider());
    let roots = Arc::new(roots(config)?);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?;
    let builder = match config.tls {
        Tls::VerifyCa => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName::new(roots, &provider)?)),
        Tls::VerifyFull | Tls::Disable => builder.with_root_certificates(roots),
    };
    let Some((certificate, key)) = &config.client else {
        return Ok(Some(builder.with_no_client_auth()));
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).map_err(TlsError::Client)?;
    let made = builder.with_client_auth_cert(chain.map_err(TlsError::Client)?, key);
    made.map(Some).map_err(TlsError::Unusable)
}

fn roots(config: &Config) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(authority) = &config.ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        let certificate = certificate.map_err(|error| TlsError::Authority(Some(error)))?;
        roots.add(certificate).map_err(TlsError::Unusable)?;
    }
    if roots.is_empty() { Err(TlsError::Authority(None)) } else { Ok(roots) }
}

/// Accepts a certificate of the authority whatever host it names.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl AnyName {
    fn new(roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Result<AnyName, TlsError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
        verifier.map(AnyName).map_err(TlsError::Verifier)
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(certificate, others, name, ocsp, now) {
            // The chain is checked before the name.
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
