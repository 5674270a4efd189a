//! Commands as JSON lines from the descriptor of `--control-fd`, in the form that `record` declares.
//!
//! A thread of its own reads them: any kind of descriptor will do, and its flags, which the parent may share, stay as
//! they are.

use crate::failure::Failure;
use record::Command;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    os::fd::OwnedFd,
};
use thiserror::Error;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The commands as they come.
#[derive(Debug)]
pub(crate) struct Control {
    lines: Option<UnboundedReceiver<Result<Command, ControlError>>>,
}

/// A line that is no command.
#[derive(Debug, Error)]
pub(crate) enum ControlError {
    /// With its place and what is wrong.
    #[error("control line {line}: {why}: {text}")]
    Line { line: u64, why: String, text: String },
    /// The descriptor could not be read.
    #[error("cannot read the control descriptor: {0}")]
    Read(#[from] io::Error),
}

/// Far more than any command needs.
const LONGEST_LINE: u64 = 4096;

impl Control {
    /// No commands will come.
    pub(crate) fn none() -> Self {
        Self { lines: None }
    }

    /// Reads commands from a descriptor.
    pub(crate) fn read(descriptor: OwnedFd) -> io::Result<Self> {
        let (sender, lines) = unbounded_channel();
        std::thread::Builder::new().name("control".into()).spawn(move || {
            let mut reader = BufReader::new(File::from(descriptor));
            for line in 1.. {
                let command = next(&mut reader, line).transpose();
                let Some(command) = command else { break };
                let last = command.is_err();
                if sender.send(command).is_err() || last {
                    break;
                }
            }
        })?;
        Ok(Self { lines: Some(lines) })
    }

    /// Whether `start` will come this way.
    pub(crate) fn present(&self) -> bool {
        self.lines.is_some()
    }

    /// The next command; `Stop` at the end of the descriptor, as nobody can say so any more. Waits for ever after it,
    /// and without a descriptor. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Command, ControlError> {
        match &mut self.lines {
            None => std::future::pending().await,
            Some(lines) => match lines.recv().await {
                Some(command) => command,
                None => {
                    self.lines = None;
                    Ok(Command::Stop {})
                }
            },
        }
    }
}

/// What a command is answered with where there is no peer.
pub(crate) fn for_peers_only(command: &Command) -> Failure {
    let word = serde_json::to_value(command).ok();
    let word = word.as_ref().and_then(|value| value.get("command")?.as_str()).unwrap_or_default();
    Failure::arguments(format!("the control descriptor says `{word}`, which only client and server heed"))
}

fn next(reader: &mut impl BufRead, line: u64) -> Result<Option<Command>, ControlError> {
    let mut bytes = vec![];
    reader.take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
    match serde_json::from_slice(&bytes) {
        Ok(command) => Ok(Some(command)),
        Err(error) => Err(ControlError::Line { line, why: error.to_string(), text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Option<Command>, String> {
        next(&mut text.as_bytes(), 3).map_err(|error| error.to_string())
    }

    #[test]
    fn commands_are_read_line_by_line() {
        let start = r#"{"command":"start","monotonic_ns":12}"#;
        assert_eq!(parse(&format!("{start}\n")), Ok(Some(Command::Start { monotonic_ns: 12 })));
        assert_eq!(parse(start), Ok(Some(Command::Start { monotonic_ns: 12 })));
        assert_eq!(parse("{\"command\":\"stop\"}\n"), Ok(Some(Command::Stop {})));
        assert_eq!(parse(""), Ok(None));
    }

    #[test]
    fn a_bad_line_is_told_with_its_place() {
        let error = parse("{\"command\":\"halt\"}\n").unwrap_err();
        assert!(error.starts_with("control line 3: unknown variant `halt`"), "{error}");
        assert!(parse("start\n").unwrap_err().contains("start"));
        assert!(parse("\n").is_err());
        let error = parse("{\"command\":\"priority\",\"interface\":\"wlan0\",\"value\":65536}").unwrap_err();
        assert!(error.contains("65536"), "{error}");
    }

    #[tokio::test]
    async fn the_end_of_the_descriptor_stops() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut control = Control::read(read).unwrap();
        nix::unistd::write(&write, b"{\"command\":\"start\",\"monotonic_ns\":1}\n").unwrap();
        assert_eq!(control.next().await.unwrap(), Command::Start { monotonic_ns: 1 });
        drop(write);
        assert_eq!(control.next().await.unwrap(), Command::Stop {});
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = next(&mut bytes.as_slice(), 1);
        }

        /// JSON that is almost a command, in lines of any length.
        #[test]
        fn every_line_is_a_command_or_told_with_its_place(
            lines in proptest::collection::vec((0..8_usize, "[a-z0-9 \\\\\"{}:,.-]{0,20}", any::<i64>(), 0..6000_usize), 1..6),
        ) {
            let words = ["start", "stop", "policy", "priority", "path", "disguise", "", "bulk"];
            let mut text = String::new();
            for (word, value, number, spaces) in lines {
                let spaces = if spaces < 5000 { String::new() } else { " ".repeat(spaces) };
                text += &format!(
                    "{{\"command\":\"{}\",\"monotonic_ns\":{number},\"interface\":\"{value}\",\"value\":{number},{spaces}\"status\":\"{value}\"}}\n",
                    words[word]
                );
            }
            let mut reader = text.as_bytes();
            for line in 1..1000 {
                match next(&mut reader, line) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        let (place, error) = (format!("control line {line}: "), error.to_string());
                        prop_assert!(error.starts_with(&place) && error.len() < 2 * LONGEST_LINE as usize);
                        break;
                    }
                }
            }
        }
    }
}
