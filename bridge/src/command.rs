//! What an operator asks of a running route, on its way from the admin address to the route's driver.

use std::str::FromStr;

use causeway_proto::frame::LaneClass;
use causeway_proto::id::{RegionId, RouteName};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait for a driver. People type them.
pub const QUEUE_LEN: usize = 4;

/// What an operator asks of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteCommand {
    /// Stop reading until `Resume`. Survives a restart.
    Pause,
    /// Go on.
    Resume,
    /// Read from another place, in a new epoch.
    Seek(SeekTo),
    /// Go in this class from the next batch on; none: live while current, bulk while catching up.
    Prioritise(Option<LaneClass>),
}

/// Where to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTo {
    /// The first record still there.
    First,
    /// Behind the last record.
    New,
    /// This sequence.
    Sequence(u64),
    /// The first record stored at this time or later, nanoseconds since the Unix epoch.
    Time(u64),
}

/// Why a text is no place to seek to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no place: wanted first, new, a sequence from 1, or a time such as 2026-03-01T00:00:00Z"
)]
pub struct InvalidSeek(String);

impl FromStr for SeekTo {
    type Err = InvalidSeek;

    fn from_str(text: &str) -> Result<Self, InvalidSeek> {
        let invalid = || InvalidSeek(text.to_owned());
        match text {
            "first" => return Ok(Self::First),
            "new" => return Ok(Self::New),
            _ => {}
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse() {
                Ok(0) | Err(_) => Err(invalid()),
                Ok(sequence) => Ok(Self::Sequence(sequence)),
            };
        }
        let time: Timestamp = text.parse().map_err(|_| invalid())?;
        let nanoseconds = u64::try_from(time.as_nanosecond()).map_err(|_| invalid())?;
        Ok(Self::Time(nanoseconds))
    }
}

/// A command, and where its answer goes: what is true now, or why it was not done.
pub type Asked = (RouteCommand, oneshot::Sender<Result<String, String>>);

/// The way to a driver of a route that leaves here.
#[derive(Debug, Clone)]
pub struct RouteControl {
    /// The route.
    pub route: RouteName,
    /// The target region of the leg.
    pub peer: RegionId,
    commands: mpsc::Sender<Asked>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The driver says no.
    #[error("{0}")]
    Refused(String),
    /// Too many commands wait already.
    #[error("the route is busy with earlier commands")]
    Busy,
    /// The driver has ended.
    #[error("the route has stopped")]
    Stopped,
}

impl RouteControl {
    /// A way, and its other end for the driver.
    pub fn new(route: RouteName, peer: RegionId) -> (Self, mpsc::Receiver<Asked>) {
        let (commands, receiver) = mpsc::channel(QUEUE_LEN);
        (
            Self {
                route,
                peer,
                commands,
            },
            receiver,
        )
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&self, command: RouteCommand) -> Result<String, CommandError> {
        use mpsc::error::TrySendError;
        let (answer, wait) = oneshot::channel();
        match self.commands.try_send((command, answer)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(CommandError::Busy),
            Err(TrySendError::Closed(_)) => return Err(CommandError::Stopped),
        }
        match wait.await {
            Ok(said) => said.map_err(CommandError::Refused),
            Err(_) => Err(CommandError::Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_an_operator_writes_them() {
        assert_eq!("first".parse(), Ok(SeekTo::First));
        assert_eq!("new".parse(), Ok(SeekTo::New));
        assert_eq!("17".parse(), Ok(SeekTo::Sequence(17)));
        assert_eq!(
            "1970-01-01T00:00:01.5Z".parse(),
            Ok(SeekTo::Time(1_500_000_000))
        );
        assert_eq!("1970-01-01T01:00:00+01:00".parse(), Ok(SeekTo::Time(0)));
        for wrong in [
            "",
            "0",
            "-1",
            "yesterday",
            "99999999999999999999",
            "1969-01-01T00:00:00Z",
        ] {
            let error = wrong.parse::<SeekTo>().unwrap_err();
            assert!(error.to_string().contains("a sequence from 1"), "{error}");
        }
    }
}
