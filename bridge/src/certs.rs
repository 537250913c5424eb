//! Certificates for a first try: a private authority, and a certificate and key for each region.
//!
//! In production SPIRE or cert-manager issues them; what counts is the URI SAN.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use causeway_proto::id::{FleetName, RegionId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A certificate without its key, or a key without its certificate; nothing was written.
    #[error("{0} is there and {1} is not: put the other there, or remove the one")]
    Half(PathBuf, PathBuf),
    /// Only the authority that is there can sign what its regions believe.
    #[error("{0} is missing: the authority that the regions trust has to sign what is renewed")]
    NoAuthority(PathBuf),
    /// Its files would be the authority's.
    #[error(
        "a region cannot be called {AUTHORITY} here: ca.pem and ca.key are the authority's; issue its certificate by other means"
    )]
    Reserved,
    /// The disk.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// The cryptography.
    #[error("make certificates: {0}")]
    Rcgen(#[from] rcgen::Error),
}

/// Days that a region's certificate is valid; the authority's is ten times as long.
const VALID_DAYS: i64 = 365;

/// What was done.
#[derive(Debug, Default)]
pub struct Made {
    /// Files that were written.
    pub written: Vec<PathBuf>,
    /// Regions whose certificate and key were there already, and were left as they are.
    pub kept: Vec<RegionId>,
}

/// A certificate and its key.
struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn new(out: &Path, name: &str) -> Self {
        Self {
            cert: out.join(format!("{name}.pem")),
            key: out.join(format!("{name}.key")),
        }
    }

    fn exists(&self) -> Result<bool, CertsError> {
        match (self.cert.exists(), self.key.exists()) {
            (true, true) => Ok(true),
            (false, false) => Ok(false),
            (true, false) => Err(CertsError::Half(self.cert.clone(), self.key.clone())),
            (false, true) => Err(CertsError::Half(self.key.clone(), self.cert.clone())),
        }
    }

    /// Writes both beside their places and then moves them there, the key first: who reads in between finds a pair
    /// that does not match, and reads again later.
    fn write(&self, cert: &str, key: &str, written: &mut Vec<PathBuf>) -> Result<(), CertsError> {
        let beside = |path: &Path| path.with_added_extension("new");
        for (path, text, mode) in [(&self.key, key, 0o600), (&self.cert, cert, 0o644)] {
            write(&beside(path), text, mode)?;
        }
        for path in [&self.key, &self.cert] {
            let moved = fs::rename(beside(path), path);
            moved.map_err(|why| CertsError::Io(path.clone(), why))?;
        }
        written.extend([self.cert.clone(), self.key.clone()]);
        Ok(())
    }
}

/// Writes `ca.pem`, `ca.key`, and `REGION.pem` and `REGION.key` for each region into `out`. What is there already is
/// left as it is, and used: an authority signs the certificates of regions that were added.
pub fn generate(fleet: &FleetName, regions: &[RegionId], out: &Path) -> Result<Made, CertsError> {
    fs::create_dir_all(out).map_err(|why| CertsError::Io(out.to_owned(), why))?;
    let mut made = Made::default();
    let mut missing = Vec::new();
    for region in regions {
        refuse_reserved(region)?;
        if Pair::new(out, region.as_str()).exists()? {
            made.kept.push(region.clone());
        } else {
            missing.push(region);
        }
    }
    let authority = Pair::new(out, AUTHORITY);
    let issuer = if authority.exists()? {
        read_authority(&authority)?
    } else if made.kept.is_empty() {
        let key = KeyPair::generate()?;
        let params = authority_params(fleet);
        let cert = params.self_signed(&key)?;
        authority.write(&cert.pem(), &key.serialize_pem(), &mut made.written)?;
        Issuer::new(params, key)
    } else if missing.is_empty() {
        return Ok(made);
    } else {
        return Err(CertsError::NoAuthority(authority.key));
    };
    for region in missing {
        issue(fleet, region, &issuer, out, &mut made.written)?;
    }
    Ok(made)
}

/// A new certificate and key for a region, in the place of the old.
pub fn renew(fleet: &FleetName, region: &RegionId, out: &Path) -> Result<Made, CertsError> {
    refuse_reserved(region)?;
    let authority = Pair::new(out, AUTHORITY);
    if !authority.exists()? {
        return Err(CertsError::NoAuthority(authority.key));
    }
    let mut made = Made::default();
    let issuer = read_authority(&authority)?;
    issue(fleet, region, &issuer, out, &mut made.written)?;
    Ok(made)
}

/// What the authority's files are called.
const AUTHORITY: &str = "ca";

fn refuse_reserved(region: &RegionId) -> Result<(), CertsError> {
    match region.as_str() {
        AUTHORITY => Err(CertsError::Reserved),
        _ => Ok(()),
    }
}

fn read_authority(authority: &Pair) -> Result<Issuer<'static, KeyPair>, CertsError> {
    let key = KeyPair::from_pem(&read(&authority.key)?)?;
    Ok(Issuer::from_ca_cert_pem(&read(&authority.cert)?, key)?)
}

fn issue(
    fleet: &FleetName,
    region: &RegionId,
    issuer: &Issuer<'_, KeyPair>,
    out: &Path,
    written: &mut Vec<PathBuf>,
) -> Result<(), CertsError> {
    let key = KeyPair::generate()?;
    let cert = region_params(fleet, region)?.signed_by(&key, issuer)?;
    Pair::new(out, region.as_str()).write(&cert.pem(), &key.serialize_pem(), written)
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

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertsError> {
    let error = |why| CertsError::Io(path.to_owned(), why);
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path);
    file.map_err(error)?
        .write_all(text.as_bytes())
        .map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Identity, TlsFiles};

    fn region(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    struct Directory(tempfile::TempDir, FleetName);

    impl Directory {
        fn new() -> Self {
            let fleet = FleetName::new("acme").unwrap();
            Self(tempfile::tempdir().unwrap(), fleet)
        }

        fn generate(&self, names: &[&str]) -> Result<Made, CertsError> {
            let regions: Vec<_> = names.iter().map(|name| region(name)).collect();
            generate(&self.1, &regions, self.0.path())
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.0.path().join(name)).unwrap()
        }

        fn load(&self, of: &str, files: &str) -> Result<Identity, String> {
            let files = TlsFiles {
                cert: self.0.path().join(format!("{files}.pem")),
                key: self.0.path().join(format!("{files}.key")),
                ca: self.0.path().join("ca.pem"),
            };
            Identity::load(&self.1, &region(of), &files).map_err(|why| why.to_string())
        }
    }

    #[test]
    fn regions_can_be_added_and_nothing_is_written_over() {
        let dir = Directory::new();
        assert_eq!(dir.generate(&["us", "eu"]).unwrap().written.len(), 6);
        let before = ["ca.pem", "ca.key", "us.pem", "us.key"].map(|name| dir.text(name));
        let made = dir.generate(&["us", "eu", "ap"]).unwrap();
        assert_eq!(made.kept, ["us", "eu"].map(region));
        assert_eq!(
            made.written,
            ["ap.pem", "ap.key"].map(|name| dir.0.path().join(name))
        );
        let after = ["ca.pem", "ca.key", "us.pem", "us.key"].map(|name| dir.text(name));
        assert!(before == after);
        assert!(dir.load("ap", "ap").is_ok());
        let wrong = dir.load("eu", "us").unwrap_err();
        assert!(wrong.contains("certificate is for us"), "{wrong}");
    }

    #[test]
    fn a_renewed_certificate_is_signed_by_the_same_authority() {
        let dir = Directory::new();
        assert!(matches!(
            renew(&dir.1, &region("us"), dir.0.path()),
            Err(CertsError::NoAuthority(_))
        ));
        dir.generate(&["us"]).unwrap();
        let before = (dir.text("ca.pem"), dir.text("us.pem"), dir.text("us.key"));
        renew(&dir.1, &region("us"), dir.0.path()).unwrap();
        assert_eq!(before.0, dir.text("ca.pem"));
        assert_ne!(
            (before.1, before.2),
            (dir.text("us.pem"), dir.text("us.key"))
        );
        assert!(dir.load("us", "us").is_ok());
    }

    #[test]
    fn a_region_does_not_take_the_authoritys_place() {
        let dir = Directory::new();
        let made = dir.generate(&["us", "ca"]);
        assert!(matches!(made, Err(CertsError::Reserved)), "{made:?}");
        assert_eq!(fs::read_dir(dir.0.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_second_authority_is_made_beside_certificates_of_another() {
        let dir = Directory::new();
        dir.generate(&["us"]).unwrap();
        fs::remove_file(dir.0.path().join("ca.key")).unwrap();
        let half = dir.generate(&["us", "eu"]).unwrap_err().to_string();
        assert!(half.contains("ca.pem is there and"), "{half}");
        fs::remove_file(dir.0.path().join("ca.pem")).unwrap();
        let added = dir.generate(&["us", "eu"]);
        assert!(
            matches!(added, Err(CertsError::NoAuthority(_))),
            "{added:?}"
        );
        assert_eq!(dir.generate(&["us"]).unwrap().kept, [region("us")]);
    }
}
