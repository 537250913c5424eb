//! Certificates for a first try: a private authority, and a certificate and key for each region.
//!
//! In production SPIRE or cert-manager issues them; what counts is the URI SAN.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use causeway_proto::id::{FleetName, RegionId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file is in the way; nothing was written over.
    #[error("{0} exists; name another directory or remove it")]
    Exists(PathBuf),
    /// The disk.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// The cryptography.
    #[error("make certificates: {0}")]
    Rcgen(#[from] rcgen::Error),
}

/// Days that a region's certificate is valid; the authority's is ten times as long.
const VALID_DAYS: i64 = 365;

/// Writes `ca.pem`, `ca.key`, and `REGION.pem` and `REGION.key` for each region into `out`. An
/// authority that is there already is used again, so that regions can be added; any other file that
/// exists is an error, before anything is written.
pub fn generate(
    fleet: &FleetName,
    regions: &[RegionId],
    out: &Path,
) -> Result<Vec<PathBuf>, CertsError> {
    fs::create_dir_all(out).map_err(|why| CertsError::Io(out.to_owned(), why))?;
    let (ca_cert, ca_key) = (out.join("ca.pem"), out.join("ca.key"));
    let reuse = ca_cert.exists() && ca_key.exists();
    let own = regions.iter().flat_map(|region| {
        [
            out.join(format!("{region}.pem")),
            out.join(format!("{region}.key")),
        ]
    });
    let authority = [ca_cert.clone(), ca_key.clone()];
    let new = own.chain(authority.into_iter().filter(|_| !reuse));
    if let Some(path) = new.into_iter().find(|path| path.exists()) {
        return Err(CertsError::Exists(path));
    }
    let mut written = Vec::new();
    let issuer = if reuse {
        let key = KeyPair::from_pem(&read(&ca_key)?)?;
        Issuer::from_ca_cert_pem(&read(&ca_cert)?, key)?
    } else {
        let key = KeyPair::generate()?;
        let params = authority_params(fleet);
        write(
            &ca_cert,
            &params.self_signed(&key)?.pem(),
            0o644,
            &mut written,
        )?;
        write(&ca_key, &key.serialize_pem(), 0o600, &mut written)?;
        Issuer::new(params, key)
    };
    for region in regions {
        let key = KeyPair::generate()?;
        let cert = region_params(fleet, region)?.signed_by(&key, &issuer)?;
        write(
            &out.join(format!("{region}.pem")),
            &cert.pem(),
            0o644,
            &mut written,
        )?;
        write(
            &out.join(format!("{region}.key")),
            &key.serialize_pem(),
            0o600,
            &mut written,
        )?;
    }
    Ok(written)
}

fn authority_params(fleet: &FleetName) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = name(&format!("Causeway {fleet} authority"));
    valid(&mut params, VALID_DAYS * 10);
    params
}

fn region_params(fleet: &FleetName, region: &RegionId) -> Result<CertificateParams, rcgen::Error> {
    let dns = region.as_str().replace('_', "-").to_lowercase();
    let mut params = CertificateParams::new(vec![format!("{dns}.causeway.internal")])?;
    let uri = format!("spiffe://{fleet}/region/{region}");
    params
        .subject_alt_names
        .push(SanType::URI(uri.as_str().try_into()?));
    params.distinguished_name = name(&format!("Causeway {fleet} {region}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    valid(&mut params, VALID_DAYS);
    Ok(params)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// From yesterday, so that a clock that is a little behind does not refuse it.
fn valid(params: &mut CertificateParams, days: i64) {
    let epoch = date_time_ymd(1970, 1, 1);
    let seconds = crate::clock::now_unix_seconds() as u64;
    let now = epoch + std::time::Duration::from_secs(seconds);
    let day = std::time::Duration::from_secs(86_400);
    params.not_before = now - day;
    params.not_after = now + day * u32::try_from(days).unwrap_or(u32::MAX);
}

fn read(path: &Path) -> Result<String, CertsError> {
    fs::read_to_string(path).map_err(|why| CertsError::Io(path.to_owned(), why))
}

fn write(path: &Path, text: &str, mode: u32, written: &mut Vec<PathBuf>) -> Result<(), CertsError> {
    let error = |why| CertsError::Io(path.to_owned(), why);
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    file.map_err(error)?
        .write_all(text.as_bytes())
        .map_err(error)?;
    written.push(path.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Identity, TlsFiles};

    #[test]
    fn regions_can_be_added_and_nothing_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = FleetName::new("acme").unwrap();
        let region = |name| RegionId::new(name).unwrap();
        generate(&fleet, &[region("us"), region("eu")], dir.path()).unwrap();
        generate(&fleet, &[region("ap")], dir.path()).unwrap();
        let again = generate(&fleet, &[region("us")], dir.path());
        assert!(matches!(again, Err(CertsError::Exists(_))), "{again:?}");
        let files = |name: &str| TlsFiles {
            cert: dir.path().join(format!("{name}.pem")),
            key: dir.path().join(format!("{name}.key")),
            ca: dir.path().join("ca.pem"),
        };
        assert!(Identity::load(&fleet, &region("ap"), &files("ap")).is_ok());
        let wrong = Identity::load(&fleet, &region("eu"), &files("us")).unwrap_err();
        assert!(
            wrong.to_string().contains("certificate is for us"),
            "{wrong}"
        );
    }
}
