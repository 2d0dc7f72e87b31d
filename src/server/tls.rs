//! TLS: a certificate and its key, read again when they change.
//!
//! TLS 1.2 and 1.3 with the cipher suites of rustls, all of them AEAD; session tickets whose keys rotate; ALPN only knows
//! `http/1.1`, since a WebSocket is nothing else here.

use super::counters::{EdgeCounters, count};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ProducesTickets;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_rustls::TlsAcceptor;

/// Where a pair lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The certificate, followed by those of its authorities, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Why a pair does not hold. Says which file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate.
    #[error("setting tls_cert: {0}: {1}")]
    Cert(PathBuf, String),
    /// The key.
    #[error("setting tls_key: {0}: {1}")]
    Key(PathBuf, String),
    /// Each for itself is good.
    #[error("settings tls_cert, tls_key: {0}")]
    Pair(#[from] rustls::Error),
}

/// See the module. Control side.
pub struct Tls {
    files: TlsFiles,
    /// What they were before they were read first.
    opened: Stamps,
    tickets: Arc<dyn ProducesTickets>,
    config: ArcSwap<ServerConfig>,
}

/// When the files were changed last, and how long they are.
type Stamps = [Option<(SystemTime, u64)>; 2];

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

impl Tls {
    /// Reads a pair.
    ///
    /// # Errors
    /// When a file cannot be read, or the key is not the certificate's.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let tickets = aws_lc_rs::Ticketer::new()?;
        let opened = stamps(&files);
        let config = ArcSwap::from_pointee(read(&files, &tickets)?);
        Ok(Self { files, opened, tickets, config })
    }

    /// What new connections are accepted with.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Reads the pair again, for new connections. The old one stays in force if the new one does not hold.
    ///
    /// # Errors
    /// As [`Tls::open`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.store(Arc::new(read(&self.files, &self.tickets)?));
        Ok(())
    }

    /// Reads the pair again whenever its files change, or on SIGHUP; until the task is ended.
    pub async fn follow(self: Arc<Self>, counters: Arc<EdgeCounters>) {
        let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
        let mut seen = self.opened;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {
                    let now = stamps(&self.files);
                    if now == seen {
                        continue;
                    }
                    seen = now;
                }
                () = hung_up(&mut hangup) => seen = stamps(&self.files),
            }
            match self.reload() {
                Ok(()) => {
                    count(&counters.tls_reloads);
                    tracing::info!(cert = %self.files.cert.display(), "new certificate in force");
                }
                Err(error) => {
                    count(&counters.tls_reload_failures);
                    tracing::error!(%error, "the certificate is not taken over; the old one stays in force");
                }
            }
        }
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    let stamp = |path: &Path| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.modified().ok()?, data.len()))
    };
    [stamp(&files.cert), stamp(&files.key)]
}

async fn hung_up(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

fn read(files: &TlsFiles, tickets: &Arc<dyn ProducesTickets>) -> Result<ServerConfig, TlsError> {
    let bad_cert = |error: &dyn std::fmt::Display| TlsError::Cert(files.cert.clone(), error.to_string());
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.cert)
        .map_err(|error| bad_cert(&error))?
        .collect::<Result<_, _>>()
        .map_err(|error| bad_cert(&error))?;
    if chain.is_empty() {
        return Err(bad_cert(&"holds no certificate in PEM form"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| TlsError::Key(files.key.clone(), error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.ticketer = Arc::clone(tickets);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(cert: &str, key: &str) -> Result<Tls, TlsError> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
        Tls::open(TlsFiles { cert: folder.join(cert), key: folder.join(key) })
    }

    #[test]
    fn a_pair_must_be_one() {
        assert!(pair("a.crt", "a.key").is_ok());
        for (cert, key, told) in [
            ("a.crt", "b.key", "settings tls_cert, tls_key"),
            ("a.key", "a.key", "setting tls_cert"),
            ("a.crt", "a.crt", "setting tls_key"),
            ("none.crt", "a.key", "setting tls_cert"),
            ("a.crt", "none.key", "setting tls_key"),
        ] {
            let error = pair(cert, key).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
            assert!(!error.contains("PRIVATE"), "{error}");
        }
    }

    #[test]
    fn every_suite_seals_and_authenticates_in_one() {
        for suite in aws_lc_rs::default_provider().cipher_suites {
            let name = format!("{:?}", suite.suite());
            assert!(name.contains("GCM") || name.contains("CHACHA20_POLY1305"), "{name}");
        }
    }
}
