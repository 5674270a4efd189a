//! Capture files: pcap and pcapng, plain or compressed with gzip or zstd, read as a stream.
//!
//! The readers are our own, although the workspace has `pcap-file`: that crate hides the offset of an error, applies no
//! per-interface `if_tsresol` and allocates 8 MB for each file. Tests write captures with it.
//!
//! A damaged file is read up to the damage, and [`Capture::damage`] names its place.

mod pcap;
mod pcapng;
mod source;

use serde::Serialize;
use source::Source;
use std::{io::Read, path::Path};
use thiserror::Error;

/// Longest frame that is accepted. Wireshark's own limit for most link types is 256 KiB.
const MAX_FRAME: u32 = 16 << 20;
/// Damages of one file that are remembered; more are counted.
const MAX_DAMAGES: usize = 100;

/// Link type of an interface (the LINKTYPE_ values of the pcap and pcapng formats).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback, address family in the byte order of the capturing host.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// Raw IP.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback, address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture v1.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux cooked capture v2.
    pub const LINUX_SLL2: Self = Self(276);
}

/// One captured frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Number in the file, from 1, as Wireshark counts.
    pub number: u64,
    /// Time of capture in nanoseconds since 1970; the time of the frame before for frames that carry none.
    pub time_ns: i64,
    /// Link type of the interface.
    pub link: LinkType,
    /// Index of the interface in the file.
    pub interface: u32,
    /// Name of the interface, where the file has one.
    pub interface_name: Option<&'a str>,
    /// Whether the capturing host received or sent the frame, where the file says so.
    pub passage: Option<Passage>,
    /// Length on the wire; `data` is shorter when the capture was cut.
    pub length: u32,
    /// The captured bytes.
    pub data: &'a [u8],
}

/// Direction of a frame, seen from the host that captured it (pcapng section 4.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// The host received it.
    Inbound,
    /// The host sent it.
    Outbound,
}

/// One thing that a capture file holds.
#[derive(Debug, Clone, Copy)]
pub enum Record<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// Lines of an NSS key log from a Decryption Secrets Block.
    Secrets(&'a [u8]),
}

/// A part of a file that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Path of the file.
    pub file: String,
    /// Offset in bytes of the damaged record, in the decompressed content.
    pub offset: u64,
    /// Description of the damage.
    pub why: String,
}

/// Why a capture could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The content is neither pcap nor pcapng.
    #[error("{file} is no capture: it begins with {start:02x?}, neither pcap nor pcapng")]
    Format {
        /// The file.
        file: String,
        /// Its first bytes.
        start: Vec<u8>,
    },
}

/// Why the next record could not be read.
#[derive(Debug, Error)]
enum RecordError {
    /// The record is damaged, and where the next one begins is known.
    #[error("{0}")]
    Skipped(String),
    /// The rest of the file cannot be read.
    #[error("{0}")]
    Fatal(String),
}

/// What one call of a format's reader found; the frame's bytes are in the shared buffer.
enum Step {
    Frame {
        time_ns: i64,
        link: LinkType,
        interface: u32,
        passage: Option<Passage>,
        length: u32,
        data: std::ops::Range<usize>,
    },
    Secrets(std::ops::Range<usize>),
    /// A record that carries neither; `comments` counts comment options.
    Other,
    End,
}

enum Format {
    Pcap(pcap::Pcap),
    Pcapng(pcapng::Pcapng),
}

/// An open capture file.
pub struct Capture {
    file: String,
    source: Source,
    format: Format,
    buffer: Vec<u8>,
    frames: u64,
    damage: Vec<Damage>,
    more_damage: u64,
    ended: bool,
}

impl Capture {
    /// Opens a file. `OpenError` only if nothing of it is readable.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = path.display().to_string();
        match std::fs::File::open(path) {
            Ok(opened) => Self::read(file, opened),
            Err(source) => Err(OpenError::Io { file, source }),
        }
    }

    /// Reads from any stream; `file` is its name in messages.
    pub fn read(file: String, reader: impl Read + 'static) -> Result<Self, OpenError> {
        let mut source =
            Source::new(reader).map_err(|source| OpenError::Io { file: file.clone(), source })?;
        let mut start = Vec::new();
        // A file that is shorter than a header is no capture; the error below shows what there was.
        let _ = source.fill(&mut start, 4);
        let format = match *start.as_slice() {
            [0x0a, 0x0d, 0x0d, 0x0a] => Some(Format::Pcapng(pcapng::Pcapng::new())),
            [a, b, c, d] => pcap::Pcap::new([a, b, c, d]).map(Format::Pcap),
            _ => None,
        };
        let Some(format) = format else { return Err(OpenError::Format { file, start }) };
        Ok(Self {
            file,
            source,
            format,
            buffer: Vec::new(),
            frames: 0,
            damage: Vec::new(),
            more_damage: 0,
            ended: false,
        })
    }

    /// The next record; none at the end of the file or of its readable part.
    pub fn next_record(&mut self) -> Option<Record<'_>> {
        while !self.ended {
            let offset = self.source.record_start();
            let step = match &mut self.format {
                Format::Pcap(format) => format.step(&mut self.source, &mut self.buffer),
                Format::Pcapng(format) => format.step(&mut self.source, &mut self.buffer),
            };
            match step {
                Ok(Step::Frame { time_ns, link, interface, passage, length, data }) => {
                    self.frames += 1;
                    let data = &self.buffer[data];
                    let interface_name = match &self.format {
                        Format::Pcap(_) => None,
                        Format::Pcapng(format) => format.interface_name(interface),
                    };
                    return Some(Record::Frame(Frame {
                        number: self.frames,
                        time_ns,
                        link,
                        interface,
                        interface_name,
                        passage,
                        length,
                        data,
                    }));
                }
                Ok(Step::Secrets(range)) => return Some(Record::Secrets(&self.buffer[range])),
                Ok(Step::Other) => {}
                Ok(Step::End) => self.ended = true,
                Err(error) => {
                    self.ended = matches!(error, RecordError::Fatal(_));
                    self.add_damage(offset, error.to_string());
                }
            }
        }
        None
    }

    fn add_damage(&mut self, offset: u64, why: String) {
        if self.damage.len() < MAX_DAMAGES {
            self.damage.push(Damage { file: self.file.clone(), offset, why });
        } else {
            self.more_damage += 1;
        }
    }

    /// Name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Format and compression, for people.
    pub fn format(&self) -> String {
        let format = match &self.format {
            Format::Pcap(_) => "pcap",
            Format::Pcapng(_) => "pcapng",
        };
        match self.source.compression() {
            Some(compression) => format!("{format}, {compression}"),
            None => format.to_owned(),
        }
    }

    /// Comments seen so far, of sections, interfaces and packets.
    pub fn comments(&self) -> u64 {
        match &self.format {
            Format::Pcap(_) => 0,
            Format::Pcapng(format) => format.comments(),
        }
    }

    /// Damaged parts found so far, and how many more there were than are listed.
    pub fn damage(&self) -> (&[Damage], u64) {
        (&self.damage, self.more_damage)
    }
}
