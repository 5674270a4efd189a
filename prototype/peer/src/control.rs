//! What the peers tell each other inside the connection, on a stream of each: who the client is, and the
//! candidates of each, whole each time.

use crate::peer::ProbeWords;
use crate::rendezvous::{DescribedCandidate, Version};
use serde::{Deserialize, Serialize};

/// Longer frames are an error of the other peer.
const MAX_FRAME: usize = 8 * 1024;

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// First of the client: proves that it holds the secret.
    Hello { proof: [u8; 32] },
    /// All candidates of the sender, in the state that `version` numbers; the ICE session that they are of; whether no
    /// more are being gathered (RFC 8838 section 13).
    Candidates { version: Version, session: u32, complete: bool, candidates: Vec<DescribedCandidate> },
    /// What the sender has seen of a probe.
    Probe(ProbeWords),
}

/// The stream's bytes are no frames; the connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAFrame;

impl Frame {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let body = postcard::to_allocvec(self).unwrap_or_default();
        let length = u16::try_from(body.len()).unwrap_or_default();
        [&length.to_be_bytes()[..], &body].concat()
    }
}

/// Cuts the stream into frames.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    /// More bytes of the stream; every frame that they complete.
    pub(crate) fn take_in(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, NotAFrame> {
        self.bytes.extend_from_slice(bytes);
        std::iter::from_fn(|| self.next().transpose()).collect()
    }

    /// The next whole frame.
    fn next(&mut self) -> Result<Option<Frame>, NotAFrame> {
        let Some((length, rest)) = self.bytes.split_first_chunk() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > MAX_FRAME {
            return Err(NotAFrame);
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let frame = postcard::from_bytes(body).map_err(|_| NotAFrame)?;
        self.bytes.drain(..2 + length);
        Ok(Some(frame))
    }
}

/// A stream in two pieces.
#[cfg(any(fuzzing, feature = "fuzzing"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let (mut whole, mut cut) = (Reader::default(), Reader::default());
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let Ok(frames) = whole.take_in(bytes) else { return };
    let again = [first, rest].map(|part| cut.take_in(part)).into_iter().flatten().flatten();
    assert_eq!(again.collect::<Vec<_>>(), frames);
    for frame in frames {
        assert_eq!(Reader::default().take_in(&frame.to_bytes()), Ok(vec![frame]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let hello = Frame::Hello { proof: [3; 32] };
        let version = Version { instance: 1, number: 2 };
        let candidates = Frame::Candidates { version, session: 0, complete: true, candidates: vec![] };
        let bytes = [hello.to_bytes(), candidates.to_bytes()].concat();
        for cut in 0..bytes.len() {
            let (mut reader, mut frames) = (Reader::default(), vec![]);
            for part in [&bytes[..cut], &bytes[cut..]] {
                frames.extend(reader.take_in(part).unwrap());
            }
            assert_eq!(frames, [hello.clone(), candidates.clone()], "cut at {cut}");
        }
    }

    #[test]
    fn an_overlong_frame_is_refused_before_it_is_awaited() {
        let mut reader = Reader::default();
        assert_eq!(reader.take_in(&[0xff, 0xff]), Err(NotAFrame));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut reader = Reader::default();
            let _ = reader.take_in(&bytes);
        }
    }
}
