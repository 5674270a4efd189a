//! Policies and disguises as people write them: `whatsapp,stop=never,idle=500ms`, `wwan0=first-byte-cookie`.
//!
//! Every field of a policy has a key; what a value means is said by the field.

use super::{Checks, Disguise, Policy};
use ice::policy::{Answers, Cadence, Interfaces, Keeping, OnLoss, Reach, Relays, Scope, Standby, Stop};
use std::{str::FromStr, time::Duration};
use thiserror::Error;

/// The keys of a change, and their values.
pub const KEYS: [(&str, &str); 19] = [
    ("interfaces", "all, cheapest, or cost:N (at most N, 0 to 999)"),
    ("reach", "any or host-only"),
    ("relays", "paced or at-once"),
    ("stop", "never, nomination, or direct:N (N direct paths)"),
    ("cadence", "backoff or a duration"),
    ("budget", "none or a number of probes"),
    ("retry", "true or false"),
    ("active_first", "a duration"),
    ("active", "a duration"),
    ("idle_first", "a duration"),
    ("idle", "a duration"),
    ("consent", "true or false"),
    ("standby", "all, relays, nothing, or spares:N"),
    ("on_loss", "everything, relays, nothing or restart"),
    ("on_return", "everything, relays or nothing"),
    ("answers", "all or known-after-loss"),
    ("paths", "a number, 1 to 8"),
    ("relayed_paths", "a number, 0 to 8"),
    ("move_to_preferred", "true or false"),
];

/// This is no policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// No preset has this name.
    #[error(transparent)]
    Preset(#[from] ice::policy::UnknownPolicy),
    /// Not of this form.
    #[error("`{0}` is no change of a policy; write KEY=VALUE, as in stop=never")]
    Form(String),
    /// No such key.
    #[error("a policy has no `{key}`; there are: {keys}", keys = KEYS.map(|(key, _)| key).join(", "))]
    Key {
        /// As given.
        key: String,
    },
    /// The key has no such value.
    #[error("`{value}` is no value of `{key}`: {valid}")]
    Value {
        /// Which key.
        key: &'static str,
        /// As given.
        value: String,
        /// What may stand there.
        valid: &'static str,
    },
}

/// A preset and changes to it, separated by commas.
impl FromStr for Policy {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, ChangeError> {
        let mut parts = text.split(',');
        let preset: ice::Policy = parts.next().unwrap_or_default().parse()?;
        let mut policies = Policy::presets().into_iter();
        let mut policy =
            policies.find(|policy| policy.name() == preset.name).unwrap_or_else(Policy::multipath);
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| ChangeError::Form(part.to_owned()))?;
            policy.change(key, value)?;
        }
        Ok(policy)
    }
}

impl Policy {
    /// Makes one change; one that was made before to the same key is forgotten.
    pub fn change(&mut self, key: &str, value: &str) -> Result<(), ChangeError> {
        let known = KEYS.into_iter().find(|(known, _)| *known == key);
        let (key, valid) = known.ok_or_else(|| ChangeError::Key { key: key.to_owned() })?;
        let wrong = || ChangeError::Value { key, value: value.to_owned(), valid };
        self.set(key, value).ok_or_else(wrong)?;
        let prefix = format!("{key}=");
        self.changes.retain(|change| !change.starts_with(&prefix));
        self.changes.push(format!("{key}={value}"));
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        let ice = &mut self.ice;
        match key {
            "interfaces" => ice.interfaces = interfaces(value)?,
            "reach" => ice.reach = one_of(value, [("any", Reach::Any), ("host-only", Reach::HostOnly)])?,
            "relays" => ice.relays = one_of(value, [("paced", Relays::Paced), ("at-once", Relays::AtOnce)])?,
            "stop" => ice.stop = stop(value)?,
            "cadence" if value == "backoff" => ice.probes.cadence = Cadence::Backoff,
            "cadence" => ice.probes.cadence = Cadence::Steady(interval(value)?),
            "budget" if value == "none" => ice.probes.budget = None,
            "budget" => ice.probes.budget = Some(number(value, 1, 1_000_000)?),
            "retry" => ice.probes.retry = truth(value)?,
            "active_first" => ice.active.first = interval(value)?,
            "active" => {
                ice.active = Keeping::every(interval(value)?);
                self.checks = self.checks.map(|checks| Checks { active: ice.active.then, ..checks });
            }
            "idle_first" => ice.idle.first = interval(value)?,
            "idle" => {
                ice.idle = Keeping::every(interval(value)?);
                let then = ice.idle.then;
                self.checks = self.checks.map(|checks| Checks { standby: then, spare: then, ..checks });
            }
            "consent" => ice.consent = truth(value)?,
            "standby" => ice.standby = standby(value)?,
            "on_loss" if value == "restart" => ice.on_loss = OnLoss::Restart,
            "on_loss" => ice.on_loss = OnLoss::Probe(scope(value)?),
            "on_return" => ice.on_return = scope(value)?,
            "answers" => {
                let known = ("known-after-loss", Answers::KnownAfterLoss);
                ice.answers = one_of(value, [("all", Answers::All), known])?;
            }
            "paths" => self.held.direct = number(value, 1, 8)? as usize,
            "relayed_paths" => self.held.relayed = number(value, 0, 8)? as usize,
            "move_to_preferred" => self.move_to_preferred = truth(value)?,
            _ => return None,
        }
        Some(())
    }
}

fn one_of<T, const N: usize>(value: &str, words: [(&str, T); N]) -> Option<T> {
    words.into_iter().find(|(word, _)| *word == value).map(|(_, meaning)| meaning)
}

fn truth(value: &str) -> Option<bool> {
    value.parse().ok()
}

fn number(value: &str, least: u32, most: u32) -> Option<u32> {
    value.parse().ok().filter(|number| (least..=most).contains(number))
}

/// Whole milliseconds or seconds, at least 10 ms and at most an hour.
fn interval(value: &str) -> Option<Duration> {
    let (number, unit) = value.split_at(value.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => return None,
    };
    (Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&duration).then_some(duration)
}

fn interfaces(value: &str) -> Option<Interfaces> {
    if let Some(cost) = value.strip_prefix("cost:") {
        return number(cost, 0, 999).map(|cost| Interfaces::CostAtMost(cost as u16));
    }
    one_of(value, [("all", Interfaces::All), ("cheapest", Interfaces::Cheapest)])
}

fn stop(value: &str) -> Option<Stop> {
    if let Some(count) = value.strip_prefix("direct:") {
        return number(count, 1, 100).map(Stop::Direct);
    }
    one_of(value, [("never", Stop::Never), ("nomination", Stop::Nomination)])
}

fn standby(value: &str) -> Option<Standby> {
    if let Some(count) = value.strip_prefix("spares:") {
        return number(count, 1, 100).map(Standby::Spares);
    }
    let words = [("all", Standby::All), ("relays", Standby::Relays), ("nothing", Standby::Nothing)];
    one_of(value, words)
}

fn scope(value: &str) -> Option<Scope> {
    let words = [("everything", Scope::Everything), ("relays", Scope::Relays), ("nothing", Scope::Nothing)];
    one_of(value, words)
}

/// A rung, or an interface and a rung.
impl FromStr for Disguise {
    type Err = ice::disguise::UnknownRung;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (interface, rung) = match text.split_once('=') {
            Some((interface, rung)) => (Some(interface.to_owned()), rung),
            None => (None, text),
        };
        Ok(Self { interface, rung: rung.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn presets_and_changes_are_read_and_written_back() {
        for policy in Policy::presets() {
            assert_eq!(policy.to_string().parse(), Ok(policy.clone()), "{policy}");
        }
        let policy: Policy = "whatsapp,stop=never,budget=none,active=500ms,paths=2".parse().unwrap();
        assert_eq!(policy.ice.stop, Stop::Never);
        assert_eq!(policy.ice.probes.budget, None);
        assert_eq!(policy.ice.active, Keeping::every(Duration::from_millis(500)));
        assert_eq!((policy.held.direct, policy.held.relayed), (2, 1));
        assert_eq!(policy.to_string(), "whatsapp,stop=never,budget=none,active=500ms,paths=2");
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }

    #[test]
    fn the_newest_change_of_a_key_counts() {
        let policy: Policy = "multipath,active=1s,active=20ms".parse().unwrap();
        assert_eq!(policy.checks.unwrap().active, Duration::from_millis(20));
        assert_eq!(policy.to_string(), "multipath,active=20ms");
    }

    #[test]
    fn every_key_has_a_value_that_it_takes_and_refuses_another() {
        for (key, value) in [
            ("interfaces", "cost:50"),
            ("reach", "host-only"),
            ("relays", "at-once"),
            ("stop", "direct:2"),
            ("cadence", "600ms"),
            ("budget", "20"),
            ("retry", "false"),
            ("active_first", "15s"),
            ("active", "2s"),
            ("idle_first", "1s"),
            ("idle", "1s"),
            ("consent", "false"),
            ("standby", "spares:1"),
            ("on_loss", "restart"),
            ("on_return", "nothing"),
            ("answers", "known-after-loss"),
            ("paths", "1"),
            ("relayed_paths", "0"),
            ("move_to_preferred", "false"),
        ] {
            let mut policy = Policy::multipath();
            policy.change(key, value).unwrap();
            assert_ne!(policy, Policy::multipath(), "{key}");
            assert!(matches!(policy.change(key, "maybe"), Err(ChangeError::Value { .. })), "{key}");
        }
        assert_eq!(KEYS.len(), 19);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("fastest", "no policy `fastest`; there are: multipath, rfc8445"),
            ("whatsapp,never", "`never` is no change of a policy; write KEY=VALUE"),
            ("whatsapp,halt=never", "a policy has no `halt`; there are: interfaces, reach"),
            ("whatsapp,stop=soon", "`soon` is no value of `stop`: never, nomination, or direct:N"),
            ("whatsapp,idle=1", "`1` is no value of `idle`: a duration"),
        ] {
            let error = text.parse::<Policy>().unwrap_err().to_string();
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }

    #[test]
    fn disguises_are_of_an_interface_or_of_all() {
        for text in ["xor", "wwan0=first-byte-cookie"] {
            assert_eq!(text.parse::<Disguise>().unwrap().to_string(), text);
        }
        assert!("wwan0=quic".parse::<Disguise>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Policy>();
            let _ = format!("multipath,{text}").parse::<Policy>();
            let _ = text.parse::<Disguise>();
        }
    }
}
