//! Words that stand for values of the model: one table each, by which they are read and written.

use super::{diagnostic::Problems, reader, words::Vocabulary, yaml::Node};
use netmodel::{
    BlockAnswer, BlockDirection, Dependence, JitterDistribution, Order, PortAssignment, Refresh, StunMatch,
};
use serde::Serializer;

/// Every word of a vocabulary with its value.
pub(super) type Meanings<T> = [(&'static str, T)];

/// RFC 4787 sections 4.1 and 5.
pub(super) const DEPENDENCES: [(&str, Dependence); 3] = [
    ("endpoint-independent", Dependence::EndpointIndependent),
    ("address-dependent", Dependence::AddressDependent),
    ("address-and-port-dependent", Dependence::AddressAndPortDependent),
];

pub(super) const PORTS: [(&str, PortAssignment); 3] = [
    ("preserved", PortAssignment::Preserved),
    ("sequential", PortAssignment::Sequential),
    ("random", PortAssignment::Random),
];

pub(super) const REFRESHES: [(&str, Refresh); 2] = [("outbound", Refresh::Outbound), ("both", Refresh::Both)];

pub(super) const DISTRIBUTIONS: [(&str, JitterDistribution); 3] = [
    ("uniform", JitterDistribution::Uniform),
    ("normal", JitterDistribution::Normal),
    ("pareto-normal", JitterDistribution::ParetoNormal),
];

pub(super) const ORDERS: [(&str, Order); 2] = [("kept", Order::Kept), ("free", Order::Free)];

pub(super) const DIRECTIONS: [(&str, BlockDirection); 3] =
    [("in", BlockDirection::In), ("out", BlockDirection::Out), ("both", BlockDirection::Both)];

pub(super) const ANSWERS: [(&str, BlockAnswer); 2] =
    [("silence", BlockAnswer::Silence), ("icmp-prohibited", BlockAnswer::IcmpProhibited)];

pub(super) const STUN_MATCHES: [(&str, StunMatch); 3] =
    [("port", StunMatch::Port), ("cookie", StunMatch::Cookie), ("signature", StunMatch::Signature)];

/// The value of a word.
pub(super) fn read<T: Copy>(
    node: &Node,
    vocabulary: &'static Vocabulary,
    meanings: &Meanings<T>,
    problems: &mut Problems,
) -> Option<T> {
    let word = reader::word(node, vocabulary, problems)?;
    meanings.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
}

/// The word of a value; the tables have one for each.
pub(super) fn word<T: PartialEq>(meanings: &Meanings<T>, value: &T) -> &'static str {
    meanings.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}

/// For `#[serde(serialize_with)]`.
pub(super) fn dependence<S: Serializer>(value: &Dependence, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word(&DEPENDENCES, value))
}

/// For `#[serde(serialize_with)]`.
pub(super) fn ports<S: Serializer>(value: &PortAssignment, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word(&PORTS, value))
}

/// For `#[serde(serialize_with)]`.
pub(super) fn refresh<S: Serializer>(value: &Refresh, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word(&REFRESHES, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::words;

    #[test]
    fn every_known_word_has_a_meaning_and_every_meaning_a_known_word() {
        fn same<T>(vocabulary: &Vocabulary, meanings: &Meanings<T>) {
            let words: Vec<&str> = meanings.iter().map(|(word, _)| *word).collect();
            assert_eq!(vocabulary.known, words, "{}", vocabulary.what);
        }
        same(&words::NAT_MAPPING, &DEPENDENCES);
        same(&words::NAT_FILTERING, &DEPENDENCES);
        same(&words::NAT_PORTS, &PORTS);
        same(&words::NAT_REFRESH, &REFRESHES);
        same(&words::JITTER_DISTRIBUTION, &DISTRIBUTIONS);
        same(&words::JITTER_ORDER, &ORDERS);
        same(&words::BLOCK_DIRECTION, &DIRECTIONS);
        same(&words::BLOCK_ANSWER, &ANSWERS);
        same(&words::BLOCK_MATCH, &STUN_MATCHES);
    }
}
