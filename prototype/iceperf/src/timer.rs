//! A deadline timer with nanosecond settings: tokio's own timers round to milliseconds, which is too coarse for a
//! sender's schedule and for measuring interruptions.

use crate::{
    clock::Clock,
    descriptor::{Watched, watch},
};
use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use std::{io, time::Instant};

/// One absolute deadline at a time.
#[derive(Debug)]
pub(crate) struct Timer {
    timer: Watched<TimerFd>,
    clock: Clock,
    deadline: Option<Instant>,
}

impl Timer {
    /// A timer without a deadline. Needs the runtime.
    pub(crate) fn new(clock: Clock) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = watch(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?)?;
        Ok(Self { timer, clock, deadline: None })
    }

    /// Replaces the deadline; one in the past fires at once.
    pub(crate) fn set(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        if deadline == self.deadline {
            return Ok(());
        }
        match deadline {
            None => self.timer.get_ref().object().unset()?,
            Some(instant) => {
                // A value of zero would disarm the timer.
                let at = self.clock.monotonic(instant).max(TimeSpec::new(0, 1));
                self.timer
                    .get_ref()
                    .object()
                    .set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            }
        }
        self.deadline = deadline;
        Ok(())
    }

    /// Waits for the deadline, for ever without one. Cancelling loses nothing.
    pub(crate) async fn expired(&mut self) -> io::Result<()> {
        loop {
            let mut guard = self.timer.readable().await?;
            let mut count = [0; 8];
            match guard.try_io(|timer| Ok(nix::unistd::read(timer.get_ref().object(), &mut count)?)) {
                Ok(Ok(_)) => {
                    self.deadline = None;
                    return Ok(());
                }
                // Set anew since it became readable.
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn fires_at_the_newest_deadline_never_before_it_and_once() {
        let mut timer = Timer::new(Clock::measure().unwrap()).unwrap();
        let start = Instant::now();
        timer.set(Some(start + Duration::from_secs(3600))).unwrap();
        timer.set(Some(start + Duration::from_micros(1500))).unwrap();
        timer.expired().await.unwrap();
        assert!(Instant::now() >= start + Duration::from_micros(1500));
        assert!(tokio::time::timeout(Duration::from_millis(5), timer.expired()).await.is_err());
        timer.set(Some(start)).unwrap();
        timer.expired().await.unwrap();
    }
}
