//! Events as JSON lines to the descriptor of `--events-fd`, in the form that `record` declares.
//!
//! Time zero is the instant of `start`. What happens before it is known is kept and written when it comes, or at the
//! end if it never does; `ready` alone leaves at once, since `start` is its answer. A line is one `write(2)`, and
//! nothing is ever lost silently: an event that cannot be written ends the program.

use crate::clock::nanoseconds_since;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use record::{Event, EventKind, Heartbeat};
use std::{
    io::{self, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    time::Instant,
};

/// Where the events go.
#[derive(Debug)]
pub(crate) struct Events {
    file: Option<std::fs::File>,
    host: String,
    zero: Option<Instant>,
    kept: Vec<(Instant, EventKind)>,
    heartbeat: Heartbeat,
}

/// Time of what happened before time zero by an amount that is not known yet.
const BEFORE_ZERO: i64 = -1;

impl Events {
    /// Events of `host`; without a descriptor they go nowhere.
    pub(crate) fn new(descriptor: Option<OwnedFd>, host: String) -> Self {
        Self {
            file: descriptor.map(Into::into),
            host,
            zero: None,
            kept: vec![],
            heartbeat: Heartbeat::default(),
        }
    }

    /// Records what happened at `at`.
    pub(crate) fn record(&mut self, at: Instant, what: EventKind) -> io::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        match (self.zero, &what) {
            (Some(zero), _) => self.write(nanoseconds_since(zero, at), what),
            (None, EventKind::Ready { .. }) => self.write(BEFORE_ZERO, what),
            (None, _) => {
                self.kept.push((at, what));
                Ok(())
            }
        }
    }

    /// Time zero, once it is known.
    pub(crate) fn zero(&self) -> Option<Instant> {
        self.zero
    }

    /// Time zero is known: what was kept is written.
    pub(crate) fn set_zero(&mut self, zero: Instant) -> io::Result<()> {
        self.zero = Some(zero);
        if self.file.is_some() {
            self.heartbeat.begin(zero);
        }
        for (at, what) in std::mem::take(&mut self.kept) {
            self.write(nanoseconds_since(zero, at), what)?;
        }
        Ok(())
    }

    /// When the loop of this process has to come round, to [`Self::beat`]: only where events are recorded.
    pub(crate) fn next_beat(&self) -> Option<Instant> {
        self.heartbeat.due()
    }

    /// The loop of this process comes round: if it does so too late, that is recorded.
    pub(crate) fn beat(&mut self, now: Instant) -> io::Result<()> {
        let (Some(since), Some(zero)) = (self.heartbeat.beat(now), self.zero) else { return Ok(()) };
        let (from_ns, to_ns) = (nanoseconds_since(zero, since), nanoseconds_since(zero, now));
        self.record(now, EventKind::Stall { process: self.host.clone(), from_ns, to_ns })
    }

    /// The end. Without a time zero, `now` takes its place.
    pub(crate) fn finish(&mut self, now: Instant) -> io::Result<()> {
        if self.zero.is_none() { self.set_zero(now) } else { Ok(()) }
    }

    fn write(&mut self, t_ns: i64, what: EventKind) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let event = Event { t_ns, host: self.host.clone(), what };
        let mut line = serde_json::to_vec(&event)?;
        line.push(b'\n');
        write_whole(file, &line)
    }
}

/// One `write(2)` where the kernel takes it whole: always on a blocking pipe or a file. If the other end made the pipe
/// non-blocking and it is full, this waits; the rest of a torn write follows.
fn write_whole(file: &mut std::fs::File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut waiting = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut waiting, PollTimeout::NONE) {
                    Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use std::{io::Read as _, time::Duration};

    fn started() -> EventKind {
        EventKind::Started {}
    }

    fn ready() -> EventKind {
        EventKind::Ready { version: "0".into(), pid: 1 }
    }

    fn times(read: OwnedFd) -> Vec<(i64, EventKind)> {
        let mut text = String::new();
        std::fs::File::from(read).read_to_string(&mut text).unwrap();
        let events = text.lines().map(|line| record::parse_line(line).unwrap());
        events.map(|event| (event.t_ns, event.what)).collect()
    }

    #[test]
    fn times_count_from_zero_and_what_was_before_is_kept_until_it_is_known() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut events = Events::new(Some(write), "laptop".into());
        let now = Instant::now();
        let removed = EventKind::InterfaceRemoved { interface: "eth0".into() };
        events.record(now, removed.clone()).unwrap();
        events.record(now, ready()).unwrap();
        events.set_zero(now + Duration::from_millis(1)).unwrap();
        events.record(now + Duration::from_millis(3), started()).unwrap();
        events.finish(now).unwrap();
        drop(events);
        assert_eq!(times(read), [(-1, ready()), (-1_000_000, removed), (2_000_000, started())]);
    }

    #[test]
    fn a_loop_that_comes_round_late_is_recorded() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut events = Events::new(Some(write), "laptop".into());
        let zero = Instant::now();
        let at = |milliseconds| zero + Duration::from_millis(milliseconds);
        assert_eq!(events.next_beat(), None);
        events.set_zero(zero).unwrap();
        assert_eq!(events.next_beat(), Some(at(5)));
        for beat in [5, 10, 510, 515] {
            events.beat(at(beat)).unwrap();
        }
        drop(events);
        let (from_ns, to_ns) = (10_000_000, 510_000_000);
        assert_eq!(times(read), [(to_ns, EventKind::Stall { process: "laptop".into(), from_ns, to_ns })]);
        // Without a descriptor for events the loop has no heartbeat.
        let mut nowhere = Events::new(None, "laptop".into());
        nowhere.set_zero(zero).unwrap();
        assert_eq!(nowhere.next_beat(), None);
    }

    /// A writer that has to wait for its reader keeps the loop from its work.
    #[test]
    fn a_reader_that_does_not_read_is_a_stall() {
        const WAIT: Duration = Duration::from_millis(100);
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut events = Events::new(Some(write), "laptop".into());
        events.set_zero(Instant::now()).unwrap();
        let reader = std::thread::spawn(move || {
            std::thread::sleep(WAIT);
            times(read)
        });
        // More than a pipe holds.
        for _ in 0..5000 {
            events.record(Instant::now(), started()).unwrap();
        }
        events.beat(Instant::now()).unwrap();
        drop(events);
        let Some((_, EventKind::Stall { from_ns, to_ns, .. })) = reader.join().unwrap().pop() else {
            panic!("no stall")
        };
        assert!(to_ns - from_ns > 90_000_000, "{from_ns} to {to_ns}");
    }

    #[test]
    fn without_a_start_everything_is_written_at_the_end() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut events = Events::new(Some(write), "laptop".into());
        let now = Instant::now();
        events.record(now, started()).unwrap();
        events.finish(now + Duration::from_nanos(7)).unwrap();
        drop(events);
        assert_eq!(times(read), [(-7, started())]);
    }

    #[test]
    fn a_full_pipe_that_does_not_block_loses_nothing() {
        let (read, write) = nix::unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
        nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        const COUNT: usize = 5000;
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            times(read)
        });
        let mut events = Events::new(Some(write), "laptop".into());
        let now = Instant::now();
        events.set_zero(now).unwrap();
        for _ in 0..COUNT {
            events.record(now, started()).unwrap();
        }
        drop(events);
        assert_eq!(reader.join().unwrap().len(), COUNT);
    }

    #[test]
    fn a_reader_that_left_is_an_error() {
        let (read, write) = nix::unistd::pipe().unwrap();
        drop(read);
        let mut events = Events::new(Some(write), "laptop".into());
        events.set_zero(Instant::now()).unwrap();
        let error = events.record(Instant::now(), started()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
