//! Networks that are known by name. They stand in `presets.yaml`, each with the evidence that it rests on.

use super::{
    diagnostic::Problems,
    networks::Network,
    yaml::{self, Entry, Value},
};
use std::sync::LazyLock;

/// A network that is known by name.
#[derive(Debug)]
pub(crate) struct Preset {
    pub(crate) name: String,
    /// What was seen, and what is assumed.
    pub(crate) evidence: String,
    pub(crate) network: Network,
}

/// Every preset, in the order of the file.
pub(crate) fn all() -> &'static [Preset] {
    static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| read(include_str!("presets.yaml")));
    &PRESETS
}

pub(crate) fn find(name: &str) -> Option<&'static Preset> {
    all().iter().find(|preset| preset.name == name)
}

/// The file is part of the program; a test holds it free of problems.
fn read(text: &str) -> Vec<Preset> {
    let mut problems = Problems::default();
    let source = problems.sources.add("presets.yaml", text.to_owned());
    let Ok(yaml::Node { value: Value::Map(entries), .. }) = yaml::parse(text, source) else {
        return Vec::new();
    };
    entries.iter().filter_map(|entry| read_one(entry, &mut problems)).collect()
}

fn read_one(entry: &Entry, problems: &mut Problems) -> Option<Preset> {
    let network = Network::read_preset(&entry.key, &entry.value, problems)?;
    let Value::Map(keys) = &entry.value.value else { return None };
    let evidence = keys.iter().find(|key| key.key == "evidence")?;
    let Value::Scalar { text } = &evidence.value.value else { return None };
    Some(Preset { name: entry.key.clone(), evidence: text.trim().to_owned(), network })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use std::path::Path;

    #[test]
    fn every_preset_of_the_file_is_sound_and_has_evidence() {
        let names: Vec<&str> = all().iter().map(|preset| preset.name.as_str()).collect();
        let expected = [
            "o2-2024",
            "telekom-2024",
            "home-router",
            "office-firewall",
            "campus-wifi",
            "adapter-behind-eduroam",
            "symmetric-cgnat",
            "hotel-wifi",
            "open",
        ];
        assert_eq!(names, expected);
        for preset in all() {
            assert!(preset.evidence.contains("Assumption"), "{}", preset.evidence);
            // What was seen has the id of an observation.
            let has_id = ["ice-", "wa-", "qs-"].iter().any(|kind| preset.evidence.contains(kind));
            assert_eq!(preset.evidence.starts_with("Observed"), has_id, "{}", preset.evidence);
            assert_eq!(preset.network.preset.as_deref(), Some(preset.name.as_str()));
        }
        for carrier in &all()[..2] {
            assert!(carrier.evidence.contains("Assumption: 15 ms one way"), "{}", carrier.evidence);
        }
    }

    /// Each in a scenario, as the model sees it.
    #[test]
    fn every_preset_can_be_planned() {
        for Preset { name, .. } in all() {
            let text = format!(
                "{{scenario: s, why: w, duration: 1s, networks: {{n: {{preset: {name}}}}}, \
                 hosts: {{a: {{interfaces: {{eth0: {{type: lan, network: n}}}}}}, \
                 b: {{interfaces: {{eth0: {{type: lan, network: n}}}}}}}}, \
                 peers: {{client: {{host: a}}, server: {{host: b}}}}}}"
            );
            let scenario = Scenario::parse("test.yaml", Path::new(""), &text, &[]);
            let scenario = scenario.unwrap_or_else(|problems| panic!("{name}: {:?}", problems.diagnostics()));
            assert_eq!(scenario.networks["n"].preset.as_ref(), Some(name));
        }
    }
}
