//! What a session knows of the lanes that end on it.

use causeway::session::{Direction, Port, RouteEvent, RouteHandle, Session as Carrier, SessionEnd};
use causeway_proto::error::PeerMisbehaved;
use causeway_proto::frame::{CloseLane, Credit, Frame, LaneClass, LaneCloseReason, Open, Ping};
use causeway_proto::id::{Epoch, LaneId, RouteName, StreamName};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::{DEADLINE, Session, authority, connect, dialer, identity, listen};

fn open(lane: LaneId) -> Frame {
    Frame::Open(Open {
        lane,
        route: RouteName::new("orders").unwrap(),
        stream: StreamName::new("ORDERS").unwrap(),
        epoch: Epoch(1),
        class: LaneClass::Live,
    })
}

fn close(lane: LaneId, reason: LaneCloseReason) -> Frame {
    let detail = String::new();
    Frame::CloseLane(CloseLane {
        lane,
        reason,
        detail,
    })
}

async fn say(peer: &Session, frame: Frame) {
    peer.control.send(frame.encode().unwrap()).await.unwrap();
}

/// What the session says next, but for its pings.
async fn hear(peer: &mut Session) -> Frame {
    loop {
        let heard = timeout(DEADLINE, peer.control_rx.recv()).await.unwrap();
        match Frame::decode_message(&heard.unwrap()).unwrap() {
            Frame::Ping(_) => {}
            frame => return frame,
        }
    }
}

async fn event(driver: &mut mpsc::Receiver<RouteEvent>) -> RouteEvent {
    timeout(DEADLINE, driver.recv()).await.unwrap().unwrap()
}

/// Late frames of that lane are no fault, and the session still answers.
async fn assert_over(peer: &mut Session, lane: LaneId) {
    say(peer, Frame::Credit(Credit { lane, limit: 1 })).await;
    say(peer, close(lane, LaneCloseReason::Shutdown)).await;
    say(peer, Frame::Ping(Ping { nonce: 7 })).await;
    assert!(matches!(hear(peer).await, Frame::Pong(pong) if pong.nonce == 7));
}

async fn opened(peer: &mut Session, port: &Port) -> LaneId {
    let lane = port.new_lane();
    port.send(open(lane)).await.unwrap();
    assert_eq!(hear(peer).await, open(lane));
    lane
}

#[tokio::test]
async fn what_comes_on_a_lane_that_is_over_is_ignored_and_on_one_that_never_was_is_a_fault() {
    let pki = authority("acme", &["us", "eu"]);
    let mut us = listen(identity("acme", "us", pki.path()));
    let mut dialer = dialer(identity("acme", "eu", pki.path()), &us);
    let (mut peer, carried) = connect(&mut us, &mut dialer).await;
    let (route, mut driver) = RouteHandle::new(RouteName::new("orders").unwrap(), Direction::Out);
    let session = tokio::spawn(async move {
        let routes = [route];
        let session = Carrier::new(carried, &routes);
        session.run(&Notify::new(), |_| {}).await.1
    });
    let RouteEvent::Up(port) = event(&mut driver).await else {
        panic!("a session begins with its port");
    };

    let refused = opened(&mut peer, &port).await;
    say(&peer, close(refused, LaneCloseReason::RouteUnknown)).await;
    assert_over(&mut peer, refused).await;
    let heard = event(&mut driver).await;
    assert!(matches!(heard, RouteEvent::Frame(Frame::CloseLane(_))));
    assert!(driver.try_recv().is_err(), "the lane is forgotten");

    let ended = opened(&mut peer, &port).await;
    let rewind = close(ended, LaneCloseReason::Rewind);
    port.send(rewind.clone()).await.unwrap();
    assert_eq!(hear(&mut peer).await, rewind);
    assert_over(&mut peer, ended).await;
    assert!(driver.try_recv().is_err(), "the lane is forgotten");

    // No route of that name arrives there: it only leaves.
    let theirs = LaneId(1);
    say(&peer, open(theirs)).await;
    let answer = hear(&mut peer).await;
    assert!(
        matches!(&answer, Frame::CloseLane(it) if it.reason == LaneCloseReason::RouteUnknown),
        "{answer:?}"
    );
    assert_over(&mut peer, theirs).await;

    let never = LaneId(ended.0 + 2);
    say(&peer, close(never, LaneCloseReason::Rewind)).await;
    let end = timeout(DEADLINE, session).await.unwrap().unwrap();
    let SessionEnd::Misbehaved(PeerMisbehaved::LaneUnknown(lane)) = end else {
        panic!("{end}");
    };
    assert_eq!(lane, never);
}
