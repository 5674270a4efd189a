//! What `testbed` tells a running `iceperf`: JSON lines over the control descriptor.

use crate::PathStatus;
use serde::{Deserialize, Serialize};

/// One line on `--control-fd`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Time zero. ICE and the workload begin then.
    Start {
        /// The instant, nanoseconds of CLOCK_MONOTONIC.
        monotonic_ns: u64,
    },
    /// Another path policy, or other disguises, from now on. Acknowledged by the events `policy` and `disguise`.
    Policy {
        /// As `--policy` takes it; none: as it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<String>,
        /// Each as `--disguise` takes it, in this order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        disguise: Vec<String>,
    },
    /// Another priority of an interface. Acknowledged by the event `priority`.
    Priority {
        /// Kernel name.
        interface: String,
        /// Local preference (RFC 8445 section 5.1.2.1), 65535 the best.
        value: u16,
    },
    /// How paths on an interface may be used from now on. Acknowledged by the event `path_status`.
    Path {
        /// Kernel name.
        interface: String,
        /// How.
        status: PathStatus,
    },
    /// End now, in an orderly way.
    Stop {},
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_lines_of_json() {
        for (command, line) in [
            (Command::Start { monotonic_ns: 7 }, r#"{"command":"start","monotonic_ns":7}"#),
            (
                Command::Policy { policy: Some("whatsapp,stop=never".into()), disguise: vec![] },
                r#"{"command":"policy","policy":"whatsapp,stop=never"}"#,
            ),
            (
                Command::Policy { policy: None, disguise: vec!["wwan0=xor".into()] },
                r#"{"command":"policy","disguise":["wwan0=xor"]}"#,
            ),
            (
                Command::Priority { interface: "wwan0".into(), value: 65_535 },
                r#"{"command":"priority","interface":"wwan0","value":65535}"#,
            ),
            (
                Command::Path { interface: "wlan0".into(), status: PathStatus::Backup },
                r#"{"command":"path","interface":"wlan0","status":"backup"}"#,
            ),
            (Command::Stop {}, r#"{"command":"stop"}"#),
        ] {
            assert_eq!(serde_json::to_string(&command).unwrap(), line);
            assert_eq!(serde_json::from_str::<Command>(line).unwrap(), command);
        }
        assert!(
            serde_json::from_str::<Command>(r#"{"command":"path","interface":"wlan0","status":"off"}"#)
                .is_err()
        );
    }
}
