//! Names: which there are, gathered before anything refers to them, and which are possible.

use super::{
    diagnostic::{Problem, Problems},
    reader,
    yaml::{Entry, Node, Value},
};

/// Longest kernel name of an interface: IFNAMSIZ less its closing zero.
const KERNEL_NAME: usize = 15;
const NAME: usize = 63;

/// Every name that something may refer to, whether or not what it names is sound; so that one mistake is told once.
#[derive(Debug, Default)]
pub(crate) struct Names<'n> {
    pub(crate) networks: Vec<&'n str>,
    pub(crate) hosts: Vec<&'n str>,
    pub(crate) servers: Vec<&'n str>,
    /// As the timeline names them: `host.interface`.
    pub(crate) interfaces: Vec<String>,
}

impl<'n> Names<'n> {
    pub(crate) fn gather(root: &'n Node) -> Self {
        let mut names = Self {
            networks: keys(root, "networks"),
            hosts: keys(root, "hosts"),
            servers: keys(root, "servers"),
            interfaces: Vec::new(),
        };
        for (host, entry) in entries(root, "hosts").iter().map(|entry| (&entry.key, entry)) {
            let of_host = keys(&entry.value, "interfaces");
            names.interfaces.extend(of_host.into_iter().map(|interface| format!("{host}.{interface}")));
        }
        names
    }

    /// Without the host in front.
    pub(crate) fn interfaces_of(&self, host: &str) -> Vec<&str> {
        let of_host = |name: &'_ String| name.split_once('.').is_some_and(|(other, _)| other == host);
        let names = self.interfaces.iter().filter(|name| of_host(name));
        names.filter_map(|name| name.split_once('.').map(|(_, interface)| interface)).collect()
    }
}

fn keys<'n>(node: &'n Node, key: &str) -> Vec<&'n str> {
    entries(node, key).iter().map(|entry| entry.key.as_str()).collect()
}

fn entries<'n>(node: &'n Node, key: &str) -> &'n [Entry] {
    let Value::Map(entries) = &node.value else { return &[] };
    match entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value.value) {
        Some(Value::Map(entries)) => entries,
        _ => &[],
    }
}

/// Complains unless the text can name a scenario, host, network or server: it becomes part of paths and messages.
pub(crate) fn check_name(text: &str, what: &str) -> Result<String, String> {
    let mut characters = text.chars();
    let starts = characters.next().is_some_and(|c| c.is_ascii_alphabetic());
    let goes_on = characters.all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    match starts && goes_on && text.len() <= NAME {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}` cannot name {what}: a letter, then letters, digits, `-` and `_`, at most {NAME}"
        )),
    }
}

/// See [`check_name`]; for a key.
pub(crate) fn check_key(entry: &Entry, what: &str, problems: &mut Problems) {
    if let Err(message) = check_name(&entry.key, what) {
        problems.push(Problem::new(message, entry.key_span, "not a name"));
    }
}

/// Complains unless the kernel would take it (dev_valid_name), or when every namespace has it already.
pub(crate) fn check_kernel_name(entry: &Entry, problems: &mut Problems) {
    let name = entry.key.as_str();
    let odd = |c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_';
    if name.is_empty() || name.len() > KERNEL_NAME || name.contains(odd) {
        let message = format!(
            "`{name}` cannot name an interface: 1 to {KERNEL_NAME} letters, digits, `-` and `_`, as the kernel does"
        );
        problems.push(Problem::new(message, entry.key_span, "not a kernel name"));
    } else if name == "lo" {
        problems.push(Problem::new("`lo` is the loopback interface", entry.key_span, "taken"));
    }
}

/// `HOST.IFACE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) interface: String,
}

impl Target {
    pub(crate) fn read(node: &Node, names: &Names<'_>, problems: &mut Problems) -> Option<Self> {
        let what = "an interface (HOST.INTERFACE)";
        let written = reader::text(node, what, problems)?;
        let known: Vec<&str> = names.interfaces.iter().map(String::as_str).collect();
        if !known.contains(&written) {
            problems.push(Self::why_unknown(written, node, names, &known));
            return None;
        }
        let (host, interface) = written.split_once('.')?;
        Some(Self { host: host.to_owned(), interface: interface.to_owned() })
    }

    fn why_unknown(written: &str, node: &Node, names: &Names<'_>, known: &[&str]) -> Problem {
        match written.split_once('.') {
            Some((host, _)) if !names.hosts.contains(&host) => {
                let mut span = node.span;
                span.length = span.length.min(host.len());
                reader::unknown(host, span, "a host", &names.hosts)
            }
            _ => reader::unknown(written, node.span, "an interface", known),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.host, self.interface)
    }
}

impl serde::Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
