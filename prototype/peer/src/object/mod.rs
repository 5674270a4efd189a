//! An object: bytes that arrive whole, once and in order, whatever happens to the paths on the way. Sans-IO, and with no
//! engine in it.
//!
//! QUIC streams are reliable, but slow or broken where a path dies: noq sends what was in flight again after some three
//! probe timeouts, quiche after a migration never. So the object is cut into chunks, each on a stream of its own, and
//! the receiving application tells in datagrams what it has. When a path is lost, the sender resets the streams and
//! sends what the receiver lacks on new ones, over the path that lives. Whatever arrives twice is dropped.
//!
//! ```text
//! asker    -- Ask ------------> the other end                 again until answered
//! sender   -- chunk, chunk ---> receiver                      one stream each: header, then content
//! sender   <----------- Having - receiver                     every 32 KiB or 10 ms; again every 100 ms
//! (a path is lost: streams reset)
//! sender   -- Sending(round) -> receiver                      "what do you have?"; meanwhile the newest bytes again,
//! sender   <---- Having(round) - receiver                     which surely did not arrive; then every hole
//! sender   -- Sending(end) ---> receiver                      length and SHA-256
//! sender   <-- Having(matches) - receiver
//! sender   -- Sending(heard) -> receiver                      so that the asker may hang up
//! ```
//!
//! A `Having` also holds what the receiver measured: only there is it known when bytes arrived, so the sender reports the
//! receiver's figures rather than its own, which would tell how fast the engine takes bytes.
//!
//! A datagram states where its sender stands and never what changed, so that one that is lost, late or doubled does no
//! harm. A chunk on a stream of its own waits only for its own packets; the chunks behind a lost packet are not held up.
//!
//! Left out: several objects at once, objects from files, resuming with an end that was started anew (it is sent again
//! from the beginning).

mod arrivals;
mod content;
mod ranges;
mod receiver;
mod sender;
mod sha256;
mod spec;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use receiver::Receiver;
pub(crate) use sender::Sender;
pub use spec::{BulkDirection, BulkFigures, BulkSpec};
pub(crate) use wire::{Ask, CHUNK, Message};

use crate::engine::Stream;
use thiserror::Error;

/// The sender never has more than this between the first byte that is missing and the last that it sent...
const SENDER_SPAN: u64 = 4 * 1024 * 1024;
/// ... and the receiver keeps no more than this; what is beyond is an error of the other end.
const RECEIVER_SPAN: u64 = 2 * SENDER_SPAN;
/// Chunks are this long where the window allows, ...
const CHUNK_BYTES: u64 = 64 * 1024;
/// ... and not much shorter than this unless the object ends.
const SMALL_CHUNK: u64 = 8 * 1024;

/// Where chunks leave: streams in one direction, as an engine has them.
pub(crate) trait Streams {
    /// None when there is none for now.
    fn open(&mut self) -> Option<Stream>;
    /// How many bytes were taken.
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> usize;
    fn finish(&mut self, stream: Stream);
    fn reset(&mut self, stream: Stream);
}

/// The other end broke the protocol; the connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Violation {
    #[error("content beyond the end of the object")]
    BeyondEnd,
    #[error("content too far ahead of what is missing")]
    TooFarAhead,
    #[error("content in too many pieces")]
    TooManyPieces,
    #[error("the object's end moved, or lies before content that arrived")]
    EndMoved,
    #[error("an acknowledgment of what was not sent")]
    NotSent,
    #[error("an answer to what was not asked")]
    NotAsked,
}

/// Whatever another end may say, to a receiver and to a sender: nothing panics, and what is kept stays bounded.
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub(crate) fn fuzz<'input>(inputs: impl Iterator<Item = &'input [u8]>) {
    #[expect(clippy::disallowed_methods, reason = "an epoch; nothing depends on which")]
    let now = std::time::Instant::now();
    let (mut sender, mut receiver) = (Sender::new(0, 1, None), Receiver::new(0, None, now));
    let mut sink = Sink(0);
    for input in inputs {
        sender.fill(now, &mut sink, 20_000);
        match Message::from_bytes(input) {
            Some(Message::Having(having)) => _ = sender.on_having(now, &having),
            Some(Message::Sending(sending)) => _ = receiver.on_sending(now, &sending),
            Some(Message::Ask(_)) => {}
            None => {
                let (stream, bytes) =
                    input.split_first().map_or((0, input), |(stream, rest)| (*stream, rest));
                let stream = Stream(stream.into());
                if receiver.on_chunk(now, stream, bytes).is_err() {
                    receiver = Receiver::new(0, None, now);
                }
            }
        }
        let (_, _) = (sender.poll_message(now), receiver.poll_message(now));
        assert!(receiver.kept() as u64 <= RECEIVER_SPAN);
    }
}

#[cfg(any(test, fuzzing, feature = "fuzzing"))]
struct Sink(u64);

#[cfg(any(test, fuzzing, feature = "fuzzing"))]
impl Streams for Sink {
    fn open(&mut self) -> Option<Stream> {
        self.0 += 1;
        Some(Stream(self.0))
    }

    fn write(&mut self, _stream: Stream, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn finish(&mut self, _stream: Stream) {}

    fn reset(&mut self, _stream: Stream) {}
}
