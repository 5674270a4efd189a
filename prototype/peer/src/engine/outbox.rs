//! Datagrams that wait to be sent. An engine keeps what it cannot send (the congestion window is full, no path works), and
//! would send all of it in one burst when it can again; a call has no use for what was said seconds ago.
//!
//! The engine's own queue gets the oldest of them, as many as it has room for. Engines tell how many bytes they hold, so
//! that it is known what has left.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Older datagrams are not sent: no receiver waits so long for a piece of speech (ITU-T G.114 calls 400 ms one way the
/// limit of what is acceptable), and messages about an object are repeated within this time.
pub(crate) const LIFETIME: Duration = Duration::from_millis(400);

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    /// So many of the first are in the engine's queue as well.
    handed_over: usize,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    bytes: Vec<u8>,
}

/// Datagrams that are too old.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expired {
    pub(super) datagrams: Vec<Vec<u8>>,
    /// So many of the first are in the engine's queue.
    pub(super) handed_over: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, now: Instant, bytes: Vec<u8>) {
        self.waiting.push_back(Waiting { since: now, bytes });
    }

    /// The engine's queue holds so many bytes of datagrams now; those before them were sent.
    pub(super) fn retain_held(&mut self, held: usize) {
        let mut handed_over: usize =
            self.waiting.iter().take(self.handed_over).map(|waiting| waiting.bytes.len()).sum();
        while handed_over > held
            && let Some(sent) = self.waiting.pop_front()
        {
            handed_over -= sent.bytes.len();
            self.handed_over -= 1;
        }
    }

    /// Removes what is too old.
    pub(super) fn expire(&mut self, now: Instant) -> Expired {
        let is_old = |waiting: &Waiting| now.saturating_duration_since(waiting.since) > LIFETIME;
        let mut expired = Expired { datagrams: vec![], handed_over: 0 };
        while let Some(Waiting { bytes, .. }) = self.waiting.pop_front_if(|waiting| is_old(waiting)) {
            expired.datagrams.push(bytes);
        }
        expired.handed_over = expired.datagrams.len().min(self.handed_over);
        self.handed_over -= expired.handed_over;
        expired
    }

    /// The oldest datagram that the engine's queue does not hold.
    pub(super) fn next(&self) -> Option<&[u8]> {
        self.waiting.get(self.handed_over).map(|waiting| waiting.bytes.as_slice())
    }

    /// The engine's queue holds [`next`](Self::next) from now on.
    pub(super) fn hand_over(&mut self) {
        self.handed_over = (self.handed_over + 1).min(self.waiting.len());
    }

    /// The engine does not take [`next`](Self::next): the largest datagram of a path can shrink.
    pub(super) fn discard_next(&mut self) {
        self.waiting.remove(self.handed_over);
    }

    /// The engine's queue holds none any more, and none of them was sent.
    pub(super) fn take_back(&mut self) {
        self.handed_over = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> (Instant, Outbox) {
        #[expect(clippy::disallowed_methods, reason = "an epoch; nothing depends on which")]
        let epoch = Instant::now();
        let mut outbox = Outbox::default();
        for number in 0..5_u8 {
            outbox.push(epoch + Duration::from_millis(100) * number.into(), vec![number; 10]);
        }
        (epoch, outbox)
    }

    #[test]
    fn what_has_left_is_known_by_what_the_engine_holds() {
        let (_, mut outbox) = outbox();
        (0..3).for_each(|_| outbox.hand_over());
        assert_eq!(outbox.next(), Some(&[3; 10][..]));
        outbox.retain_held(30);
        assert_eq!(outbox.waiting.len(), 5);
        outbox.retain_held(10);
        assert_eq!((outbox.waiting.len(), outbox.handed_over), (3, 1), "two were sent");
        assert_eq!(outbox.next(), Some(&[3; 10][..]));
        outbox.retain_held(0);
        assert_eq!((outbox.waiting.len(), outbox.handed_over), (2, 0));
        outbox.take_back();
        assert_eq!(outbox.next(), Some(&[3; 10][..]));
    }

    #[test]
    fn only_what_is_older_than_its_lifetime_expires() {
        let (epoch, mut outbox) = outbox();
        outbox.hand_over();
        assert_eq!(outbox.expire(epoch + LIFETIME), Expired { datagrams: vec![], handed_over: 0 });
        let expired = outbox.expire(epoch + LIFETIME + Duration::from_millis(150));
        assert_eq!(expired, Expired { datagrams: vec![vec![0; 10], vec![1; 10]], handed_over: 1 });
        assert_eq!(outbox.next(), Some(&[2; 10][..]));
    }
}
