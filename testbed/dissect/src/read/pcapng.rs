//! The pcapng format (draft-ietf-opsawg-pcapng): sections in either byte order, interfaces with their own resolution of
//! time, TLS secrets, comments. Name resolution, statistics and custom blocks are skipped.

use super::{
    LinkType, MAX_FRAME, Passage, RecordError, Step,
    source::{Filled, Source},
};
use std::ops::Range;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
/// Obsolete form of the enhanced packet block.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 0x0a;
const TLS_KEY_LOG: u32 = 0x544c_534b;
const OPTION_COMMENT: u16 = 1;
const OPTION_IF_NAME: u16 = 2;
const OPTION_EPB_FLAGS: u16 = 2;
const OPTION_TSRESOL: u16 = 9;
const OPTION_TSOFFSET: u16 = 14;
/// A block around the longest frame, with room for options.
const MAX_BLOCK: usize = MAX_FRAME as usize + (1 << 20);
/// A section has a handful of interfaces; each costs memory.
const MAX_INTERFACES: usize = 65_536;
/// Longest name of an interface that is kept; Windows has names of about 50 bytes.
const MAX_NAME: usize = 128;

struct Interface {
    link: LinkType,
    snap_length: u32,
    resolution: Resolution,
    offset_ns: i128,
    name: Option<String>,
}

#[derive(Clone, Copy)]
enum Resolution {
    Decimal(u8),
    Binary(u8),
}

impl Resolution {
    fn to_ns(self, units: u64) -> i128 {
        let units = i128::from(units);
        match self {
            Self::Decimal(digits @ 0..=9) => units * 10_i128.pow(9 - u32::from(digits)),
            // From 10 to the power of 38 on, 64 bits of units are less than a nanosecond.
            Self::Decimal(digits) => units / 10_i128.pow((u32::from(digits) - 9).min(37)),
            Self::Binary(bits) => units.saturating_mul(1_000_000_000) >> bits.min(126),
        }
    }
}

pub(super) struct Pcapng {
    big_endian: bool,
    interfaces: Vec<Interface>,
    last_ns: i64,
    comments: u64,
    /// The type of the first block was read to recognise the format.
    at_start: bool,
}

impl Pcapng {
    pub(super) fn new() -> Self {
        Self { big_endian: false, interfaces: Vec::new(), last_ns: 0, comments: 0, at_start: true }
    }

    pub(super) fn comments(&self) -> u64 {
        self.comments
    }

    /// Reads one block. `buffer` holds its body afterwards, without the length at its end.
    pub(super) fn step(&mut self, source: &mut Source, buffer: &mut Vec<u8>) -> Result<Step, RecordError> {
        let Some(kind) = self.block(source, buffer)? else { return Ok(Step::End) };
        match kind {
            SECTION_HEADER => {
                self.interfaces.clear();
                self.count_comments(buffer, 16);
                Ok(Step::Other)
            }
            INTERFACE => self.interface(buffer),
            PACKET | ENHANCED_PACKET => self.packet(buffer, kind),
            SIMPLE_PACKET => self.simple_packet(buffer),
            DECRYPTION_SECRETS => self.secrets(buffer),
            _ => Ok(Step::Other),
        }
    }

    /// Reads a block's body into `buffer` and returns its type; none at the end of the file.
    fn block(&mut self, source: &mut Source, buffer: &mut Vec<u8>) -> Result<Option<u32>, RecordError> {
        let fatal = |why: &str| RecordError::Fatal(why.to_owned());
        let io = |error: std::io::Error| RecordError::Fatal(error.to_string());
        buffer.clear();
        if std::mem::take(&mut self.at_start) {
            buffer.extend(SECTION_HEADER.to_be_bytes());
        }
        let wanted = 8 - buffer.len();
        match source.fill(buffer, wanted).map_err(io)? {
            Filled::Whole => {}
            Filled::Nothing if wanted == 8 => return Ok(None),
            Filled::Nothing | Filled::Part => return Err(fatal("the file ends within a block header")),
        }
        let is_section = buffer[..4] == SECTION_HEADER.to_be_bytes();
        if is_section {
            // The byte order is that of the section; its mark follows the length.
            let Filled::Whole = source.fill(buffer, 4).map_err(io)? else {
                return Err(fatal("the file ends within a section header"));
            };
            self.big_endian = match buffer[8..] {
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                _ => return Err(fatal("a section header without the mark of its byte order")),
            };
        }
        let kind = if is_section { SECTION_HEADER } else { self.u32(buffer, 0) };
        let length = self.u32(buffer, 4);
        let total = length as usize;
        let head = buffer.len();
        if total < head + 4 || !total.is_multiple_of(4) || total > MAX_BLOCK {
            return Err(RecordError::Fatal(format!(
                "a block of type {kind:#x} claims a length of {total} bytes"
            )));
        }
        buffer.drain(..8);
        let Filled::Whole = source.fill(buffer, total - head).map_err(io)? else {
            return Err(RecordError::Fatal(format!("the file ends within a block of type {kind:#x}")));
        };
        let end = buffer.len() - 4;
        if self.u32(buffer, end) != length {
            return Err(RecordError::Fatal(format!("the two lengths of a block of type {kind:#x} differ")));
        }
        buffer.truncate(end);
        Ok(Some(kind))
    }

    fn interface(&mut self, body: &[u8]) -> Result<Step, RecordError> {
        if body.len() < 8 {
            return Err(RecordError::Fatal("an interface description that is too short".into()));
        }
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(RecordError::Fatal(format!("more than {MAX_INTERFACES} interfaces in one section")));
        }
        let mut interface = Interface {
            link: LinkType(u32::from(self.u16(body, 0))),
            snap_length: self.u32(body, 4),
            resolution: Resolution::Decimal(6),
            offset_ns: 0,
            name: None,
        };
        for (code, value) in self.options(body, 8) {
            match (code, value) {
                (OPTION_TSRESOL, [value, ..]) => {
                    let power = value & 0x7f;
                    interface.resolution = match value & 0x80 {
                        0 => Resolution::Decimal(power),
                        _ => Resolution::Binary(power),
                    };
                }
                (OPTION_TSOFFSET, value) if value.len() == 8 => {
                    let seconds = (u64::from(self.u32(value, if self.big_endian { 0 } else { 4 })) << 32)
                        | u64::from(self.u32(value, if self.big_endian { 4 } else { 0 }));
                    interface.offset_ns = i128::from(seconds.cast_signed()) * 1_000_000_000;
                }
                (OPTION_IF_NAME, name) => {
                    let name = name.strip_suffix(&[0]).unwrap_or(name);
                    let name = String::from_utf8_lossy(&name[..name.len().min(MAX_NAME)]);
                    interface.name = Some(name.chars().filter(|letter| !letter.is_control()).collect());
                }
                _ => {}
            }
        }
        self.count_comments(body, 8);
        self.interfaces.push(interface);
        Ok(Step::Other)
    }

    fn packet(&mut self, body: &[u8], kind: u32) -> Result<Step, RecordError> {
        let index = match kind {
            PACKET => u32::from(self.u16(body, 0)),
            _ => self.u32(body, 0),
        };
        let units = (u64::from(self.u32(body, 4)) << 32) | u64::from(self.u32(body, 8));
        let (captured, length) = (self.u32(body, 12), self.u32(body, 16));
        let Some(interface) = self.interfaces.get(index as usize) else {
            return Err(RecordError::Skipped(format!(
                "a packet of interface {index}, which is not described"
            )));
        };
        let data = Self::frame(body, 20, captured)?;
        let ns = interface.resolution.to_ns(units).saturating_add(interface.offset_ns);
        let link = interface.link;
        self.last_ns = i64::try_from(ns).unwrap_or(i64::MAX);
        let mut passage = None;
        for (code, value) in self.options(body, data.end.next_multiple_of(4)) {
            match code {
                OPTION_COMMENT => self.comments += 1,
                OPTION_EPB_FLAGS => passage = self.passage(value),
                _ => {}
            }
        }
        Ok(Step::Frame {
            time_ns: self.last_ns,
            link,
            interface: index,
            passage,
            length: length.max(captured),
            data,
        })
    }

    /// Bits 0 and 1 of the flags.
    fn passage(&self, flags: &[u8]) -> Option<Passage> {
        match self.u32(flags, 0) & 3 {
            1 => Some(Passage::Inbound),
            2 => Some(Passage::Outbound),
            _ => None,
        }
    }

    /// Name of an interface of the current section.
    pub(super) fn interface_name(&self, index: u32) -> Option<&str> {
        self.interfaces.get(index as usize)?.name.as_deref()
    }

    fn simple_packet(&mut self, body: &[u8]) -> Result<Step, RecordError> {
        let Some(interface) = self.interfaces.first() else {
            return Err(RecordError::Skipped("a simple packet before any interface".into()));
        };
        let length = self.u32(body, 0);
        let limit = if interface.snap_length == 0 { u32::MAX } else { interface.snap_length };
        let data = Self::frame(body, 4, length.min(limit))?;
        Ok(Step::Frame {
            time_ns: self.last_ns,
            link: interface.link,
            interface: 0,
            passage: None,
            length,
            data,
        })
    }

    fn frame(body: &[u8], at: usize, captured: u32) -> Result<Range<usize>, RecordError> {
        let end = at.saturating_add(captured as usize);
        if end > body.len() {
            return Err(RecordError::Skipped(format!(
                "a frame of {captured} bytes does not fit into its block"
            )));
        }
        Ok(at..end)
    }

    fn secrets(&self, body: &[u8]) -> Result<Step, RecordError> {
        let length = self.u32(body, 4) as usize;
        if self.u32(body, 0) != TLS_KEY_LOG {
            return Ok(Step::Other);
        }
        match 8_usize.checked_add(length).filter(|end| *end <= body.len()) {
            Some(end) => Ok(Step::Secrets(8..end)),
            None => Err(RecordError::Skipped("secrets that do not fit into their block".into())),
        }
    }

    fn count_comments(&mut self, body: &[u8], at: usize) {
        let count = self.options(body, at).filter(|(code, _)| *code == OPTION_COMMENT).count();
        self.comments += count as u64;
    }

    /// The options from `at` on, up to one that does not fit.
    fn options<'b>(&self, body: &'b [u8], at: usize) -> impl Iterator<Item = (u16, &'b [u8])> + use<'b> {
        let big_endian = self.big_endian;
        let mut rest = body.get(at..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (head, after) = rest.split_first_chunk::<4>()?;
            let code = u16_of([head[0], head[1]], big_endian);
            let length = usize::from(u16_of([head[2], head[3]], big_endian));
            if code == 0 {
                return None;
            }
            let value = after.get(..length)?;
            rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some((code, value))
        })
    }

    fn u16(&self, bytes: &[u8], at: usize) -> u16 {
        bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16_of(*bytes, self.big_endian))
    }

    fn u32(&self, bytes: &[u8], at: usize) -> u32 {
        let Some(bytes) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return 0 };
        if self.big_endian { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) }
    }
}

fn u16_of(bytes: [u8; 2], big_endian: bool) -> u16 {
    if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
}
