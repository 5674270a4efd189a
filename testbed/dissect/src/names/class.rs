//! Classes of services by name: data, not code. Patterns are names with `*` for any characters; the first that fits wins.
//!
//! The names of WhatsApp are those of Fiadino et al. (2014) and Vanerio and Casas (2016), and those in later captures;
//! WeChat's are the ones that its clients ask for.

use crate::text::Text;
use thiserror::Error;

/// Built-in classes: class, patterns.
pub const BUILT_IN: &[(&str, &[&str])] = &[
    ("whatsapp/photo-audio", &["mms*.whatsapp.net", "mmi*.whatsapp.net"]),
    ("whatsapp/video", &["mmv*.whatsapp.net"]),
    ("whatsapp/other-media", &["mmx*.whatsapp.net", "media*.cdn.whatsapp.net", "media*.whatsapp.net"]),
    (
        "whatsapp/chat",
        &[
            "c#.whatsapp.net",
            "d#.whatsapp.net",
            "e#.whatsapp.net",
            "g.whatsapp.net",
            "g-fallback.whatsapp.net",
        ],
    ),
    ("whatsapp/relay", &["edgeray-shv-*.facebook.com", "edge-turnservice-shv-*.facebook.com"]),
    ("whatsapp/other", &["*.whatsapp.net", "*.whatsapp.com", "whatsapp.com", "whatsapp.net"]),
    ("wechat/long", &["long.weixin.qq.com", "*long.weixin.qq.com", "*long.wechat.com"]),
    ("wechat/short", &["*short.weixin.qq.com", "*short.wechat.com", "*short.pay.weixin.qq.com"]),
    ("wechat/support", &["support.weixin.qq.com", "*support.wechat.com"]),
    ("wechat/voip", &["*voip*.weixin.qq.com", "*voip*.wechat.com"]),
    (
        "wechat/web",
        &["web*.wechat.com", "webpush.*.wechat.com", "web.wechat.com", "wx*.qq.com", "res.wx.qq.com"],
    ),
    ("wechat/other", &["*.wechat.com", "*.weixin.qq.com", "*.wx.qq.com", "wechat.com", "weixin.qq.com"]),
];

/// A table of classes.
#[derive(Debug, Clone)]
pub struct Classes {
    rules: Vec<(Text, Vec<String>)>,
}

impl Default for Classes {
    fn default() -> Self {
        let rules = BUILT_IN.iter().map(|(class, patterns)| {
            ((*class).into(), patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
        });
        Self { rules: rules.collect() }
    }
}

/// A line of a file of classes is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct ClassError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: ClassProblem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ClassProblem {
    /// Neither class nor patterns can be told.
    #[error("no colon between a class and its patterns, as in `mine/chat: chat.example.org *.example.net`")]
    NoColon,
    /// The class.
    #[error("a class is one word before the colon, such as `mine/chat`")]
    Class,
    /// No pattern.
    #[error("a class without a pattern")]
    NoPattern,
}

impl Classes {
    /// Adds a class before all others.
    pub fn add_first(&mut self, class: &str, patterns: Vec<String>) {
        self.rules.insert(0, (class.into(), patterns));
    }

    /// Adds the classes of a file before all others, in its order. A line is a class, a colon and its patterns with spaces
    /// between; empty lines and those that begin with `//` say nothing.
    pub fn add_file(&mut self, text: &str) -> Result<(), ClassError> {
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with("//") {
                continue;
            }
            let at = |problem| ClassError { line: index + 1, problem };
            let (class, patterns) = line.split_once(':').ok_or_else(|| at(ClassProblem::NoColon))?;
            let class = class.trim();
            if class.is_empty() || class.contains(char::is_whitespace) {
                return Err(at(ClassProblem::Class));
            }
            let patterns: Vec<String> = patterns.split_whitespace().map(str::to_ascii_lowercase).collect();
            if patterns.is_empty() {
                return Err(at(ClassProblem::NoPattern));
            }
            rules.push((class.into(), patterns));
        }
        self.rules.splice(0..0, rules);
        Ok(())
    }

    /// Class of a name.
    pub fn of(&self, name: &str) -> Option<Text> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let fits =
            |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern.as_bytes(), name.as_bytes()));
        self.rules.iter().find(|(_, patterns)| fits(patterns)).map(|(class, _)| class.clone())
    }
}

/// `*` stands for any characters, `#` for digits.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    // Where to go on when the characters after the last wildcard do not fit.
    let mut retry: Option<(usize, usize)> = None;
    while position < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at, position));
                at += 1;
            }
            Some(b'#') if name[position].is_ascii_digit() => {
                // As many digits as there are.
                position += 1;
                if !name.get(position).is_some_and(u8::is_ascii_digit) {
                    at += 1;
                }
            }
            Some(byte) if *byte == name[position] => {
                at += 1;
                position += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    at = star + 1;
                    position = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_papers_have_their_classes() {
        let classes = Classes::default();
        for (name, class) in [
            ("e12.whatsapp.net", Some("whatsapp/chat")),
            ("c3.whatsapp.net", Some("whatsapp/chat")),
            ("mms801.whatsapp.net", Some("whatsapp/photo-audio")),
            ("mmi623.WhatsApp.net.", Some("whatsapp/photo-audio")),
            ("mmv101.whatsapp.net", Some("whatsapp/video")),
            ("crashlog.whatsapp.net", Some("whatsapp/other")),
            ("edgeray-shv-01-vie1.facebook.com", Some("whatsapp/relay")),
            ("short.weixin.qq.com", Some("wechat/short")),
            ("long.weixin.qq.com", Some("wechat/long")),
            ("webpush.web.wechat.com", Some("wechat/web")),
            ("whatsapp.net.example.org", None),
            ("notwhatsapp.net", None),
        ] {
            assert_eq!(classes.of(name).as_deref(), class, "{name}");
        }
    }

    #[test]
    fn a_class_of_ones_own_comes_first() {
        let mut classes = Classes::default();
        classes.add_first("mine", vec!["*.whatsapp.net".into()]);
        assert_eq!(classes.of("e12.whatsapp.net").as_deref(), Some("mine"));
    }

    #[test]
    fn files_of_classes_name_the_line_that_is_wrong() {
        let mut classes = Classes::default();
        let text = "// ours\n\nmine/chat: e#.whatsapp.net Chat.Example.org\nmine/rest: *.whatsapp.net\n";
        assert_eq!(classes.add_file(text), Ok(()));
        for (name, class) in [
            ("e12.whatsapp.net", "mine/chat"),
            ("chat.example.org", "mine/chat"),
            ("mms801.whatsapp.net", "mine/rest"),
            ("long.weixin.qq.com", "wechat/long"),
        ] {
            assert_eq!(classes.of(name).as_deref(), Some(class), "{name}");
        }
        for (text, line, problem) in [
            ("a: b\nno colon", 2, ClassProblem::NoColon),
            ("a b: c", 1, ClassProblem::Class),
            (": c", 1, ClassProblem::Class),
            ("// x\na:  ", 2, ClassProblem::NoPattern),
        ] {
            assert_eq!(Classes::default().add_file(text), Err(ClassError { line, problem }), "{text}");
        }
    }
}
