//! The plain part of TLS (RFC 5246, RFC 8446): the ClientHello with its server name, and the certificate that TLS 1.2
//! and older send in the clear.

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const CERTIFICATE: u8 = 11;
/// No handshake message that is looked for is longer.
const MAX_MESSAGE: usize = 32 * 1024;
/// Names of one certificate that are kept.
const MAX_NAMES: usize = 16;

/// What a ClientHello says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// The host name of the server_name extension (RFC 6066 section 3).
    pub server_name: Option<String>,
    /// Application protocols (RFC 7301).
    pub alpn: Vec<String>,
    /// An encrypted ClientHello is inside: the name is that of a front (extension 0xfe0d).
    pub ech: bool,
}

/// What the beginning of a stream holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A ClientHello.
    ClientHello(ClientHello),
    /// The names of the first certificate.
    Certificate(Vec<String>),
    /// More bytes are needed.
    Incomplete,
    /// Not TLS, or the message does not come any more.
    Nothing,
}

/// Whether a stream may begin with a TLS handshake record: type, version 3.x.
pub fn is_handshake_record(stream: &[u8]) -> bool {
    matches!(stream, [HANDSHAKE, 3, 0..=4, ..])
}

/// Searches TLS records for the ClientHello of a client or the certificate of a server.
pub fn search_records(stream: &[u8], from_client: bool) -> Found {
    let mut handshake = Vec::new();
    let mut rest = stream;
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        if !is_handshake_record(head) {
            // A server's change of cipher or its encrypted extensions: no certificate in the clear follows.
            return Found::Nothing;
        }
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let part = &after[..length.min(after.len())];
        handshake.extend_from_slice(part);
        match search_messages(&handshake, from_client) {
            Found::Incomplete if part.len() == length => rest = &after[length..],
            found => return found,
        }
    }
    match rest.is_empty() || is_prefix_of_record(rest) {
        true => Found::Incomplete,
        false => Found::Nothing,
    }
}

fn is_prefix_of_record(rest: &[u8]) -> bool {
    rest.first().is_none_or(|byte| *byte == HANDSHAKE) && rest.get(1).is_none_or(|byte| *byte == 3)
}

/// Searches handshake messages, as TLS records or QUIC CRYPTO frames carry them.
pub fn search_messages(handshake: &[u8], from_client: bool) -> Found {
    let mut reader = Reader(handshake);
    loop {
        let (Some(kind), Some(length)) = (reader.u8(), reader.u24()) else { return Found::Incomplete };
        if length > MAX_MESSAGE || (from_client && kind != CLIENT_HELLO) {
            return Found::Nothing;
        }
        let Some(body) = reader.take(length) else { return Found::Incomplete };
        match kind {
            CLIENT_HELLO if from_client => {
                return client_hello(body).map_or(Found::Nothing, Found::ClientHello);
            }
            CERTIFICATE => return Found::Certificate(certificate_names(body)),
            _ => {}
        }
    }
}

fn client_hello(body: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?;
    let session = reader.u8()?;
    reader.take(usize::from(session))?;
    let suites = reader.u16()?;
    reader.take(usize::from(suites))?;
    let compressions = reader.u8()?;
    reader.take(usize::from(compressions))?;
    let mut hello = ClientHello::default();
    let Some(length) = reader.u16() else { return Some(hello) };
    let mut extensions = Reader(reader.take(usize::from(length))?);
    while let Some(kind) = extensions.u16() {
        let length = extensions.u16()?;
        let body = extensions.take(usize::from(length))?;
        match kind {
            0 => hello.server_name = server_name(body),
            16 => hello.alpn = alpn(body),
            0xfe0d => hello.ech = true,
            _ => {}
        }
    }
    Some(hello)
}

fn server_name(body: &[u8]) -> Option<String> {
    let mut list = Reader(body);
    list.u16()?;
    while let Some(kind) = list.u8() {
        let length = list.u16()?;
        let name = list.take(usize::from(length))?;
        if kind == 0 {
            return Some(host_name(name));
        }
    }
    None
}

fn alpn(body: &[u8]) -> Vec<String> {
    let mut list = Reader(body);
    list.u16();
    std::iter::from_fn(|| {
        let length = list.u8()?;
        list.take(usize::from(length)).map(host_name)
    })
    .take(MAX_NAMES)
    .collect()
}

/// Text from the wire, without anything that a terminal would obey.
fn host_name(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' }).collect()
}

/// Names of the first certificate: the DNS names of subjectAltName, else the common name (RFC 6125 section 6.4.4).
fn certificate_names(body: &[u8]) -> Vec<String> {
    const SUBJECT_ALT_NAME: [u8; 5] = [6, 3, 0x55, 0x1d, 0x11];
    const COMMON_NAME: [u8; 5] = [6, 3, 0x55, 4, 3];
    let mut reader = Reader(body);
    let certificate =
        reader.u24().and_then(|_| reader.u24()).and_then(|length| reader.take(length)).unwrap_or_default();
    let after = |object: [u8; 5]| {
        let places = certificate.windows(object.len()).enumerate();
        places.filter(move |(_, at)| *at == object).map(move |(at, _)| at + object.len())
    };
    let mut names = Vec::new();
    for at in after(SUBJECT_ALT_NAME) {
        let mut rest = Reader(&certificate[at..]);
        // The extension may be marked as critical.
        if rest.0.starts_with(&[1, 1]) {
            rest.take(3);
        }
        let list = rest.der(4).map(Reader).and_then(|mut string| string.der(0x30));
        let Some(mut list) = list.map(Reader) else { continue };
        while let Some((tag, value)) = list.der_any() {
            // dNSName of GeneralName (RFC 5280 section 4.2.1.6).
            if tag == 0x82 && names.len() < MAX_NAMES {
                names.push(host_name(value));
            }
        }
    }
    if names.is_empty() {
        // The issuer's common name comes first, the subject's last.
        let last = after(COMMON_NAME).next_back();
        let value = last.and_then(|at| Reader(&certificate[at..]).der_any());
        names.extend(value.map(|(_, value)| host_name(value)));
    }
    names
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u24(&mut self) -> Option<usize> {
        self.take(3).map(|bytes| u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize)
    }

    fn der(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.der_any().filter(|(tag, _)| *tag == wanted).map(|(_, value)| value)
    }

    fn der_any(&mut self) -> Option<(u8, &'a [u8])> {
        let tag = self.u8()?;
        let length = match self.u8()? {
            short @ 0..=0x7f => usize::from(short),
            0x81 => usize::from(self.u8()?),
            0x82 => usize::from(self.u16()?),
            _ => return None,
        };
        Some((tag, self.take(length)?))
    }
}
