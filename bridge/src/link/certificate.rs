//! The region in a certificate: one URI SAN `spiffe://<fleet>/region/<region>`.

use causeway_proto::id::{FleetName, RegionId};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Why a certificate does not speak for the region expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be read.
    #[error("certificate cannot be parsed")]
    Malformed,
    /// It names no region.
    #[error("certificate has no URI SAN spiffe://<fleet>/region/<region>")]
    NoRegion,
    /// It names several.
    #[error("certificate names more than one region")]
    SeveralRegions,
    /// Another fleet.
    #[error("certificate is of fleet {found}, expected {expected}")]
    WrongFleet {
        /// In the certificate.
        found: String,
        /// In our fleet file.
        expected: FleetName,
    },
    /// Another region.
    #[error("certificate is of region {found}, expected {expected}")]
    WrongRegion {
        /// In the certificate.
        found: RegionId,
        /// In our fleet file.
        expected: String,
    },
}

/// Reads the region out of a certificate.
pub fn region_of(cert: &[u8], fleet: &FleetName) -> Result<RegionId, IdentityError> {
    let (_, parsed) = X509Certificate::from_der(cert).map_err(|_| IdentityError::Malformed)?;
    let san = parsed
        .subject_alternative_name()
        .map_err(|_| IdentityError::Malformed)?;
    let mut found = None;
    for name in san.iter().flat_map(|san| &san.value.general_names) {
        let GeneralName::URI(uri) = name else {
            continue;
        };
        let Some(rest) = uri.strip_prefix("spiffe://") else {
            continue;
        };
        let Some((in_fleet, region)) = rest.split_once("/region/") else {
            continue;
        };
        if found.replace((in_fleet, region)).is_some() {
            return Err(IdentityError::SeveralRegions);
        }
    }
    let (in_fleet, region) = found.ok_or(IdentityError::NoRegion)?;
    if in_fleet != fleet.as_str() {
        let (found, expected) = (in_fleet.to_owned(), fleet.clone());
        return Err(IdentityError::WrongFleet { found, expected });
    }
    RegionId::new(region).map_err(|_| IdentityError::NoRegion)
}

/// The second until which a certificate is valid, since the Unix epoch.
pub(super) fn ends_at(cert: &[u8]) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(cert).ok()?;
    Some(parsed.validity().not_after.timestamp())
}
