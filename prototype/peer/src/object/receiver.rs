//! The end that receives an object: puts the chunks together, drops what comes twice, tells what it has, and checks the
//! whole against the sender's digest. Keeps only what lies behind a gap.

use super::{
    BulkFigures, RECEIVER_SPAN, Violation,
    arrivals::Arrivals,
    ranges::Ranges,
    sha256::Sha256,
    wire::{End, HEADER, Having, Message, Sending, header},
};
use crate::engine::Stream;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// What arrived is told after this many bytes, ...
const TELL_BYTES: u64 = 32 * 1024;
/// ... or this much time, ...
const TELL_INTERVAL: Duration = Duration::from_millis(10);
/// ... and again this often, because the word may be lost.
const REPEAT: Duration = Duration::from_millis(100);
/// What lies behind gaps is kept in no more pieces than this; each chunk under way makes one.
const MOST_PIECES: usize = 4096;

#[derive(Debug)]
pub(crate) struct Receiver {
    object: u32,
    /// None: until the end is called.
    size: Option<u64>,
    /// Of everything before the first gap.
    hash: Sha256,
    hashed: u64,
    arrived: Ranges,
    /// What lies behind a gap, by offset.
    waiting: BTreeMap<u64, Vec<u8>>,
    duplicate: u64,
    streams: BTreeMap<Stream, Incoming>,
    round: u32,
    end: Option<End>,
    verdict: Option<bool>,
    heard: bool,
    stop: bool,
    told_bytes: u64,
    told: Option<Instant>,
    next_word: Option<Instant>,
    arrivals: Arrivals,
    begun: Instant,
    /// Arrival of the newest new byte; the beginning before there is one.
    newest: Instant,
    /// Between new bytes.
    longest_stall: Duration,
}

/// One chunk that is arriving.
#[derive(Debug)]
enum Incoming {
    Header(Vec<u8>),
    /// The offset of its next byte.
    Content(u64),
    /// Of another object.
    Other,
}

impl Receiver {
    pub(crate) fn new(object: u32, size: Option<u64>, now: Instant) -> Self {
        Self {
            object,
            size,
            hash: Sha256::new(),
            hashed: 0,
            arrived: Ranges::default(),
            waiting: BTreeMap::new(),
            duplicate: 0,
            streams: BTreeMap::new(),
            round: 0,
            end: None,
            verdict: None,
            heard: false,
            stop: false,
            told_bytes: 0,
            told: None,
            next_word: Some(now),
            arrivals: Arrivals::default(),
            begun: now,
            newest: now,
            longest_stall: Duration::ZERO,
        }
    }

    /// Distinct bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.arrived.bytes()
    }

    /// Bytes that arrived again so far.
    pub(crate) fn duplicate(&self) -> u64 {
        self.duplicate
    }

    /// Figures up to the newest byte.
    pub(crate) fn figures(&self) -> BulkFigures {
        BulkFigures {
            bytes: self.arrived.bytes(),
            duration: self.newest.saturating_duration_since(self.begun),
            longest_stall: self.longest_stall,
        }
    }

    /// Figures of an object that ends now: where bytes are missing, the stall in which it ends counts as well.
    pub(crate) fn final_figures(&self, now: Instant) -> BulkFigures {
        let figures = self.figures();
        let lasts = now.saturating_duration_since(self.newest);
        match self.verdict {
            Some(_) => figures,
            None => BulkFigures { longest_stall: figures.longest_stall.max(lasts), ..figures },
        }
    }

    /// Bytes in memory.
    #[cfg(any(test, fuzzing, feature = "fuzzing"))]
    pub(super) fn kept(&self) -> usize {
        self.waiting.values().map(Vec::len).sum()
    }

    /// Of everything before the first gap.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.hash.digest()
    }

    /// Whether the whole has the digest that the sender told; none while something is missing.
    pub(crate) fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// The sender heard the verdict.
    pub(crate) fn is_heard(&self) -> bool {
        self.heard
    }

    /// Asks the sender to end the object here.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.stop = true;
        self.tell_at_once(now);
    }

    /// The sender needs to know what arrived.
    pub(crate) fn tell_at_once(&mut self, now: Instant) {
        self.next_word = Some(now);
    }

    /// The streams are gone with their connection.
    pub(crate) fn reconnected(&mut self, now: Instant) {
        self.streams.clear();
        self.tell_at_once(now);
    }

    /// More of a chunk's stream, behind its first byte.
    pub(crate) fn on_chunk(
        &mut self,
        now: Instant,
        stream: Stream,
        mut bytes: &[u8],
    ) -> Result<(), Violation> {
        let incoming = self.streams.entry(stream).or_insert_with(|| Incoming::Header(vec![]));
        if let Incoming::Header(begun) = incoming {
            let (more, rest) = bytes.split_at(bytes.len().min(HEADER - begun.len()));
            begun.extend_from_slice(more);
            bytes = rest;
            if let Ok(whole) = begun.as_slice().try_into() {
                let (object, offset) = header(whole);
                *incoming = if object == self.object { Incoming::Content(offset) } else { Incoming::Other };
            }
        }
        let Incoming::Content(offset) = incoming else { return Ok(()) };
        let start = *offset;
        *offset = start.checked_add(bytes.len() as u64).ok_or(Violation::BeyondEnd)?;
        self.take(now, start, bytes)
    }

    /// No more of it comes.
    pub(crate) fn on_chunk_over(&mut self, stream: Stream) {
        self.streams.remove(&stream);
    }

    fn take(&mut self, now: Instant, start: u64, bytes: &[u8]) -> Result<(), Violation> {
        let end = start + bytes.len() as u64;
        if end > self.end.map(|end| end.bytes).or(self.size).unwrap_or(u64::MAX) {
            return Err(Violation::BeyondEnd);
        }
        if end > self.hashed + RECEIVER_SPAN {
            return Err(Violation::TooFarAhead);
        }
        let new: Vec<_> = self.arrived.gaps(start..end).collect();
        let new_bytes = self.arrived.insert(start..end);
        self.duplicate += bytes.len() as u64 - new_bytes;
        for part in new {
            let place = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX);
            let part_bytes = bytes.get(place(part.start)..place(part.end)).unwrap_or_default();
            self.keep(part.start, part_bytes);
        }
        if self.arrived.count().max(self.waiting.len()) > MOST_PIECES {
            return Err(Violation::TooManyPieces);
        }
        if new_bytes > 0 {
            self.longest_stall = self.longest_stall.max(now.saturating_duration_since(self.newest));
            self.newest = now;
            self.arrivals.note(now);
            self.plan_word(now);
        }
        self.judge(now);
        Ok(())
    }

    fn keep(&mut self, start: u64, bytes: &[u8]) {
        if start > self.hashed {
            let before = self.waiting.range_mut(..start).next_back();
            match before.filter(|(offset, piece)| *offset + piece.len() as u64 == start) {
                Some((_, piece)) => piece.extend_from_slice(bytes),
                None => _ = self.waiting.insert(start, bytes.to_vec()),
            }
            return;
        }
        self.hash.update(bytes);
        self.hashed += bytes.len() as u64;
        // What waits does not overlap: only new parts are kept.
        while let Some(next) = self.waiting.first_entry().filter(|entry| *entry.key() == self.hashed) {
            let bytes = next.remove();
            self.hash.update(&bytes);
            self.hashed += bytes.len() as u64;
        }
    }

    fn plan_word(&mut self, now: Instant) {
        let untold = self.arrived.bytes() - self.told_bytes;
        let at = match self.told {
            Some(told) if untold < TELL_BYTES => told + TELL_INTERVAL,
            _ => now,
        };
        self.next_word = Some(self.next_word.map_or(at, |planned| planned.min(at)));
    }

    fn judge(&mut self, now: Instant) {
        if let Some(end) = self.end.filter(|end| self.verdict.is_none() && self.hashed == end.bytes) {
            self.verdict = Some(self.hash.digest() == end.sha256);
            self.tell_at_once(now);
        }
    }

    /// The sender says where it stands.
    pub(crate) fn on_sending(&mut self, now: Instant, sending: &Sending) -> Result<(), Violation> {
        if sending.round > self.round {
            self.round = sending.round;
            self.tell_at_once(now);
        }
        if let Some(end) = sending.end {
            let moved = self.end.is_some_and(|known| known != end);
            if moved || end.bytes < self.arrived.end() || self.size.is_some_and(|size| end.bytes > size) {
                return Err(Violation::EndMoved);
            }
            self.end = Some(end);
            self.judge(now);
        }
        if self.verdict.is_some() && !sending.heard {
            self.tell_at_once(now);
        }
        self.heard |= self.verdict.is_some() && sending.heard;
        Ok(())
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.next_word, self.arrivals.deadline()].into_iter().flatten().min()
    }

    pub(crate) fn poll_message(&mut self, now: Instant) -> Option<Message> {
        self.next_word.filter(|at| *at <= now)?;
        self.next_word = (!self.heard).then_some(now + REPEAT);
        (self.told, self.told_bytes) = (Some(now), self.arrived.bytes());
        let mut having = Having::new(self.object, self.round, &self.arrived);
        (having.matches, having.stop) = (self.verdict, self.stop);
        having.figures = self.figures();
        Some(Message::Having(having))
    }

    /// When the newest new byte arrived, if that is to be told now.
    pub(crate) fn poll_arrival(&mut self, now: Instant, at_the_end: bool) -> Option<Instant> {
        self.arrivals.poll(now, at_the_end)
    }
}
