//! The paths of a connection: validated in advance, migrated to, given up, and told of.

use super::super::{ClosedBy, EngineEvent, EnginePath, Link, Use};
use super::{
    Live,
    slots::{Place, REMOTE, Slot, State},
};
use quiche::{Error, PathEvent, RecvInfo};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// A path is validated anew if nothing came of it in this time. quiche asks again by itself only when a loss detection
/// timer fires, which it does not while acknowledgements of other packets come in. Then a question that is lost stays
/// lost, and so does an answer: one that does not fit into the congestion window is dropped (soon full on a path that is
/// not validated, where every packet is padded), and one that arrives after more than 128 packets that left later is
/// taken for a duplicate.
const VALIDATE_AGAIN: Duration = Duration::from_millis(500);

impl Live {
    /// A datagram that quiche knows, on whichever path it came.
    pub(super) fn take_in(
        &mut self,
        now: Instant,
        link: Link,
        id: Vec<u8>,
        bytes: &mut [u8],
        is_server: bool,
        out: &mut VecDeque<EngineEvent>,
    ) {
        // Only clients open paths, so a client hears nothing where it opened none.
        let known = self.slots.find(link);
        let Some(place) = known.or_else(|| self.slots.vacancy(link, self.active).filter(|_| is_server))
        else {
            return;
        };
        let before = self.connection.stats().recv;
        let counts = self.counts(place);
        if let Err(error) = self.connection.recv(bytes, RecvInfo { from: REMOTE, to: place.local() }) {
            tracing::debug!(%error, "a packet ended the connection");
        }
        // Only an authentic packet may claim a place, or bring a closed path back.
        let has_path = self.connection.is_path_validated(place.local(), REMOTE).is_ok();
        if self.connection.stats().recv == before || !has_path {
            return;
        }
        let closed =
            self.slots.get(place).is_none_or(|slot| slot.link != link || slot.state == State::Closed);
        let begun = (closed && is_server).then(|| self.slots.begin(place, link, counts));
        self.confirm(place, out);
        if let Some(path) = begun.filter(|_| place == self.active) {
            out.push_back(EngineEvent::RemoteUse { path, usage: Use::Active });
        }
        if let Some(slot) = self.slots.get_mut(place) {
            slot.arrived_at = id;
            // A server asks only where its client still is: nobody may tell it that the client gave the path up.
            slot.validate_again.get_or_insert(now + VALIDATE_AGAIN);
        }
        self.take_datagrams(link, out);
    }

    /// quiche validates a pair of addresses once. When another link has it since, or the same one again, then a packet
    /// that came over it in answer to our challenge says that it works.
    fn confirm(&mut self, place: Place, out: &mut VecDeque<EngineEvent>) {
        let validated = self.connection.is_path_validated(place.local(), REMOTE) == Ok(true);
        if let Some(slot) = self.slots.get_mut(place)
            && validated
            && slot.state == State::Opening
        {
            slot.state = State::Validated;
            out.push_back(EngineEvent::PathValidated { path: slot.path, link: slot.link });
        }
    }

    pub(super) fn tell_paths(&mut self, is_server: bool, out: &mut VecDeque<EngineEvent>) {
        while let Some(event) = self.connection.path_event_next() {
            match event {
                PathEvent::Validated(local, _) => {
                    if let Some(place) = Place::of(local) {
                        self.confirm(place, out);
                    }
                }
                PathEvent::FailedValidation(local, _) | PathEvent::Closed(local, _) => {
                    self.tell_closed(Place::of(local), ClosedBy::Engine, out);
                }
                _ => {}
            }
        }
        self.follow(is_server, out);
        while let Some(id) = self.connection.retired_scid_next() {
            self.on_retired(id.to_vec(), is_server, out);
        }
    }

    /// A server follows its client; a client learns that quiche left a path that failed.
    pub(super) fn follow(&mut self, is_server: bool, out: &mut VecDeque<EngineEvent>) {
        let active = self.connection.path_stats().find(|path| path.active);
        let Some(active) = active.and_then(|path| Place::of(path.local_addr)) else { return };
        let before = std::mem::replace(&mut self.active, active);
        if before == active {
            return;
        }
        for (place, usage) in [(active, Use::Active), (before, Use::Backup)] {
            if let Some(slot) = self.slots.get(place).filter(|_| is_server) {
                out.push_back(EngineEvent::RemoteUse { path: slot.path, usage });
            }
        }
        out.push_back(EngineEvent::Migrated);
    }

    /// The client gave up the path on which it used this ID.
    pub(super) fn on_retired(&mut self, id: Vec<u8>, is_server: bool, out: &mut VecDeque<EngineEvent>) {
        let place = self.slots.iter().find(|(_, slot)| slot.arrived_at == id).map(|(place, _)| place);
        self.retired.insert(id);
        if is_server && place != Some(self.active) {
            self.tell_closed(place, ClosedBy::Remote, out);
        }
    }

    pub(super) fn tell_closed(
        &mut self,
        place: Option<Place>,
        by: ClosedBy,
        out: &mut VecDeque<EngineEvent>,
    ) {
        if let Some(slot) = place.and_then(|place| self.slots.get_mut(place))
            && slot.state != State::Closed
        {
            slot.state = State::Closed;
            out.push_back(EngineEvent::PathClosed { path: slot.path, by });
        }
    }

    pub(super) fn open(&mut self, now: Instant, link: Link) -> Result<EnginePath, Error> {
        let place = self.slots.vacancy(link, self.active).ok_or(Error::OutOfIdentifiers)?;
        let destination = self.connection.probe_path(place.local(), REMOTE)?;
        let counts = self.counts(place);
        let path = self.slots.begin(place, link, counts);
        if let Some(slot) = self.slots.get_mut(place) {
            slot.destination = Some(destination);
            slot.validate_again = Some(now + VALIDATE_AGAIN);
        }
        Ok(path)
    }

    pub(super) fn next_validation(&self) -> Option<Instant> {
        self.slots.iter().filter_map(|(_, slot)| slot.next_validation()).min()
    }

    pub(super) fn validate_again(&mut self, now: Instant, is_server: bool) {
        let due = |slot: &Slot| slot.next_validation().is_some_and(|at| at <= now);
        let places: Vec<Place> =
            self.slots.iter().filter(|(_, slot)| due(slot)).map(|(place, _)| place).collect();
        for place in places {
            // A question where the client no longer is may find no credit there (RFC 9000 section 8.1); quiche 0.30 then
            // sends nothing anywhere until it does.
            if is_server
                && place != self.active
                && let Some(slot) = self.slots.get_mut(place)
            {
                slot.validate_again = None;
                continue;
            }
            if let Err(error) = self.connection.probe_path(place.local(), REMOTE) {
                tracing::debug!(%error, "not validated again");
            }
            if let Some(slot) = self.slots.get_mut(place) {
                slot.validate_again = (!is_server).then_some(now + VALIDATE_AGAIN);
            }
        }
    }

    pub(super) fn migrate(&mut self, path: EnginePath) {
        let Some(place) = self.slots.living(path) else { return };
        match self.connection.migrate(place.local(), REMOTE) {
            Ok(destination) => {
                if let Some(slot) = self.slots.get_mut(place) {
                    slot.destination = Some(destination);
                }
            }
            Err(error) => tracing::warn!(%path, %error, "not migrated"),
        }
    }

    /// The path that quiche sends on cannot be closed: it sends nowhere else. A server forgets it all the same; packets
    /// of a client that holds on to it bring it back.
    pub(super) fn close_path(&mut self, path: EnginePath, is_server: bool) -> bool {
        let Some(place) = self.slots.living(path) else { return true };
        let sending = self.connection.path_stats().find(|path| path.active).map(|path| path.local_addr);
        let is_last = sending == Some(place.local());
        let Some(slot) = self.slots.get_mut(place) else { return true };
        if is_server || !is_last {
            slot.state = State::Closed;
        }
        if is_last {
            return false;
        }
        if let Some(destination) = slot.destination.take().filter(|_| !is_server)
            && let Err(error) = self.connection.retire_dcid(destination)
        {
            tracing::debug!(%path, %error, "its connection ID stays in use");
        }
        true
    }
}
