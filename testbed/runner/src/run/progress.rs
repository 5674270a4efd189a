//! How far a series of runs is: a line on a terminal, and nothing anywhere else.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{io::IsTerminal as _, time::Duration};

/// The line; drawn on standard error, since it is about the wait and not about the result.
#[derive(Debug)]
pub(crate) struct Progress(Option<ProgressBar>);

const REDRAWN_EVERY: Duration = Duration::from_millis(250);

impl Progress {
    /// For so many runs; one alone tells of itself. It draws from a thread of its own, so it must not be made before the
    /// rights to namespaces are acquired, nor before signals are blocked.
    pub(crate) fn of(runs: u64) -> Self {
        if runs < 2 || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(Some(runs), ProgressDrawTarget::stderr());
        let template = "{bar:24} {pos} of {len} runs, {elapsed} gone, about {eta} left: {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(REDRAWN_EVERY);
        Self(Some(bar))
    }

    /// Whether it tells of runs that begin.
    pub(crate) fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// What runs now.
    pub(crate) fn begin(&self, what: String) {
        if let Some(bar) = &self.0 {
            bar.set_message(what);
        }
    }

    /// A run is over.
    pub(crate) fn advance(&self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }

    /// Prints something else without tearing the line.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

/// Nothing of it stays behind.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
