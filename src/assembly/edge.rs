//! From settings to the edge: certificate, operators' pages, audit log.

use crate::account::journal::{Journal, Keep};
use crate::config::Config;
use crate::server::admin::{AdminSettings, Place};
use crate::server::tls::{Tls, TlsError, TlsFiles};
use std::sync::Arc;

/// Why the edge cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// One without the other.
    #[error("setting {0}: missing; tls_cert and tls_key go together")]
    HalfTls(&'static str),
    /// Operators' key can be guessed.
    #[error("setting admin_key: allowed is at least {LEAST_ADMIN_KEY} printable characters")]
    ShortAdminKey,
    /// Operators' pages for everybody.
    #[error("setting admin_key: missing, although admin_listen is an address that others can reach")]
    NoAdminKey,
    /// The audit log cannot be written.
    #[error("setting audit_log: {0}")]
    AuditLog(String),
}

/// The certificate, if there is one.
///
/// # Errors
/// When it does not hold.
pub fn tls(config: &Config) -> Result<Option<Arc<Tls>>, EdgeError> {
    match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => Ok(Some(Arc::new(Tls::open(TlsFiles { cert: cert.clone(), key: key.clone() })?))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(EdgeError::HalfTls("tls_key")),
        (None, Some(_)) => Err(EdgeError::HalfTls("tls_cert")),
    }
}

/// Shortest key of operators: shorter ones can be guessed.
const LEAST_ADMIN_KEY: usize = 16;

/// What guards operators' pages.
///
/// # Errors
/// When others could reach or guess what they should not.
pub fn admin(config: &Config) -> Result<AdminSettings, EdgeError> {
    let key = config.admin_key.clone();
    if key.as_ref().is_some_and(|key| key.reveal().len() < LEAST_ADMIN_KEY) {
        return Err(EdgeError::ShortAdminKey);
    }
    let place = match config.admin_listen {
        Some(address) if !address.ip().is_loopback() && key.is_none() => return Err(EdgeError::NoAdminKey),
        Some(_) => Place::Own,
        None if config.public_stats => Place::Public,
        // Behind a proxy a loopback address is a public one.
        None if config.listen.ip().is_loopback() && config.trusted_proxies.is_none() => Place::Public,
        None => Place::Refused,
    };
    Ok(AdminSettings { place, key })
}

/// The audit log, if there is one; it is open from now on.
///
/// # Errors
/// When it cannot be written.
pub fn journal(config: &Config) -> Result<Option<Journal>, EdgeError> {
    let Some(path) = &config.audit_log else { return Ok(None) };
    let keep = Keep { bytes: config.audit_log_bytes, files: config.audit_log_files };
    let journal = Journal::open(path.clone(), keep);
    journal.map(Some).map_err(|error| EdgeError::AuditLog(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(flags: &[&str]) -> Config {
        let args = clap::Command::new("tickfan").no_binary_name(true).args(crate::config::args());
        Config::load(&args.try_get_matches_from(flags).unwrap(), [("", "")]).unwrap()
    }

    #[test]
    fn operators_pages_are_where_others_cannot_see_them() {
        let place = |flags: &[&str]| admin(&with(flags)).map(|admin| admin.place).map_err(|error| error.to_string());
        assert_eq!(place(&[]), Ok(Place::Public));
        assert_eq!(place(&["--listen=[::1]:0"]), Ok(Place::Public));
        assert_eq!(place(&["--listen=0.0.0.0:0"]), Ok(Place::Refused));
        assert_eq!(place(&["--trusted-proxies=127.0.0.1"]), Ok(Place::Refused), "others come through the proxy");
        assert_eq!(place(&["--listen=0.0.0.0:0", "--public-stats"]), Ok(Place::Public));
        assert_eq!(place(&["--listen=0.0.0.0:0", "--admin-listen=127.0.0.1:0"]), Ok(Place::Own));
        let open = ["--admin-listen=0.0.0.0:0", "--admin-key=0123456789abcdef"];
        assert_eq!(place(&open), Ok(Place::Own));
        assert!(place(&open[..1]).unwrap_err().contains("setting admin_key: missing"));
        assert!(place(&["--admin-key=0123456789abcde"]).unwrap_err().contains("at least 16"));
    }

    #[test]
    fn half_a_pair_and_a_log_that_cannot_be_written_are_named() {
        assert!(tls(&with(&[])).unwrap().is_none());
        let told = |flags: &[&str]| tls(&with(flags)).unwrap_err().to_string();
        assert!(told(&["--tls-cert=x"]).contains("setting tls_key: missing"));
        assert!(told(&["--tls-key=x"]).contains("setting tls_cert: missing"));
        assert!(told(&["--tls-key=x", "--tls-cert=/no/such"]).contains("setting tls_cert: /no/such"));
        assert!(journal(&with(&[])).unwrap().is_none());
        let error = journal(&with(&["--audit-log=/no/such/folder/x"])).unwrap_err().to_string();
        assert!(error.contains("setting audit_log: /no/such/folder/x"), "{error}");
    }
}
