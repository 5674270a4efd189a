//! Whether two NATs let a packet pass from one to the other when both ends send: the reasoning of RFC 5128 in the words
//! of RFC 4787, one direction at a time, with what is not known left open.

use crate::behaviour::{Dependence, Filtering, Report};

/// Whether an outside address is the same towards everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// It is: endpoint-independent, or not translated at all.
    Independent,
    /// It depends on the remote address, the port or both.
    Dependent,
}

/// What is known of the NAT or firewall before a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NatClass {
    /// Its mapping.
    pub mapping: Option<Mapping>,
    /// Its filtering.
    pub filtering: Option<Filtering>,
}

impl From<&Report> for NatClass {
    fn from(report: &Report) -> NatClass {
        let mapping = match (report.nat.verdict(), report.mapping.verdict()) {
            (Some(false), _) | (_, Some(Dependence::EndpointIndependent)) => Some(Mapping::Independent),
            (_, Some(_)) => Some(Mapping::Dependent),
            (_, None) => None,
        };
        NatClass { mapping, filtering: report.filtering.verdict() }
    }
}

impl NatClass {
    /// Every class that it may be.
    fn completions(self) -> impl Iterator<Item = (bool, Filtering)> + Clone {
        const FILTERINGS: [Filtering; 3] = [
            Filtering::Tied(Dependence::EndpointIndependent),
            Filtering::Tied(Dependence::AddressDependent),
            Filtering::Tied(Dependence::AddressAndPortDependent),
        ];
        let mappings = [Mapping::Independent, Mapping::Dependent].into_iter();
        mappings.filter(move |one| self.mapping.is_none_or(|known| known == *one)).flat_map(move |mapping| {
            let known = self.filtering.into_iter();
            let open = FILTERINGS.into_iter().filter(move |_| self.filtering.is_none());
            known.chain(open).map(move |filtering| (mapping == Mapping::Independent, filtering))
        })
    }
}

/// Whether what `from` sends can arrive at `to`, when each knows the other's address as a server sees it, both send
/// again and again, and both also send to wherever they heard from. None if what is not known decides.
pub fn can_pass(from: NatClass, to: NatClass) -> Option<bool> {
    let each = from.completions().flat_map(|from| to.completions().map(move |to| arrives(from, to)));
    let mut each = each;
    let first = each.next()?;
    each.all(|one| one == first).then_some(first)
}

/// Whether the mapping is endpoint-independent, and the filtering.
type Class = (bool, Filtering);

fn arrives(from: Class, to: Class) -> bool {
    to_what_a_server_saw(from, to) || (to_what_a_server_saw(to, from) && in_reply(from, to))
}

/// To the address that a server saw: `to` has sent from there to `from` only if its mapping is endpoint-independent, and
/// knows the port that `from` sends from only if that one's is.
fn to_what_a_server_saw(from: Class, to: Class) -> bool {
    match to.1 {
        Filtering::None | Filtering::Tied(Dependence::EndpointIndependent) => true,
        Filtering::Tied(Dependence::AddressDependent) => to.0,
        Filtering::Tied(Dependence::AddressAndPortDependent) => to.0 && from.0,
    }
}

/// To the address that `to` was heard from: it has sent from there to the address of `from` that a server saw.
fn in_reply(from: Class, to: Class) -> bool {
    from.0 || to.1 != Filtering::Tied(Dependence::AddressAndPortDependent)
}
