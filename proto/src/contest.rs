//! Which of a link's connections stands, where both ends dial.
//!
//! Either end dials while it has no connection, so two can be made at once. Both ends then have to
//! keep the same one, without asking, and a connection that works must not fall because another
//! was made. The dialler says `Hello` first, and that orders everything:
//!
//! 1. Nothing stands here, and the peer's `Hello` comes: it is answered, which makes its
//!    connection the standing one, and a dial of our own is given up. Only the end whose dials go
//!    first, and whose own `Hello` is under way, lets it wait: the peer will take ours, and only if
//!    ours dies is the waiting one taken.
//! 2. Our own `Hello` is answered: that connection stands.
//! 3. Something stands here, and the peer's `Hello` comes: either it was sent before the peer took
//!    what stands, and its connection is about to close, or the peer has lost what we still believe
//!    in. It is answered, and what stands gives way once the peer goes on there: whoever has another
//!    connection does not.
//!
//! ```text
//!             dialled                  answered
//!  Dialling ----------> Asking(own) ------------> standing, own idle
//!     ^                    |                          |
//!     |                    | lost                     | lost, and no caller is there
//!     +--------------------+--------------------------+
//! ```
//! Waits between attempts are the driver's: here is neither clock nor chance.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

/// A connection, by a number that the driver gives it and never gives again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// What an end may do about its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// It can dial the peer.
    pub dials: bool,
    /// Its dials go first. True of exactly one of the two ends.
    pub goes_first: bool,
}

/// What the driver has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Dial until a connection is made.
    Dial,
    /// Give the dial up.
    StopDialling,
    /// Say `Hello`, on a connection of either side.
    Greet(ConnectionId),
    /// Run the session.
    Start(ConnectionId),
    /// End the session that runs: another connection takes over.
    Stop(ConnectionId),
    /// Close the connection as superseded.
    Refuse(ConnectionId),
}

/// What becomes of our own dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Own {
    Idle,
    Dialling,
    /// We have said `Hello` on it.
    Asking(ConnectionId),
}

/// One end's view of one link. Events come in by `handle_*`; after each, [`Contest::poll_action`] is
/// drained. What is said of a connection that does not matter any more is ignored.
#[derive(Debug, Clone)]
pub struct Contest {
    part: Part,
    own: Own,
    standing: Option<ConnectionId>,
    /// The peer's newest connection beside that one or beside our own: while something stands, it is
    /// answered but not yet seen to be used; while we are asking, it is not answered.
    caller: Option<ConnectionId>,
    actions: VecDeque<Action>,
}

impl Contest {
    /// An end without a connection.
    pub fn new(part: Part) -> Self {
        let mut contest = Self {
            part,
            own: Own::Idle,
            standing: None,
            caller: None,
            actions: VecDeque::new(),
        };
        contest.dial();
        contest
    }

    /// What to do next; `None` once nothing is left.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The connection that stands.
    pub fn standing(&self) -> Option<ConnectionId> {
        self.standing
    }

    /// Our dial has made a connection.
    pub fn handle_dialled(&mut self, id: ConnectionId) {
        if self.own == Own::Dialling {
            self.own = Own::Asking(id);
            self.actions.push_back(Action::Greet(id));
        } else {
            self.actions.push_back(Action::Refuse(id)); // it came after it was given up
        }
    }

    /// The peer has answered on the connection that we made.
    pub fn handle_answer(&mut self, id: ConnectionId) {
        if self.own == Own::Asking(id) {
            self.own = Own::Idle;
            if let Some(caller) = self.caller.take() {
                self.actions.push_back(Action::Refuse(caller));
            }
            self.stand(id);
        }
    }

    /// The peer has said `Hello` on a connection that it made.
    pub fn handle_call(&mut self, id: ConnectionId) {
        let asking = matches!(self.own, Own::Asking(_));
        if self.standing.is_none() && !(asking && self.part.goes_first) {
            match self.own {
                Own::Asking(own) => self.actions.push_back(Action::Refuse(own)),
                Own::Dialling => self.actions.push_back(Action::StopDialling),
                Own::Idle => {}
            }
            return self.take(id);
        }
        if let Some(earlier) = self.caller.replace(id) {
            self.actions.push_back(Action::Refuse(earlier));
        }
        if self.standing.is_some() {
            self.actions.push_back(Action::Greet(id));
        }
    }

    /// The peer has gone on, beyond `Hello`, on a connection that it made.
    pub fn handle_use(&mut self, id: ConnectionId) {
        if self.caller == Some(id)
            && let Some(standing) = self.standing
        {
            self.actions.push_back(Action::Stop(standing));
        }
    }

    /// The connection is gone, or its session has ended, whoever ended it.
    pub fn handle_lost(&mut self, id: ConnectionId) {
        if self.caller == Some(id) {
            self.caller = None;
        } else if self.own == Own::Asking(id) {
            match self.caller.take() {
                Some(caller) => self.take(caller),
                None => self.dial(),
            }
        } else if self.standing == Some(id) {
            self.standing = None;
            match self.caller.take() {
                Some(newer) => self.stand(newer),
                None => self.dial(),
            }
        }
    }

    /// Answers a caller, whose connection stands from now on.
    fn take(&mut self, caller: ConnectionId) {
        self.own = Own::Idle;
        self.actions.push_back(Action::Greet(caller));
        self.stand(caller);
    }

    fn stand(&mut self, id: ConnectionId) {
        self.standing = Some(id);
        self.actions.push_back(Action::Start(id));
    }

    fn dial(&mut self) {
        self.own = Own::Idle;
        if self.part.dials {
            self.own = Own::Dialling;
            self.actions.push_back(Action::Dial);
        }
    }
}
