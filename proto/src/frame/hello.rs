//! `Hello`: the first frame of both sides.

use bytes::{BufMut, BytesMut};

use crate::error::{DecodeError, EncodeError};
use crate::id::{FleetName, NAME_LEN_MAX, RegionId};
use crate::wire::{Reader, write_text};

const MAGIC: &[u8; 4] = b"CWAY";

/// Who a bridge is and what it speaks.
///
/// It is read before a version is agreed, so its layout can never change: a version that has more to
/// say says it in a frame after this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Oldest protocol version it speaks.
    pub version_min: u16,
    /// Newest protocol version it speaks.
    pub version_max: u16,
    /// Its fleet.
    pub fleet: FleetName,
    /// Its region, which must be the one in its certificate.
    pub region: RegionId,
    /// A number that is new with every start of the process, so that a restart is seen as one.
    pub incarnation: u64,
    /// Hash of its residency rules; where the two differ, what both allow may flow.
    pub residency_digest: u64,
}

impl Hello {
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_slice(MAGIC);
        out.put_u16(self.version_min);
        out.put_u16(
            check_versions(self.version_min, self.version_max).map_err(|value| {
                EncodeError::OutOfRange {
                    field: "version_max",
                    value: u64::from(value),
                }
            })?,
        );
        write_text(out, self.fleet.as_str(), NAME_LEN_MAX, "fleet")?;
        write_text(out, self.region.as_str(), NAME_LEN_MAX, "region")?;
        out.put_u64(self.incarnation);
        out.put_u64(self.residency_digest);
        Ok(())
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.take(MAGIC.len(), "magic")? != MAGIC {
            return Err(DecodeError::BadMagic);
        }
        let version_min = reader.u16("version_min")?;
        let version_max =
            check_versions(version_min, reader.u16("version_max")?).map_err(|value| {
                DecodeError::OutOfRange {
                    field: "version_max",
                    value: u64::from(value),
                }
            })?;
        Ok(Self {
            version_min,
            version_max,
            fleet: reader.name(NAME_LEN_MAX, "fleet", FleetName::new)?,
            region: reader.name(NAME_LEN_MAX, "region", RegionId::new)?,
            incarnation: reader.u64("incarnation")?,
            residency_digest: reader.u64("residency_digest")?,
        })
    }
}

fn check_versions(min: u16, max: u16) -> Result<u16, u16> {
    if min <= max { Ok(max) } else { Err(max) }
}
