//! A stream of bytes that knows its offset, with transparent decompression.

use flate2::read::MultiGzDecoder;
use std::io::{self, BufReader, Cursor, Read};

const BUFFER: usize = 256 * 1024;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Outcome of [`Source::fill`].
pub(super) enum Filled {
    /// All bytes were there.
    Whole,
    /// The stream had ended before the first byte.
    Nothing,
    /// The stream ended before all bytes were there.
    Part,
}

pub(super) struct Source {
    reader: BufReader<Box<dyn Read>>,
    offset: u64,
    compression: Option<&'static str>,
}

impl Source {
    /// Looks at the first bytes for a compression and undoes it.
    pub(super) fn new(mut reader: impl Read + 'static) -> io::Result<Self> {
        let mut start = Vec::new();
        (&mut reader).take(4).read_to_end(&mut start)?;
        let compression = match start.as_slice() {
            start if start.starts_with(&GZIP) => Some("gzip"),
            start if start.starts_with(&ZSTD) => Some("zstd"),
            _ => None,
        };
        let whole = Cursor::new(start).chain(reader);
        let content: Box<dyn Read> = match compression {
            Some("gzip") => Box::new(MultiGzDecoder::new(whole)),
            Some(_) => Box::new(Zstd::new(BufReader::new(whole))),
            None => Box::new(whole),
        };
        Ok(Self { reader: BufReader::with_capacity(BUFFER, content), offset: 0, compression })
    }

    pub(super) fn compression(&self) -> Option<&'static str> {
        self.compression
    }

    /// Offset of the next record: the magic number was read before the first one.
    pub(super) fn record_start(&self) -> u64 {
        if self.offset == 4 { 0 } else { self.offset }
    }

    /// Appends `length` bytes to `buffer`. Memory grows with what arrives, not with what a header promises.
    pub(super) fn fill(&mut self, buffer: &mut Vec<u8>, length: usize) -> io::Result<Filled> {
        let before = buffer.len();
        let result = (&mut self.reader).take(length as u64).read_to_end(buffer);
        let got = buffer.len() - before;
        self.offset += got as u64;
        result?;
        Ok(match got {
            got if got == length => Filled::Whole,
            0 => Filled::Nothing,
            _ => Filled::Part,
        })
    }
}

/// Decodes all frames of a zstd stream (RFC 8878 section 3: frames may follow each other).
struct Zstd<R: Read> {
    reader: R,
    decoder: ruzstd::decoding::FrameDecoder,
    started: bool,
}

impl<R: Read> Zstd<R> {
    fn new(reader: R) -> Self {
        Self { reader, decoder: ruzstd::decoding::FrameDecoder::new(), started: false }
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        use ruzstd::decoding::BlockDecodingStrategy::UptoBytes;
        use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
        let broken = |error: FrameDecoderError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        loop {
            if !self.started {
                match self.decoder.reset(&mut self.reader) {
                    Ok(()) => self.started = true,
                    Err(FrameDecoderError::ReadFrameHeaderError(
                        ReadFrameHeaderError::MagicNumberReadError(_),
                    )) => return Ok(0),
                    Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                        length,
                        ..
                    })) => {
                        io::copy(&mut (&mut self.reader).take(u64::from(length)), &mut io::sink())?;
                        continue;
                    }
                    Err(error) => return Err(broken(error)),
                }
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder.decode_blocks(&mut self.reader, UptoBytes(out.len().max(1))).map_err(broken)?;
            }
            let got = self.decoder.read(out)?;
            if got > 0 || out.is_empty() {
                return Ok(got);
            }
            self.started = !self.decoder.is_finished();
        }
    }
}
