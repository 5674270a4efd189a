//! Runs of one experiment: those whose resolved scenarios are alike, but for the seed.

use super::Run;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Runs of one experiment.
#[derive(Debug, Clone)]
pub(crate) struct Group<'a> {
    /// What is not the same in every group, by its path; null where it does not exist.
    pub(crate) differs: BTreeMap<String, Value>,
    /// In the order in which they were named.
    pub(crate) runs: Vec<&'a Run>,
}

/// Parts runs by experiment, in order of the first of each.
pub(crate) fn groups(runs: &[Run]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = vec![];
    for run in runs {
        let settings = &run.settings;
        match groups.iter_mut().find(|group| group.settings() == Some(settings)) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { differs: BTreeMap::new(), runs: vec![run] }),
        }
    }
    let paths: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let value_at =
        |group: &Group<'_>, path: &str| group.settings().and_then(|settings| settings.get(path)).cloned();
    for path in paths {
        let values: Vec<Option<Value>> = groups.iter().map(|group| value_at(group, path)).collect();
        if values.iter().any(|value| Some(value) != values.first()) {
            for (group, value) in groups.iter_mut().zip(values) {
                group.differs.insert(path.clone(), value.unwrap_or(Value::Null));
            }
        }
    }
    groups
}

impl Group<'_> {
    fn settings(&self) -> Option<&BTreeMap<String, Value>> {
        self.runs.first().map(|run| &run.settings)
    }

    pub(crate) fn valid(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().copied().filter(|run| run.results.valid)
    }

    pub(crate) fn invalid(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().copied().filter(|run| !run.results.valid)
    }

    /// Above its rows: the scenario, what differs, and how many runs.
    pub(crate) fn heading(&self) -> String {
        let scenario = self.runs.first().map_or("", |run| run.results.scenario.as_str());
        let runs = match self.valid().count() {
            1 => "1 valid run".to_owned(),
            count => format!("{count} valid runs"),
        };
        format!("{scenario}, {runs}: {}", self.differences())
    }

    /// For people: `networks.o2.link.down.delay=200ms, peers.client.engine=quiche`.
    pub(crate) fn differences(&self) -> String {
        let each = self.differs.iter().map(|(path, value)| match value {
            Value::String(text) => format!("{path}={text}"),
            Value::Null => format!("no {path}"),
            other => format!("{path}={other}"),
        });
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Every value below a value, by its path: `networks.o2.link.down.delay`, `timeline.0.at`. An empty map or list is a value.
pub(crate) fn flatten(value: &Value) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    add(value, String::new(), &mut flat);
    flat
}

fn add(value: &Value, path: String, flat: &mut BTreeMap<String, Value>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(key, value)| add(value, below(key), flat));
        }
        Value::Array(list) if !list.is_empty() => {
            list.iter().enumerate().for_each(|(place, value)| add(value, below(&place.to_string()), flat));
        }
        _ => {
            flat.insert(path, value.clone());
        }
    }
}
