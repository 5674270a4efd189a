//! Words for people: where they go, how wide, and whether in colour.

use crate::scenario::diagnostic::Problems;
use miette::{GraphicalReportHandler, GraphicalTheme};
use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write as _, stderr, stdout},
    sync::atomic::{AtomicBool, Ordering},
};

const WIDTH: usize = 110;

/// Prints a line on standard output; see [`print()`].
macro_rules! say {
    ($($argument:tt)*) => { $crate::console::print(&format!("{}\n", format_args!($($argument)*))) };
}
pub(crate) use say;

/// Something could not be said. Kept here, since what is half told must not end as a success, whoever was telling it.
static SILENCED: AtomicBool = AtomicBool::new(false);

/// Whether standard output could not be written at some time.
pub(crate) fn is_silenced() -> bool {
    SILENCED.load(Ordering::Relaxed)
}

/// Prints on standard output. A reader that has seen enough and left, such as `head`, is no error.
pub(crate) fn print(text: &str) {
    let mut stdout = stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error)
            if error.kind() != io::ErrorKind::BrokenPipe && !SILENCED.swap(true, Ordering::Relaxed) =>
        {
            eprintln!("error: cannot write to standard output: {error}");
        }
        _ => {}
    }
}

/// Shows what is wrong with a scenario on standard error.
pub(crate) fn show_problems(problems: &Problems) {
    eprint!("{}", render_problems(problems, colours_on_stderr()));
}

/// See [`show_problems`].
pub(crate) fn render_problems(problems: &Problems, colours: bool) -> String {
    let theme = match colours {
        true => GraphicalTheme::unicode(),
        false => GraphicalTheme::unicode_nocolor(),
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_context_lines(1);
    let mut text = String::new();
    for (index, diagnostic) in problems.diagnostics().into_iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        // Writing to a string fails only when a diagnostic cannot be read from its own text; its message still can.
        if handler.render_report(&mut text, &diagnostic).is_err() {
            let _ = writeln!(text, "  × {diagnostic}");
        }
    }
    text
}

/// Lines that leave room for an indentation.
pub(crate) fn wrap(text: &str) -> Vec<String> {
    const INDENTATION: usize = 4;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH - INDENTATION => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// On a terminal that does not ask for none (<https://no-color.org>).
fn colours_on_stderr() -> bool {
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
