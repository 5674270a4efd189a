//! The end that sends an object: cuts it into chunks, keeps the engine supplied with little more than its path takes,
//! and sends again what the receiver lacks when a path is lost.

use super::{
    BulkFigures, CHUNK_BYTES, SENDER_SPAN, SMALL_CHUNK, Streams, Violation, content,
    ranges::Ranges,
    sha256::Sha256,
    wire::{End, Having, Message, Sending, chunk_start},
};
use crate::engine::Stream;
use std::{
    ops::Range,
    time::{Duration, Instant},
};

/// The receiver's word lags behind the engine's acknowledgments by what arrives between two words of it.
const SLACK: u64 = 64 * 1024;
/// A question is repeated this often, ...
const REPEAT_QUESTION: Duration = Duration::from_millis(50);
/// ... and the end, which needs more time to be reached.
const REPEAT_END: Duration = Duration::from_millis(100);
/// The receiver is heard and lacks what was sent this long ago: the engine has forgotten it.
const PATIENCE: Duration = Duration::from_secs(2);
const MOST_PATIENCE: Duration = Duration::from_secs(16);

#[derive(Debug)]
pub(crate) struct Sender {
    object: u32,
    seed: u64,
    /// None: until the end is called.
    size: Option<u64>,
    /// Of what was sent so far.
    hash: Sha256,
    /// The engine took everything before this at least once.
    sent: u64,
    end: Option<End>,
    acknowledged: Ranges,
    /// Acknowledged, or under way on a stream.
    covered: Ranges,
    under_way: Vec<Chunk>,
    writing: Option<Writing>,
    resent: u64,
    round: u32,
    sync: Sync,
    /// Why everything that is under way is to be given up.
    broken: Option<String>,
    next_word: Option<Instant>,
    progressed: Option<Instant>,
    patience: Duration,
    verdict: Option<bool>,
    /// The newest of the receiver.
    figures: Option<BulkFigures>,
}

#[derive(Debug)]
struct Chunk {
    stream: Stream,
    range: Range<u64>,
}

/// The chunk that the engine has not taken wholly.
#[derive(Debug)]
struct Writing {
    stream: Stream,
    /// What the engine has not taken of the header...
    header: Vec<u8>,
    /// ... and of the content, ...
    content: Vec<u8>,
    /// ... which is at this place of the object.
    offset: u64,
}

/// Whether it is known what the receiver has.
#[derive(Debug)]
enum Sync {
    /// On this connection, nothing was heard from it yet.
    Unknown,
    /// A path was lost when this much had been sent again already, and the receiver was asked what it has.
    Asked {
        resent: u64,
        why: String,
    },
    Known,
}

/// Content that is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resent {
    /// What was sent before and is, or was already, sent again.
    pub(crate) bytes: u64,
    pub(crate) why: String,
}

impl Sender {
    pub(crate) fn new(object: u32, seed: u64, size: Option<u64>) -> Self {
        let mut sender = Self {
            object,
            seed,
            size,
            hash: Sha256::new(),
            sent: 0,
            end: None,
            acknowledged: Ranges::default(),
            covered: Ranges::default(),
            under_way: vec![],
            writing: None,
            resent: 0,
            round: 0,
            sync: Sync::Unknown,
            broken: None,
            next_word: None,
            progressed: None,
            patience: PATIENCE,
            verdict: None,
            figures: None,
        };
        sender.end_if_complete();
        sender
    }

    /// First transmissions that the engine took.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Sent again so far.
    pub(crate) fn resent(&self) -> u64 {
        self.resent
    }

    /// Figures of the receiver, as far as it has told them.
    pub(crate) fn figures(&self) -> Option<BulkFigures> {
        self.figures
    }

    /// Whether the receiver has everything that was sent before this.
    pub(crate) fn is_acknowledged(&self, until: u64) -> bool {
        self.acknowledged.prefix() >= until
    }

    /// Of what was sent.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        match &self.end {
            Some(end) => end.sha256,
            None => self.hash.digest(),
        }
    }

    /// What the receiver said of the whole.
    pub(crate) fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// Whatever is under way may never arrive.
    pub(crate) fn path_lost(&mut self, why: String) {
        self.broken = Some(why);
    }

    /// The streams are gone with their connection, and perhaps the receiver's memory.
    pub(crate) fn reconnected(&mut self) {
        self.under_way.clear();
        self.writing = None;
        self.acknowledged = Ranges::default();
        self.covered = Ranges::default();
        self.sync = Sync::Unknown;
        self.broken = None;
    }

    /// The object ends with what was sent so far.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.size = Some(self.sent);
        if let Some(writing) = &mut self.writing {
            let new = (writing.offset + writing.content.len() as u64).saturating_sub(self.sent);
            let keep = writing.content.len().saturating_sub(usize::try_from(new).unwrap_or(usize::MAX));
            writing.content.truncate(keep);
        }
        self.under_way.iter_mut().for_each(|chunk| chunk.range.end = chunk.range.end.min(self.sent));
        self.covered = self.acknowledged.clone();
        self.under_way.iter().for_each(|chunk| _ = self.covered.insert(chunk.range.clone()));
        self.end_if_complete();
        self.next_word = Some(now);
    }

    fn end_if_complete(&mut self) {
        if self.end.is_none() && self.size.is_some_and(|size| self.sent >= size) {
            self.end = Some(End { bytes: self.sent, sha256: self.hash.digest() });
        }
    }

    /// Hands the engine as much as the window allows. `congestion_window` is that of the path that carries it.
    pub(crate) fn fill(&mut self, now: Instant, streams: &mut dyn Streams, congestion_window: u64) {
        if let Some(why) = self.broken.take() {
            self.begin_again(now, why, streams);
        }
        // Twice the congestion window: one in flight, one ready behind it. More would only lie in the engine.
        let window = match self.sync {
            Sync::Unknown => return,
            Sync::Asked { .. } => congestion_window,
            Sync::Known => congestion_window.saturating_mul(2).saturating_add(SLACK),
        };
        while self.write(now, streams) {
            let Some(range) = self.next_chunk(window) else { return };
            let Some(stream) = streams.open() else { return };
            self.begin(now, stream, range);
        }
    }

    fn begin_again(&mut self, now: Instant, why: String, streams: &mut dyn Streams) {
        for chunk in self.under_way.drain(..) {
            streams.reset(chunk.stream);
        }
        self.writing = None;
        self.covered = self.acknowledged.clone();
        if !matches!(self.sync, Sync::Unknown) {
            self.round = self.round.wrapping_add(1);
            self.sync = Sync::Asked { resent: self.resent, why };
            self.next_word = Some(now);
        }
    }

    /// False when the engine takes no more for now.
    fn write(&mut self, now: Instant, streams: &mut dyn Streams) -> bool {
        let Some(writing) = &mut self.writing else { return true };
        let taken = streams.write(writing.stream, &writing.header).min(writing.header.len());
        writing.header.drain(..taken);
        if !writing.header.is_empty() {
            return false;
        }
        let taken = streams.write(writing.stream, &writing.content).min(writing.content.len());
        let again =
            usize::try_from(self.sent.saturating_sub(writing.offset)).unwrap_or(usize::MAX).min(taken);
        self.resent += again as u64;
        self.hash.update(writing.content.get(again..taken).unwrap_or_default());
        writing.content.drain(..taken);
        writing.offset += taken as u64;
        self.sent = self.sent.max(writing.offset);
        if !writing.content.is_empty() {
            return false;
        }
        streams.finish(writing.stream);
        self.writing = None;
        if self.end.is_none() {
            self.end_if_complete();
            self.next_word = self.next_word.or(self.end.map(|_| now));
        }
        true
    }

    fn next_chunk(&self, window: u64) -> Option<Range<u64>> {
        let under_way = self.covered.bytes() - self.acknowledged.bytes();
        let room = window.saturating_sub(under_way);
        if room == 0 || room < SMALL_CHUNK && under_way > 0 {
            return None;
        }
        let length = room.min(CHUNK_BYTES);
        let mut holes = self.covered.gaps(0..self.sent);
        if matches!(self.sync, Sync::Asked { .. }) {
            // The newest bytes surely did not arrive; of the older ones it is not known yet.
            if let Some(hole) = holes.next_back() {
                return Some(hole.end.saturating_sub(length).max(hole.start)..hole.end);
            }
        } else if let Some(hole) = holes.next() {
            return Some(hole.start..hole.end.min(hole.start + length));
        }
        let limit = self.size.unwrap_or(u64::MAX).min(self.acknowledged.prefix() + SENDER_SPAN);
        Some(self.sent..limit.min(self.sent + length)).filter(|range| !range.is_empty())
    }

    fn begin(&mut self, now: Instant, stream: Stream, range: Range<u64>) {
        let mut content = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        content::fill(self.seed, range.start, &mut content);
        let header = chunk_start(self.object, range.start);
        self.writing = Some(Writing { stream, header, content, offset: range.start });
        if self.under_way.is_empty() {
            self.progressed = Some(now);
        }
        self.covered.insert(range.clone());
        self.under_way.push(Chunk { stream, range });
    }

    /// The receiver says what it has. What is to be sent again because of a loss is told once that is known.
    pub(crate) fn on_having(&mut self, now: Instant, having: &Having) -> Result<Option<Resent>, Violation> {
        let arrived = having.ranges().ok_or(Violation::NotSent)?;
        if arrived.last().is_some_and(|range| range.end > self.sent) || having.figures.bytes > self.sent {
            return Err(Violation::NotSent);
        }
        if having.round > self.round || having.matches.is_some() && self.end.is_none() {
            return Err(Violation::NotAsked);
        }
        // A receiver that was started anew has forgotten the figures of the one before.
        let known = self.figures.filter(|_| !matches!(self.sync, Sync::Unknown));
        self.figures = known.max(Some(having.figures));
        let before = self.acknowledged.bytes();
        for range in arrived {
            self.covered.insert(range.clone());
            self.acknowledged.insert(range);
        }
        let acknowledged = &self.acknowledged;
        self.under_way.retain(|chunk| !acknowledged.covers(&chunk.range));
        self.watch_progress(now, self.acknowledged.bytes() > before);
        if having.stop && self.end.is_none() {
            self.finish(now);
        }
        if having.matches.is_some() {
            self.verdict = self.verdict.or(having.matches);
            self.next_word = Some(now);
        }
        Ok(self.synchronise(now, having.round))
    }

    fn synchronise(&mut self, now: Instant, round: u32) -> Option<Resent> {
        let (before, why) = match &self.sync {
            Sync::Known => return None,
            Sync::Asked { .. } if round != self.round => return None,
            Sync::Asked { resent, why } => (*resent, why.clone()),
            Sync::Unknown => (self.resent, "a new connection".to_owned()),
        };
        self.sync = Sync::Known;
        self.next_word = self.next_word.or(self.end.map(|_| now));
        let holes: u64 = self.covered.gaps(0..self.sent).map(|hole| hole.end - hole.start).sum();
        let untaken = self.writing.as_ref().map_or(0, |writing| {
            let end = writing.offset + writing.content.len() as u64;
            end.min(self.sent).saturating_sub(writing.offset)
        });
        let bytes = self.resent - before + holes + untaken;
        (bytes > 0).then_some(Resent { bytes, why })
    }

    fn watch_progress(&mut self, now: Instant, progressed: bool) {
        if progressed || self.under_way.is_empty() {
            (self.progressed, self.patience) = (Some(now), PATIENCE);
        } else if self.progressed.is_some_and(|at| now.saturating_duration_since(at) >= self.patience) {
            self.broken = Some(format!("nothing of it arrived for {} s", self.patience.as_secs()));
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
            self.progressed = Some(now);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next_word
    }

    pub(crate) fn poll_message(&mut self, now: Instant) -> Option<Message> {
        self.next_word.filter(|at| *at <= now)?;
        self.next_word = match self.sync {
            Sync::Asked { .. } => Some(now + REPEAT_QUESTION),
            _ if self.end.is_some() && self.verdict.is_none() => Some(now + REPEAT_END),
            _ => None,
        };
        let heard = self.verdict.is_some();
        Some(Message::Sending(Sending { object: self.object, round: self.round, end: self.end, heard }))
    }
}
