//! UDP sockets, one per interface and address family, each bound to its device **and** its address.
//!
//! Both are needed: bound to the device alone the kernel may choose another interface's address, bound to the address
//! alone policy routing may send the packet out of another interface. Datagrams are sent and received in batches with
//! segmentation offload; whoever reads gets them one by one. Retransmission, pacing and meaning are left out.

use crate::descriptor::{Watched, attempt, watch};
use noq_udp::{EcnCodepoint, RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    io::{self, IoSliceMut},
    net::SocketAddr,
    task::Poll,
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::io::Interest;

/// All open sockets, by number.
#[derive(Debug)]
pub(crate) struct Sockets {
    open: BTreeMap<u32, Udp>,
    waiting: BTreeMap<u32, Waiting>,
    buffers: Vec<Box<[u8]>>,
}

/// What a socket is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    /// Device; none for the rendezvous server, which listens on addresses alone.
    pub(crate) interface: Option<String>,
    /// Address, and port (0: any).
    pub(crate) local: SocketAddr,
}

/// One or more datagrams for one destination.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// Destination.
    pub(crate) to: SocketAddr,
    /// ECN codepoint, the two low bits (RFC 3168).
    pub(crate) ecn: Option<u8>,
    /// Size of each datagram but the last; none for a single one.
    pub(crate) segment_size: Option<usize>,
    /// Source address, where the socket is bound to none.
    pub(crate) source: Option<std::net::IpAddr>,
    /// Payload of all of them.
    pub(crate) bytes: Vec<u8>,
}

/// One datagram that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Incoming<'a> {
    /// Sender.
    pub(crate) from: SocketAddr,
    /// The address that it was sent to.
    pub(crate) to: Option<std::net::IpAddr>,
    /// ECN codepoint.
    pub(crate) ecn: Option<u8>,
    /// Payload.
    pub(crate) bytes: &'a [u8],
}

/// How opening a socket went.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Bound here.
    Bound(SocketAddr),
    /// The address is so fresh that the kernel does not let it be bound; tried again shortly.
    Later,
}

/// A socket could not be opened.
#[derive(Debug, Error)]
#[error("cannot open a UDP socket on {place}: {step}: {source}", place = place(.binding))]
pub(crate) struct OpenError {
    pub(crate) binding: Binding,
    step: &'static str,
    source: io::Error,
}

fn place(binding: &Binding) -> String {
    match &binding.interface {
        Some(interface) => format!("{interface} at {}", binding.local),
        None => binding.local.to_string(),
    }
}

impl OpenError {
    /// The port is taken.
    pub(crate) fn port_in_use(&self) -> bool {
        self.source.raw_os_error() == Some(nix::libc::EADDRINUSE)
    }

    /// The kernel wants a privilege: to bind to a device before Linux 5.7, or to a port below 1024.
    pub(crate) fn not_permitted(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(nix::libc::EPERM | nix::libc::EACCES))
    }

    /// Whether it was the device that was refused.
    pub(crate) fn at_device(&self) -> bool {
        self.step == BIND_DEVICE
    }

    fn may_pass(&self) -> bool {
        self.source.raw_os_error() == Some(nix::libc::EADDRNOTAVAIL)
    }
}

/// Sockets that can do something now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Datagrams are waiting.
    Read(u32),
    /// Queued datagrams can go on.
    Write(u32),
}

#[derive(Debug)]
struct Waiting {
    binding: Binding,
    next: Instant,
    give_up: Instant,
}

#[derive(Debug)]
struct Udp {
    io: Watched<Socket>,
    state: UdpSocketState,
    queue: VecDeque<Outgoing>,
    overflowed: u64,
}

const BIND_DEVICE: &str = "SO_BINDTODEVICE";
/// Duplicate address detection takes a second or two where it is not switched off.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3);
const TRY_EVERY: Duration = Duration::from_millis(10);
/// A queue only builds up while the kernel's send buffer is full; real-time payload must not grow old in it.
const QUEUE_LIMIT: usize = 256;
/// Datagrams, or merged runs of them, taken in one system call.
const BATCH: usize = 8;
/// UDP length is 16 bits wide, and receive offload keeps to it.
const BUFFER: usize = 64 * 1024;
/// System calls on one socket before the others get their turn.
const ROUNDS: usize = 4;
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
const SEND_BUFFER: usize = 1024 * 1024;

impl Sockets {
    /// None yet.
    pub(crate) fn new() -> Self {
        let buffers = (0..BATCH).map(|_| vec![0; BUFFER].into_boxed_slice()).collect();
        Self { open: BTreeMap::new(), waiting: BTreeMap::new(), buffers }
    }

    /// Opens a socket under a number of the caller's. Needs the runtime.
    pub(crate) fn open(&mut self, now: Instant, id: u32, binding: Binding) -> Result<Opened, OpenError> {
        match Udp::open(&binding) {
            Ok((udp, local)) => {
                self.open.insert(id, udp);
                Ok(Opened::Bound(local))
            }
            Err(error) if error.may_pass() => {
                let waiting = Waiting { binding, next: now + TRY_EVERY, give_up: now + GIVE_UP_AFTER };
                self.waiting.insert(id, waiting);
                Ok(Opened::Later)
            }
            Err(error) => Err(error),
        }
    }

    /// When to call [`Sockets::retry`].
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.next).min()
    }

    /// Tries fresh addresses again; hands back what came to an end, either way.
    pub(crate) fn retry(&mut self, now: Instant) -> Vec<(u32, Result<SocketAddr, OpenError>)> {
        let due = self.waiting.iter().filter(|(_, waiting)| waiting.next <= now).map(|(id, _)| *id);
        let mut ended = vec![];
        for id in due.collect::<Vec<_>>() {
            let Some(Waiting { binding, give_up, .. }) = self.waiting.remove(&id) else { continue };
            match Udp::open(&binding) {
                Ok((udp, local)) => {
                    self.open.insert(id, udp);
                    ended.push((id, Ok(local)));
                }
                Err(error) if error.may_pass() && now < give_up => {
                    self.waiting.insert(id, Waiting { binding, next: now + TRY_EVERY, give_up });
                }
                Err(error) => ended.push((id, Err(error))),
            }
        }
        ended
    }

    /// Closes a socket, or stops trying to open it. What is still queued is dropped.
    pub(crate) fn close(&mut self, id: u32) {
        self.waiting.remove(&id);
        self.open.remove(&id);
    }

    /// Sends, or queues behind what waits already. A datagram larger than the link allows is dropped as any router
    /// would (path MTU probes are meant to try). A number that is not open is no error: it was closed meanwhile.
    pub(crate) fn send(&mut self, id: u32, outgoing: Outgoing) -> io::Result<()> {
        match self.open.get_mut(&id) {
            Some(udp) => udp.send(outgoing),
            None => Ok(()),
        }
    }

    /// Waits until sockets can be read, or written where something is queued. Cancelling loses nothing.
    pub(crate) async fn ready(&self) -> Vec<Ready> {
        poll_fn(|context| {
            let mut ready = vec![];
            for (id, udp) in &self.open {
                if let Poll::Ready(Ok(mut guard)) = udp.io.poll_read_ready(context) {
                    guard.retain_ready();
                    ready.push(Ready::Read(*id));
                }
                if udp.queue.is_empty() {
                    continue;
                }
                if let Poll::Ready(Ok(mut guard)) = udp.io.poll_write_ready(context) {
                    guard.retain_ready();
                    ready.push(Ready::Write(*id));
                }
            }
            if ready.is_empty() { Poll::Pending } else { Poll::Ready(ready) }
        })
        .await
    }

    /// Sends what is queued; an error ends the datagram that it befell, told with its destination.
    pub(crate) fn flush(&mut self, id: u32) -> Vec<(SocketAddr, io::Error)> {
        self.open.get_mut(&id).map(Udp::flush).unwrap_or_default()
    }

    /// Hands over datagrams one by one, until there are none or it is the others' turn.
    pub(crate) fn receive(&mut self, id: u32, mut take: impl FnMut(Incoming<'_>)) -> io::Result<()> {
        let Some(udp) = self.open.get(&id) else { return Ok(()) };
        let mut meta = [RecvMeta::default(); BATCH];
        for _ in 0..ROUNDS {
            let Some(count) = udp.receive(&mut self.buffers, &mut meta)? else { break };
            for (meta, buffer) in meta.iter().zip(&self.buffers).take(count) {
                split(meta, buffer, &mut take);
            }
            if count < BATCH {
                break;
            }
        }
        Ok(())
    }
}

impl Udp {
    fn open(binding: &Binding) -> Result<(Self, SocketAddr), OpenError> {
        let at = |step: &'static str| {
            move |source: io::Error| OpenError { binding: binding.clone(), step, source }
        };
        let domain = Domain::for_address(binding.local);
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(domain, kind, Some(Protocol::UDP)).map_err(at("socket"))?;
        if binding.local.is_ipv6() {
            socket.set_only_v6(true).map_err(at("IPV6_V6ONLY"))?;
        }
        if let Some(interface) = &binding.interface {
            socket.bind_device(Some(interface.as_bytes())).map_err(at(BIND_DEVICE))?;
        }
        socket.bind(&binding.local.into()).map_err(at("bind"))?;
        // The kernel caps these at net.core.rmem_max and wmem_max; smaller ones only cost throughput.
        for (what, result) in [
            ("receive", socket.set_recv_buffer_size(RECEIVE_BUFFER)),
            ("send", socket.set_send_buffer_size(SEND_BUFFER)),
        ] {
            if let Err(error) = result {
                tracing::debug!(%error, "the {what} buffer keeps its size");
            }
        }
        let state = UdpSocketState::new((&socket).into()).map_err(at("offload and ECN options"))?;
        let bound = socket.local_addr().map_err(at("getsockname"))?;
        let local = bound.as_socket().unwrap_or(binding.local);
        let io = watch(socket).map_err(at("epoll"))?;
        Ok((Self { io, state, queue: VecDeque::new(), overflowed: 0 }, local))
    }

    fn send(&mut self, mut outgoing: Outgoing) -> io::Result<()> {
        if self.queue.is_empty() {
            match self.write(&mut outgoing) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return drop_oversize(result),
            }
        }
        if self.queue.len() < QUEUE_LIMIT {
            self.queue.push_back(outgoing);
        } else {
            self.overflowed += 1;
            tracing::debug!(total = self.overflowed, "the send queue is full: dropped");
        }
        Ok(())
    }

    fn flush(&mut self) -> Vec<(SocketAddr, io::Error)> {
        let mut failed = vec![];
        while let Some(mut outgoing) = self.queue.pop_front() {
            match drop_oversize(self.write(&mut outgoing)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.queue.push_front(outgoing);
                    break;
                }
                Err(error) => failed.push((outgoing.to, error)),
            }
        }
        failed
    }

    /// Sends all segments; what was not sent before an error is left in `outgoing`.
    fn write(&self, outgoing: &mut Outgoing) -> io::Result<()> {
        loop {
            let at_once = self.state.max_gso_segments().get();
            let end = chunk(outgoing.bytes.len(), outgoing.segment_size, at_once);
            match self.write_chunk(outgoing, end) {
                Ok(()) if end == outgoing.bytes.len() => return Ok(()),
                Ok(()) => drop(outgoing.bytes.drain(..end)),
                // The driver below cannot segment; noq-udp has lowered the limit, so that the next round sends singly.
                Err(_) if self.state.max_gso_segments().get() < at_once => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn write_chunk(&self, outgoing: &Outgoing, end: usize) -> io::Result<()> {
        let transmit = noq_udp::Transmit {
            destination: outgoing.to,
            ecn: outgoing.ecn.and_then(EcnCodepoint::from_bits),
            contents: outgoing.bytes.get(..end).unwrap_or(&outgoing.bytes),
            segment_size: outgoing.segment_size,
            src_ip: outgoing.source,
        };
        attempt(&self.io, Interest::WRITABLE, |socket| self.state.try_send(socket.into(), &transmit))
    }

    fn receive(&self, buffers: &mut [Box<[u8]>], meta: &mut [RecvMeta]) -> io::Result<Option<usize>> {
        let mut slices: Vec<IoSliceMut<'_>> =
            buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let received =
            attempt(&self.io, Interest::READABLE, |socket| self.state.recv(socket.into(), &mut slices, meta));
        match received {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The next piece of a run of segments: whole segments, as many as can go in one system call.
fn chunk(length: usize, segment_size: Option<usize>, at_once: usize) -> usize {
    /// UDP over IPv4; the kernel refuses longer runs.
    const LONGEST: usize = 65_507;
    match segment_size {
        None | Some(0) => length,
        Some(size) => length.min(size * at_once.min(LONGEST / size).max(1)),
    }
}

fn drop_oversize(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(nix::libc::EMSGSIZE) => {
            tracing::debug!("larger than the link allows: dropped");
            Ok(())
        }
        result => result,
    }
}

/// Receive offload merges datagrams of one sender, of whatever protocol: taken apart by stride.
fn split<'a>(meta: &RecvMeta, buffer: &'a [u8], take: &mut impl FnMut(Incoming<'a>)) {
    let bytes = buffer.get(..meta.len).unwrap_or(buffer);
    let mut one = |bytes| {
        take(Incoming { from: meta.addr, to: meta.dst_ip, ecn: meta.ecn.map(|ecn| ecn as u8), bytes });
    };
    match meta.stride {
        _ if bytes.is_empty() => one(bytes),
        0 => one(bytes),
        stride => bytes.chunks(stride).for_each(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn loopback() -> Binding {
        Binding { interface: None, local: "127.0.0.1:0".parse().unwrap() }
    }

    fn bound(sockets: &mut Sockets, id: u32) -> SocketAddr {
        match sockets.open(Instant::now(), id, loopback()).unwrap() {
            Opened::Bound(local) => local,
            Opened::Later => panic!("loopback is never fresh"),
        }
    }

    fn to(to: SocketAddr, bytes: &[u8], segment_size: Option<usize>) -> Outgoing {
        Outgoing { to, ecn: Some(0b10), segment_size, source: None, bytes: bytes.to_vec() }
    }

    async fn receive(sockets: &mut Sockets, id: u32, count: usize) -> Vec<Vec<u8>> {
        let mut received = vec![];
        while received.len() < count {
            assert!(sockets.ready().await.contains(&Ready::Read(id)));
            sockets
                .receive(id, |datagram| {
                    assert_eq!(datagram.ecn, Some(0b10));
                    received.push(datagram.bytes.to_vec());
                })
                .unwrap();
        }
        received
    }

    #[tokio::test]
    async fn segments_leave_in_one_piece_and_arrive_one_by_one() {
        let mut sockets = Sockets::new();
        let here = bound(&mut sockets, 1);
        bound(&mut sockets, 2);
        let payload: Vec<u8> = (0..100u8).flat_map(|n| [n; 1000]).chain([200; 300]).collect();
        sockets.send(2, to(here, &payload, Some(1000))).unwrap();
        let received = receive(&mut sockets, 1, 101).await;
        assert_eq!(received.concat(), payload);
        assert!(received[..100].iter().all(|datagram| datagram.len() == 1000));
        assert_eq!(received[100].len(), 300);
    }

    #[tokio::test]
    async fn empty_datagrams_arrive_too() {
        let mut sockets = Sockets::new();
        let here = bound(&mut sockets, 1);
        bound(&mut sockets, 2);
        sockets.send(2, to(here, &[], None)).unwrap();
        assert_eq!(receive(&mut sockets, 1, 1).await, [Vec::<u8>::new()]);
    }

    #[tokio::test]
    async fn too_large_is_dropped_and_other_refusals_are_told() {
        let mut sockets = Sockets::new();
        let here = bound(&mut sockets, 1);
        sockets.send(1, to(here, &[0; 65_508], None)).unwrap();
        let ipv6: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
        assert!(sockets.send(1, to(ipv6, &[0; 10], None)).is_err());
        sockets.close(1);
        sockets.send(1, to(here, &[0; 10], None)).unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_and_a_missing_device_are_told_apart() {
        let mut sockets = Sockets::new();
        let local = bound(&mut sockets, 1);
        let error = sockets.open(Instant::now(), 2, Binding { interface: None, local }).unwrap_err();
        assert!(error.port_in_use(), "{error}");
        let device = Binding { interface: Some("no-such-dev".into()), ..loopback() };
        let error = sockets.open(Instant::now(), 3, device).unwrap_err();
        assert!(error.at_device() && !error.port_in_use() && !error.not_permitted(), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_bound_yet_is_tried_again_and_given_up_in_the_end() {
        let mut sockets = Sockets::new();
        let now = Instant::now();
        let foreign = Binding { interface: None, local: "192.0.2.77:0".parse().unwrap() };
        assert!(matches!(sockets.open(now, 1, foreign.clone()).unwrap(), Opened::Later));
        let next = sockets.retry_at().unwrap();
        assert!(sockets.retry(now).is_empty(), "not due yet");
        assert!(sockets.retry(next).is_empty());
        assert!(sockets.retry_at().unwrap() > next);
        let ended = sockets.retry(now + GIVE_UP_AFTER);
        assert!(matches!(&ended[..], [(1, Err(_))]));
        assert_eq!(sockets.retry_at(), None);
        sockets.open(now, 2, foreign).unwrap();
        sockets.close(2);
        assert_eq!(sockets.retry_at(), None);
    }

    #[test]
    fn strides_of_zero_and_lengths_beyond_the_buffer_do_no_harm() {
        for (length, stride, count) in [(0, 0, 1), (10, 0, 1), (10, 4, 3), (10, 10, 1), (99, 5, 4)] {
            let mut meta = RecvMeta::default();
            (meta.len, meta.stride) = (length, stride);
            let mut datagrams = 0;
            split(&meta, &[0; 20], &mut |_| datagrams += 1);
            assert_eq!(datagrams, count, "{length} {stride}");
        }
    }

    proptest! {
        #[test]
        fn chunks_are_whole_segments_and_cover_everything(
            length in 0usize..200_000, size in 1usize..70_000, at_once in 1usize..65
        ) {
            let mut left = length;
            while left > 0 {
                let end = chunk(left, Some(size), at_once);
                prop_assert!(end > 0 && end <= left);
                prop_assert!(end == left || end.is_multiple_of(size));
                prop_assert!(end <= size.max(65_507) && end <= size * at_once);
                left -= end;
            }
        }
    }
}
