//! A peer that says what no peer of ours says: refused by name, counted, and nobody else pays for it.
//!
//! The hostile one has the fleet's own certificate of region eu, so that nothing but its bytes gives it away.
//! It takes the place of the honest eu sidecar for a moment each time; that one comes back by itself, and
//! what was published meanwhile arrives once and in order.

#![cfg(feature = "servers")]

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use causeway::certs::generate;
use causeway::link::{DialError, Dialer, Identity, PathHints, Session, TlsFiles};
use causeway_proto::codec::{BatchHead, Codec};
use causeway_proto::frame::{
    CloseLane, Frame, Hello, LaneClass, LaneCloseReason, Open, Ping, Pong,
};
use causeway_proto::id::{
    BatchSeq, Epoch, FleetName, LaneId, RegionId, RouteName, SourceSeq, StreamName,
};
use causeway_proto::version::ProtoVersion;
use causeway_tests::regions::{BACK, DEADLINE, Setup, TwoRegions};
use tokio::time::{Instant, timeout};

fn region(name: &str) -> Result<RegionId> {
    Ok(RegionId::new(name)?)
}

fn dialer(regions: &TwoRegions, pki: &std::path::Path, own: &str) -> Result<Dialer> {
    let files = TlsFiles {
        cert: pki.join(format!("{own}.pem")),
        key: pki.join(format!("{own}.key")),
        ca: pki.join("ca.pem"),
    };
    let identity = Identity::load(&FleetName::new("test")?, &region(own)?, &files)?;
    let address = regions.listen().to_string();
    Ok(Dialer::new(
        identity,
        region("us")?,
        address,
        PathHints::default(),
    ))
}

fn hello(version: u16) -> Result<Hello> {
    Ok(Hello {
        version_min: version,
        version_max: version,
        fleet: FleetName::new("test")?,
        region: region("eu")?,
        incarnation: 666,
        residency_digest: 0,
    })
}

async fn say(session: &Session, frame: Frame) -> Result<()> {
    Ok(session.control.send(frame.encode()?).await?)
}

/// What a hostile peer does after it was let in.
#[derive(Debug, Clone, Copy)]
enum Attack {
    UnknownVersion,
    WrongRegion,
    OversizedFrame,
    RandomFrame,
    RandomBatch,
    BadChecksum,
}

impl Attack {
    /// The name under which /status counts it.
    fn counted_as(self) -> &'static str {
        match self {
            Self::UnknownVersion => "version_unsupported",
            Self::WrongRegion => "wrong_region",
            Self::OversizedFrame => "frame_too_long",
            Self::RandomFrame => "frame_malformed",
            Self::RandomBatch => "batch_malformed",
            Self::BadChecksum => "lanes_refused", // costs the lane alone
        }
    }

    async fn run(self, session: &mut Session) -> Result<()> {
        let newest = ProtoVersion::NEWEST.number();
        match self {
            Self::UnknownVersion => return say(session, Frame::Hello(hello(newest + 7)?)).await,
            Self::WrongRegion => {
                let region = region("mars")?;
                let hello = Hello {
                    region,
                    ..hello(newest)?
                };
                return say(session, Frame::Hello(hello)).await;
            }
            _ => say(session, Frame::Hello(hello(newest)?)).await?,
        }
        match self {
            Self::OversizedFrame => {
                let head = [&[1][..], &u32::MAX.to_be_bytes()].concat();
                session.control.send(head.into()).await?;
            }
            Self::RandomFrame => {
                let noise = [&[0xfe][..], &4u32.to_be_bytes(), b"noise"].concat();
                session.control.send(noise.into()).await?;
            }
            Self::RandomBatch => send_stream(session, b"this is no batch").await?,
            _ => bad_checksum(session).await?,
        }
        Ok(())
    }
}

async fn send_stream(session: &Session, bytes: &[u8]) -> Result<()> {
    let mut stream = session.connection().open_uni().await?;
    stream.write_all(bytes).await?;
    stream.finish()?;
    Ok(())
}

/// A batch that says of its one record what is not so.
async fn bad_checksum(session: &mut Session) -> Result<()> {
    let lane = LaneId(2);
    let open = Open {
        lane,
        route: RouteName::new("back")?,
        stream: StreamName::new("BACK")?,
        epoch: Epoch(1),
        class: LaneClass::Live,
    };
    say(session, Frame::Open(open)).await?;
    loop {
        let message = session
            .control_rx
            .recv()
            .await
            .context("refused too early")?;
        if matches!(Frame::decode_message(&message)?, Frame::Resume(_)) {
            break;
        }
    }
    let body = b"\x02\x01\x17\x97\x9c\xfe\x36\x3c\xd6\x87\x06\x00\x02back.1{}";
    let len = u32::try_from(body.len())?;
    let head = BatchHead {
        lane,
        seq: BatchSeq(0),
        follows: SourceSeq(0),
        through: SourceSeq(1),
        record_count: 1,
        epoch: Epoch(1),
        codec: Codec::Raw,
        context: 0,
        context_position: 0,
        plain_len: len,
        packed_len: 0,
        body_len: len,
        crc: 0xdead_beef,
    };
    send_stream(session, &[&head.encode()?[..], body].concat()).await
}

/// How often us has counted refusals of a name.
async fn counted(regions: &TwoRegions, name: &str) -> Result<u64> {
    let status = regions.status("us").await?;
    if name == "lanes_refused" {
        let routes = status["routes"].as_array().context("routes are a list")?;
        return Ok(routes.iter().filter_map(|route| route[name].as_u64()).sum());
    }
    Ok(status["refused"][name].as_u64().unwrap_or(0))
}

/// Attacks until us has counted it: the honest sidecar, which dials again, may cut a try short.
async fn attack(regions: &TwoRegions, attack: Attack) -> Result<()> {
    let name = attack.counted_as();
    let before = counted(regions, name).await?;
    let mut dialer = dialer(regions, &regions.pki(), "eu")?;
    let deadline = Instant::now() + DEADLINE;
    while counted(regions, name).await? == before {
        if Instant::now() > deadline {
            bail!("{attack:?} is not counted as {name}\n{}", regions.logs());
        }
        let Ok(mut session) = dialer.dial().await else {
            continue;
        };
        let _ = timeout(Duration::from_secs(5), attack.run(&mut session)).await;
        // Until us has ended it, or for a moment, where it need not.
        let _ = timeout(Duration::from_secs(1), session.connection().closed()).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_hostile_peer_is_refused_by_name_and_the_honest_one_goes_on() -> Result<()> {
    let mut regions = TwoRegions::start(Setup {
        route: BACK.into(),
        ..Setup::default()
    })
    .await?;
    regions.publish(100).await?;
    regions.verify().await?;
    for step in [
        Attack::UnknownVersion,
        Attack::WrongRegion,
        Attack::OversizedFrame,
        Attack::RandomFrame,
        Attack::RandomBatch,
        Attack::BadChecksum,
    ] {
        let meanwhile = regions.publish_in_background(200).await?;
        attack(&regions, step).await?;
        meanwhile.await??;
        regions.verify().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_stranger_does_not_disturb_the_honest_link() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    regions.publish(100).await?;
    regions.verify().await?;
    let links = |status: &serde_json::Value| status["links"][0]["reconnects"].as_u64();
    let before = links(&regions.status("us").await?);

    // The same names under another certificate authority.
    let strangers = tempfile::tempdir()?;
    let fleet = FleetName::new("test")?;
    generate(&fleet, &[region("us")?, region("eu")?], strangers.path())?;
    let mut stranger = dialer(&regions, strangers.path(), "eu")?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        match stranger.dial().await {
            Ok(_) => bail!("a stranger was let in"),
            // On a busy machine the answer can take longer than one attempt waits.
            Err(DialError::Timeout(_)) => ensure!(Instant::now() < deadline, "us does not answer"),
            Err(_) => break,
        }
    }

    regions.publish(100).await?;
    regions.verify().await?;
    let after = regions.status("us").await?;
    let reasons = after["refused"].as_object();
    ensure!(
        reasons.is_some_and(|names| !names.is_empty()),
        "not counted: {after}"
    );
    ensure!(
        links(&after) == before,
        "the honest link was made anew: {after}"
    );
    Ok(())
}

/// A peer whose fleet file has none of us's routes. How often us has asked for one by its second `Ping` behind the first time,
/// which is five seconds at least.
async fn know_no_route(dialer: &mut Dialer) -> Result<u32> {
    let mut session = loop {
        match dialer.dial().await {
            Ok(session) => break session,
            // On a busy machine the answer can take longer than one attempt waits.
            Err(DialError::Timeout(_)) => {}
            Err(why) => return Err(why.into()),
        }
    };
    let own = hello(ProtoVersion::NEWEST.number())?;
    say(&session, Frame::Hello(own)).await?;
    let (mut asked, mut pings) = (0, 0);
    while pings < 2 {
        let message = session.control_rx.recv().await;
        match Frame::decode_message(&message.context("us has ended the session")?)? {
            // To go on after the answer is to keep the connection.
            Frame::Hello(_) => say(&session, Frame::Ping(Ping { nonce: 1 })).await?,
            Frame::Ping(Ping { nonce }) => {
                say(&session, Frame::Pong(Pong { nonce })).await?;
                pings += u32::from(asked > 0);
            }
            Frame::Open(Open { lane, .. }) => {
                asked += 1;
                let close = CloseLane {
                    lane,
                    reason: LaneCloseReason::RouteUnknown,
                    detail: "not here".into(),
                };
                say(&session, Frame::CloseLane(close)).await?;
            }
            _ => {}
        }
    }
    Ok(asked)
}

#[tokio::test]
async fn a_route_that_the_peer_does_not_know_is_asked_for_once_a_session_and_then_rarely()
-> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    regions.publish(100).await?;
    regions.verify().await?;
    regions.sidecar("eu").kill().await?;
    let mut dialer = dialer(&regions, &regions.pki(), "eu")?;
    for session in 0..2 {
        let asked = timeout(DEADLINE, know_no_route(&mut dialer)).await??;
        ensure!(asked == 1, "asked {asked} times in session {session}");
    }
    Ok(())
}
