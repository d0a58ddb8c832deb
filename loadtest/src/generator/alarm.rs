//! Wakes the loop at a moment, to some ten microseconds. The system's own waiting for sockets counts whole milliseconds,
//! in which a node has answered long since; so on Linux a timer is one more thing to wait for.

use std::{io, time::Duration};

use mio::{Events, Poll};

/// The token of the timer among those of connections.
#[cfg(target_os = "linux")]
pub(super) const TOKEN: mio::Token = mio::Token(usize::MAX);

/// The longest wait.
const LONGEST: Duration = Duration::from_millis(100);

/// A timer that a poll listens to.
pub(super) struct Alarm {
    #[cfg(target_os = "linux")]
    timer: std::os::fd::OwnedFd,
    /// For when it was set.
    #[cfg(target_os = "linux")]
    set_us: Option<u64>,
}

#[cfg(target_os = "linux")]
impl Alarm {
    pub(super) fn new(poll: &Poll) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;

        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let mut source = mio::unix::SourceFd(&timer.as_raw_fd());
        poll.registry().register(&mut source, TOKEN, mio::Interest::READABLE)?;
        Ok(Self { timer, set_us: None })
    }

    /// Waits for sockets from `now_us` on, but no longer than until `until_us`.
    pub(super) fn wait(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        now_us: u64,
        until_us: u64,
    ) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

        let most = Duration::from_micros(until_us.saturating_sub(now_us));
        if most.is_zero() || most >= LONGEST {
            return poll.poll(events, Some(most.min(LONGEST)));
        }
        // Most of what wakes the loop are replies, after which the same moment is waited for.
        if self.set_us != Some(until_us) {
            let value = Timespec::try_from(most).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 1 });
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            self.set_us = Some(until_us);
        }
        poll.poll(events, Some(LONGEST))
    }
}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(super) fn new(_: &Poll) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for sockets, but no longer than this, in whole milliseconds.
    #[allow(clippy::unused_self, reason = "elsewhere there is a timer in it")]
    pub(super) fn wait(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        now_us: u64,
        until_us: u64,
    ) -> io::Result<()> {
        let most = Duration::from_millis(until_us.saturating_sub(now_us) / 1_000);
        poll.poll(events, Some(most.min(LONGEST)))
    }
}
