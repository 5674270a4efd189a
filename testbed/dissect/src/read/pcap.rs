//! The pcap format (draft-ietf-opsawg-pcap): both byte orders, microseconds and nanoseconds.

use super::{
    LinkType, MAX_FRAME, RecordError, Step,
    source::{Filled, Source},
};

const NS_PER_S: i64 = 1_000_000_000;

pub(super) struct Pcap {
    big_endian: bool,
    ns_per_unit: i64,
    /// None before the file header was read.
    link: Option<LinkType>,
}

impl Pcap {
    /// By the magic number, the first four bytes of the file.
    pub(super) fn new(magic: [u8; 4]) -> Option<Self> {
        let (big_endian, ns_per_unit) = match magic {
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, 1000),
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, 1000),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, 1),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, 1),
            _ => return None,
        };
        Some(Self { big_endian, ns_per_unit, link: None })
    }

    pub(super) fn step(&mut self, source: &mut Source, buffer: &mut Vec<u8>) -> Result<Step, RecordError> {
        let Some(link) = self.link else {
            self.link = Some(self.file_header(source, buffer)?);
            return Ok(Step::Other);
        };
        buffer.clear();
        match source.fill(buffer, 16) {
            Ok(Filled::Whole) => {}
            Ok(Filled::Nothing) => return Ok(Step::End),
            Ok(Filled::Part) => {
                return Err(RecordError::Fatal("the file ends within a record header".into()));
            }
            Err(error) => return Err(RecordError::Fatal(error.to_string())),
        }
        let [seconds, fraction, captured, length] = [0, 4, 8, 12].map(|at| self.number(buffer, at));
        if captured > MAX_FRAME {
            return Err(RecordError::Fatal(format!("a frame of {captured} bytes")));
        }
        buffer.clear();
        match source.fill(buffer, captured as usize) {
            Ok(Filled::Whole) => {}
            Ok(Filled::Nothing | Filled::Part) if captured > 0 => {
                let missing = captured as usize - buffer.len();
                return Err(RecordError::Fatal(format!(
                    "the file ends within a frame: {missing} bytes are missing"
                )));
            }
            Ok(_) => {}
            Err(error) => return Err(RecordError::Fatal(error.to_string())),
        }
        let time_ns = i64::from(seconds) * NS_PER_S + i64::from(fraction) * self.ns_per_unit;
        let length = length.max(captured);
        Ok(Step::Frame { time_ns, link, interface: 0, passage: None, length, data: 0..buffer.len() })
    }

    fn file_header(&self, source: &mut Source, buffer: &mut Vec<u8>) -> Result<LinkType, RecordError> {
        buffer.clear();
        match source.fill(buffer, 20) {
            // The upper bits of the field say whether frames end with a checksum.
            Ok(Filled::Whole) => Ok(LinkType(self.number(buffer, 16) & 0xffff)),
            Ok(_) => Err(RecordError::Fatal("the file ends within its header".into())),
            Err(error) => Err(RecordError::Fatal(error.to_string())),
        }
    }

    fn number(&self, bytes: &[u8], at: usize) -> u32 {
        let Some(bytes) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return 0 };
        if self.big_endian { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) }
    }
}
